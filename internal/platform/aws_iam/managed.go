package awsiam

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// source is a fetched document of a managed policy.
type source struct {
	document string
	at       time.Time
}

// fresh is how long a fetched document may be used for further grants.
const fresh = 5 * time.Minute

// source returns the document of a managed policy's default version. The account's own were read with the account;
// those of AWS take two calls and are kept for a while.
func (a *application) source(ctx context.Context, named arn) (string, error) {
	gone := func(err error) error {
		return &jit.Error{Attribute: "role", Problem: fmt.Sprintf("there is no managed policy %s", named.text),
			Hint: "`aws iam list-policies` lists them", Err: err}
	}
	if named.account != "aws" {
		a.account.mu.Lock()
		found := a.account.policies[named.text]
		a.account.mu.Unlock()
		if found != nil {
			return found.document, nil
		}
	}
	c := a.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.sources[named.text]; ok && a.platform.now().Sub(s.at).Abs() < fresh {
		return s.document, nil
	}
	found, err := c.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &named.text})
	if awsconfig.Code(err) == noSuchEntity {
		return "", gone(err)
	}
	if err != nil {
		return "", awsconfig.Explain(ctx, "look up the policy "+named.text, err)
	}
	version, err := c.GetPolicyVersion(ctx,
		&iam.GetPolicyVersionInput{PolicyArn: &named.text, VersionId: found.Policy.DefaultVersionId})
	if awsconfig.Code(err) == noSuchEntity {
		return "", gone(err)
	}
	if err != nil {
		return "", awsconfig.Explain(ctx, "fetch the policy "+named.text, err)
	}
	s := source{unescape(version.PolicyVersion.Document), a.platform.now()}
	c.sources[named.text] = s
	return s.document, nil
}

// ensureManaged gives the grant's managed policy the document and attaches it to the entity.
func (a *application) ensureManaged(ctx context.Context, g *grant, e *entity, document string) error {
	policyARN, name := a.managedARN(g), policyName(g.marker)
	a.account.mu.Lock()
	there := a.account.policies[policyARN]
	a.account.mu.Unlock()
	if there == nil {
		_, err := a.client.CreatePolicy(ctx, &iam.CreatePolicyInput{
			PolicyName: &name, Path: aws.String("/" + folder + "/"), PolicyDocument: &document,
			Description: aws.String("temporary access " + string(g.marker.ID) + " of " + g.marker.Owner),
		})
		switch awsconfig.Code(err) {
		case entityExists:
			there = &managed{arn: arn{text: policyARN, name: name}} // an attempt whose answer was lost made it
		default:
			if err != nil {
				return explainWrite(ctx, g.access.principal, "make the policy "+policyARN, err)
			}
			a.wrote(memo{managedPolicy, policyARN, ""}, "", document)
		}
	}
	if there != nil && there.document != document {
		if err := a.newVersion(ctx, there, document); err != nil {
			return explainWrite(ctx, g.access.principal, "write the policy "+policyARN, err)
		}
		a.wrote(memo{managedPolicy, policyARN, ""}, there.document, document)
	}
	m := memo{attachment, e.text, policyARN}
	if a.account.get(m) != "" {
		return nil
	}
	for try := 0; ; try++ {
		err := a.client.attach(ctx, e.arn, policyARN)
		if err == nil {
			break
		}
		if try == attachTries || !unknownYet(err, policyARN) {
			return err
		}
		if err := backoff.Wait(ctx, try, shortestPause, longestPause); err != nil {
			return fmt.Errorf("wait to attach the policy %s: %w", policyARN, err)
		}
	}
	a.wrote(m, "", policyARN)
	return nil
}

// attachTries is how often to attach a new policy that parts of AWS do not know yet.
const attachTries = 6

// unknownYet reports whether AWS does not know the policy.
func unknownYet(err error, policyARN string) bool {
	return awsconfig.Code(err) == noSuchEntity && strings.Contains(awsconfig.Message(err), policyARN)
}

// newVersion makes the document the default version. A policy has at most five versions, so it deletes the others
// first.
func (a *application) newVersion(ctx context.Context, m *managed, document string) error {
	versions, err := a.client.versions(ctx, m.text)
	if err != nil {
		return err
	}
	if len(versions) >= versionsQuota {
		if err := a.client.deleteVersions(ctx, m.text, versions); err != nil {
			return err
		}
	}
	_, err = a.client.CreatePolicyVersion(ctx,
		&iam.CreatePolicyVersionInput{PolicyArn: &m.text, PolicyDocument: &document, SetAsDefault: true})
	return err
}

func (c *client) versions(ctx context.Context, policyARN string) ([]types.PolicyVersion, error) {
	out, err := c.ListPolicyVersions(ctx, &iam.ListPolicyVersionsInput{PolicyArn: &policyARN})
	if err != nil {
		return nil, err
	}
	return out.Versions, nil
}

// deleteVersions deletes all versions but the default one.
func (c *client) deleteVersions(ctx context.Context, policyARN string, versions []types.PolicyVersion) error {
	for _, v := range versions {
		if v.IsDefaultVersion {
			continue
		}
		if _, err := c.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: &policyARN,
			VersionId: v.VersionId}); err != nil && awsconfig.Code(err) != noSuchEntity {
			return err
		}
	}
	return nil
}

// discardManaged detaches the grant's managed policy from all entities but one, and deletes it if no entity is left.
func (a *application) discardManaged(ctx context.Context, g *grant, but string) error {
	policyARN := a.managedARN(g)
	a.account.mu.Lock()
	there := a.account.policies[policyARN]
	a.account.mu.Unlock()
	if there == nil {
		return nil
	}
	a.account.mu.Lock()
	holders := a.account.holders(policyARN)
	a.account.mu.Unlock()
	for _, e := range holders {
		if e.text == but {
			continue
		}
		if err := a.client.detach(ctx, e.arn, policyARN); err != nil {
			return err
		}
		a.wrote(memo{attachment, e.text, policyARN}, policyARN, "")
	}
	if but != "" && slices.ContainsFunc(holders, func(e *entity) bool { return e.text == but }) {
		return nil
	}
	if err := a.client.deletePolicy(ctx, policyARN); err != nil {
		return err
	}
	a.wrote(memo{managedPolicy, policyARN, ""}, there.document, "")
	return nil
}

// discardUnseen deletes a managed policy of the grant that no read has shown.
func (a *application) discardUnseen(ctx context.Context, g *grant) error {
	if err := a.client.detach(ctx, g.access.principal, a.managedARN(g)); err != nil {
		return err
	}
	return a.client.deletePolicy(ctx, a.managedARN(g))
}

// deletePolicy deletes a managed policy with its versions. Absent is success.
func (c *client) deletePolicy(ctx context.Context, policyARN string) error {
	versions, err := c.versions(ctx, policyARN)
	if err == nil {
		err = c.deleteVersions(ctx, policyARN, versions)
	}
	if err == nil {
		_, err = c.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: &policyARN})
	}
	if awsconfig.Code(err) == noSuchEntity {
		return nil
	}
	return awsconfig.Explain(ctx, "delete the policy "+policyARN, err)
}

func (c *client) attach(ctx context.Context, to arn, policyARN string) error {
	var err error
	switch to.kind {
	case user:
		_, err = c.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: &to.name, PolicyArn: &policyARN})
	case group:
		_, err = c.AttachGroupPolicy(ctx, &iam.AttachGroupPolicyInput{GroupName: &to.name, PolicyArn: &policyARN})
	default:
		_, err = c.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &to.name, PolicyArn: &policyARN})
	}
	doing := "attach the policy " + policyARN + " to " + to.text
	if unknownYet(err, policyARN) {
		return awsconfig.Explain(ctx, doing, err)
	}
	return explainWrite(ctx, to, doing, err)
}

// detach detaches a managed policy from an entity. Absent is success.
func (c *client) detach(ctx context.Context, from arn, policyARN string) error {
	var err error
	switch from.kind {
	case user:
		_, err = c.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: &from.name, PolicyArn: &policyARN})
	case group:
		_, err = c.DetachGroupPolicy(ctx, &iam.DetachGroupPolicyInput{GroupName: &from.name, PolicyArn: &policyARN})
	default:
		_, err = c.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: &from.name, PolicyArn: &policyARN})
	}
	if awsconfig.Code(err) == noSuchEntity {
		return nil
	}
	return awsconfig.Explain(ctx, "detach the policy "+policyARN+" from "+from.text, err)
}
