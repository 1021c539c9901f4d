package awsiam

import (
	"context"
	"errors"
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
func (p *Platform) source(ctx context.Context, c *client, a *account, named arn) (string, error) {
	if document := a.get(item{managedPolicy, named.text, ""}); document != "" {
		return document, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.sources[named.text]; ok && p.now().Sub(s.at).Abs() < fresh {
		return s.document, nil
	}
	document, err := c.defaultVersion(ctx, named.text)
	if awsconfig.Code(err) == noSuchEntity {
		return "", &jit.Error{Attribute: "role", Problem: fmt.Sprintf("there is no managed policy %s", named.text),
			Hint: "`aws iam list-policies` lists them", Err: err}
	}
	if err != nil {
		return "", awsconfig.Explain(ctx, "fetch the policy "+named.text, err)
	}
	c.sources[named.text] = source{document, p.now()}
	return document, nil
}

// defaultVersion fetches the document of a managed policy's default version.
func (c *client) defaultVersion(ctx context.Context, policyARN string) (string, error) {
	found, err := c.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &policyARN})
	if err != nil {
		return "", err
	}
	version, err := c.GetPolicyVersion(ctx,
		&iam.GetPolicyVersionInput{PolicyArn: &policyARN, VersionId: found.Policy.DefaultVersionId})
	if err != nil {
		return "", err
	}
	return unescape(version.PolicyVersion.Document), nil
}

// managedARN names the managed policy of a grant.
func (a *application) managedARN(g *grant) string {
	partition := g.access.principal.partition
	if partition == "" {
		for _, e := range a.account.entities {
			partition = e.partition
			break
		}
	}
	return "arn:" + partition + ":iam::" + a.scope + ":policy/" + folder + "/" + policyName(g.marker)
}

// instead makes a managed policy because an inline one does not fit; why explains that with numbers.
func (a *application) instead(ctx context.Context, g *grant, e *entity, document string, why noRoomError) error {
	refuse := func(more string) error {
		return &jit.Error{Attribute: "role",
			Problem: fmt.Sprintf("the copy of %s does not fit on %s: %s; %s", g.access.role.text, e.text, why, more),
			Hint: "end other grants of the principal, grant a smaller policy, or grant permission to assume a role " +
				"that has the policy"}
	}
	if size(document) > managedQuota {
		return refuse(fmt.Sprintf("a managed policy has at most %d characters", managedQuota))
	}
	a.account.mu.Lock()
	attached := len(e.attached)
	a.account.mu.Unlock()
	quota, err := a.client.quota(ctx, attachedQuota[e.kind], attached+1)
	if err != nil {
		return err
	}
	if attached >= quota {
		return refuse(fmt.Sprintf("%d managed policies are attached to it, and the limit is %d", attached, quota))
	}
	err = a.ensureManaged(ctx, g, e, document)
	if awsconfig.Code(err) == limitExceeded {
		return errors.Join(refuse("AWS makes no managed policy either: "+awsconfig.Message(err)),
			a.discardManaged(ctx, g, ""))
	}
	return err
}

// ensureManaged gives the grant's managed policy the document and attaches it to the entity, in place of an inline one.
func (a *application) ensureManaged(ctx context.Context, g *grant, e *entity, document string) error {
	policyARN := a.managedARN(g)
	if err := a.writeManaged(ctx, g, policyARN, document); err != nil {
		return err
	}
	attached := item{attachment, e.text, policyARN}
	if a.account.get(attached) == "" {
		err := a.write(ctx, attached, "", policyARN, func(ctx context.Context) error {
			return a.client.attachNew(ctx, e.arn, policyARN)
		})
		if err != nil {
			return errors.Join(err, a.takeBack(ctx, g, e))
		}
	}
	return a.discardInline(ctx, e, policyName(g.marker))
}

// takeBack removes the grant's managed policy, which could not be attached to the entity. A lost attempt to attach it
// may have succeeded.
func (a *application) takeBack(ctx context.Context, g *grant, e *entity) error {
	policyARN := a.managedARN(g)
	if err := a.client.detach(ctx, e.arn, policyARN); err != nil {
		return err
	}
	a.wrote(item{attachment, e.text, policyARN}, "", "")
	return a.discardManaged(ctx, g, "")
}

// writeManaged makes a managed policy, or gives it the document.
func (a *application) writeManaged(ctx context.Context, g *grant, policyARN, document string) error {
	policy, name := item{managedPolicy, policyARN, ""}, policyName(g.marker)
	was := a.account.get(policy)
	if was == document {
		return nil
	}
	err := a.write(ctx, policy, was, document, func(ctx context.Context) (err error) {
		if was == "" {
			_, err = a.client.CreatePolicy(ctx, &iam.CreatePolicyInput{
				PolicyName: &name, Path: aws.String("/" + folder + "/"), PolicyDocument: &document,
				Description: aws.String("temporary access " + string(g.marker.ID) + " of " + g.marker.Owner),
			})
		}
		if was != "" || awsconfig.Code(err) == entityExists { // an attempt whose answer was lost made it
			err = a.client.newVersion(ctx, policyARN, document)
		}
		return err
	})
	return explainWrite(ctx, g.access.principal, "write the policy "+policyARN, err)
}

// newVersion makes the document the default version. A policy has at most five versions, so it deletes the others
// first.
func (c *client) newVersion(ctx context.Context, policyARN, document string) error {
	there, err := c.ListPolicyVersions(ctx, &iam.ListPolicyVersionsInput{PolicyArn: &policyARN})
	if err != nil {
		return err
	}
	if len(there.Versions) >= versionsQuota {
		if err := c.deleteVersions(ctx, policyARN, there.Versions); err != nil {
			return err
		}
	}
	_, err = c.CreatePolicyVersion(ctx,
		&iam.CreatePolicyVersionInput{PolicyArn: &policyARN, PolicyDocument: &document, SetAsDefault: true})
	return err
}

// deleteVersions deletes all versions but the default one.
func (c *client) deleteVersions(ctx context.Context, policyARN string, versions []types.PolicyVersion) error {
	for _, v := range versions {
		if v.IsDefaultVersion {
			continue
		}
		_, err := c.DeletePolicyVersion(ctx,
			&iam.DeletePolicyVersionInput{PolicyArn: &policyARN, VersionId: v.VersionId})
		if unlessAbsent(err) != nil {
			return err
		}
	}
	return nil
}

// discardManaged detaches the grant's managed policy from all entities but one, and deletes it if no entity is left.
func (a *application) discardManaged(ctx context.Context, g *grant, but string) error {
	policy := item{managedPolicy, a.managedARN(g), ""}
	was := a.account.get(policy)
	if was == "" {
		return nil
	}
	holders := a.account.holders(policy.on)
	others := slices.DeleteFunc(slices.Clone(holders), func(e *entity) bool { return e.text == but })
	for _, e := range others {
		if err := a.client.detach(ctx, e.arn, policy.on); err != nil {
			return err
		}
		a.wrote(item{attachment, e.text, policy.on}, policy.on, "")
	}
	if len(others) < len(holders) {
		return nil
	}
	if err := a.client.deletePolicy(ctx, policy.on); err != nil {
		return err
	}
	a.wrote(policy, was, "")
	return nil
}

// deletePolicy deletes a managed policy with its versions. Absent is success.
func (c *client) deletePolicy(ctx context.Context, policyARN string) error {
	there, err := c.ListPolicyVersions(ctx, &iam.ListPolicyVersionsInput{PolicyArn: &policyARN})
	if err == nil {
		err = c.deleteVersions(ctx, policyARN, there.Versions)
	}
	if err == nil {
		_, err = c.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: &policyARN})
	}
	return awsconfig.Explain(ctx, "delete the policy "+policyARN, unlessAbsent(err))
}

// attachTries is how often to attach a new policy that parts of AWS do not know yet.
const attachTries = 6

// attachNew attaches a managed policy that may just have been made.
func (c *client) attachNew(ctx context.Context, to arn, policyARN string) error {
	for try := 0; ; try++ {
		err := c.attach(ctx, to, policyARN)
		if try == attachTries || !unknownYet(err, policyARN) {
			return err
		}
		if err := backoff.Wait(ctx, try, c.pause, longestPause); err != nil {
			return fmt.Errorf("wait to attach the policy %s: %w", policyARN, err)
		}
	}
}

// unknownYet reports whether AWS does not know the policy.
func unknownYet(err error, policyARN string) bool {
	return awsconfig.Code(err) == noSuchEntity && strings.Contains(awsconfig.Message(err), policyARN)
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
	return awsconfig.Explain(ctx, "detach the policy "+policyARN+" from "+from.text, unlessAbsent(err))
}
