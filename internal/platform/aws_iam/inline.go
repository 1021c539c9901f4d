package awsiam

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// youngest is how long after the grant's beginning its principal may have been made. The two clocks may differ by
	// [jit.MaxSkew], and a window may begin a little before it is asked for.
	youngest = 2 * time.Minute
	// malformed is IAM's code for a document that it does not accept.
	malformed = "MalformedPolicyDocument"
)

// ensure puts the grant's policy on its principal: inline, or managed if there already is one or an inline policy does
// not fit.
func (a *application) ensure(ctx context.Context, g *grant) error {
	document, err := a.document(ctx, g)
	if err != nil {
		return err
	}
	e := a.account.entities[g.access.principal.text]
	if a.account.get(item{managedPolicy, a.managedARN(g), ""}) != "" {
		return a.ensureManaged(ctx, g, e, document)
	}
	err = a.ensureInline(ctx, e, policyName(g.marker), document)
	var full noRoomError
	if errors.As(err, &full) {
		return a.instead(ctx, g, e, document, full)
	}
	return err
}

// ensureInline gives the entity an inline policy. The error is [noRoomError] if it does not fit.
func (a *application) ensureInline(ctx context.Context, e *entity, name, document string) error {
	inline := item{inlinePolicy, e.text, name}
	was := a.account.get(inline)
	if was == document {
		return nil
	}
	used, more := a.account.inlineSize(e, name), size(document)
	quota, err := a.client.quota(ctx, inlineQuota[e.kind], used+more)
	if err != nil {
		return err
	}
	if used+more > quota {
		return noRoomError(fmt.Sprintf("its inline policies have %d characters and this one %d; the limit is %d",
			used, more, quota))
	}
	err = a.write(ctx, inline, was, document, func(ctx context.Context) error {
		return a.client.putInline(ctx, e.arn, name, document)
	})
	if awsconfig.Code(err) == limitExceeded {
		return noRoomError("it has no room for another inline policy")
	}
	return err
}

// document returns the policy that the grant needs.
func (a *application) document(ctx context.Context, g *grant) (string, error) {
	if named := g.access.role; named.kind == role {
		if named.account == a.scope && a.account.entities[named.text] == nil {
			return "", noRole(named, nil)
		}
	}
	if document := g.access.plain(g.marker.Window); document != "" {
		return document, nil
	}
	source, err := a.platform.source(ctx, a.client, a.account, g.access.role)
	if err != nil {
		return "", err
	}
	return timed(source, g.access, g.marker.Window)
}

// write makes one write and notes it, for the rest of this Apply and for reads that may miss it. It also notes a write
// without an answer, which AWS may have carried out.
func (a *application) write(ctx context.Context, i item, was, is string, do func(context.Context) error) error {
	ctx, unsure := awsconfig.Doubt(ctx)
	err := do(ctx)
	switch {
	case err == nil:
		a.wrote(i, was, is)
	case is != "" && unsure():
		a.platform.note(i, was, is, true)
	}
	return err
}

// wrote notes a write that AWS has confirmed.
func (a *application) wrote(i item, was, is string) {
	a.platform.note(i, was, is, false)
	a.account.put(i, is)
}

// discard removes the grant's policies from all principals but one.
func (a *application) discard(ctx context.Context, g *grant, but string) error {
	name := policyName(g.marker)
	for _, e := range a.bearers[name] {
		if e.text != but {
			if err := a.discardInline(ctx, e, name); err != nil {
				return err
			}
		}
	}
	return a.discardManaged(ctx, g, but)
}

// discardInline removes one of our inline policies, if it exists.
func (a *application) discardInline(ctx context.Context, e *entity, name string) error {
	i := item{inlinePolicy, e.text, name}
	was := a.account.get(i)
	if was == "" {
		return nil
	}
	if _, err := a.client.deleteInline(ctx, e.arn, name); err != nil {
		return err
	}
	a.wrote(i, was, "")
	return nil
}

func (c *client) putInline(ctx context.Context, on arn, name, document string) error {
	var err error
	switch on.kind {
	case user:
		_, err = c.PutUserPolicy(ctx,
			&iam.PutUserPolicyInput{UserName: &on.name, PolicyName: &name, PolicyDocument: &document})
	case group:
		_, err = c.PutGroupPolicy(ctx,
			&iam.PutGroupPolicyInput{GroupName: &on.name, PolicyName: &name, PolicyDocument: &document})
	default:
		_, err = c.PutRolePolicy(ctx,
			&iam.PutRolePolicyInput{RoleName: &on.name, PolicyName: &name, PolicyDocument: &document})
	}
	return explainWrite(ctx, on, "write the policy "+name+" on "+on.text, err)
}

// deleteInline deletes an inline policy. If the policy or its entity is absent, that is success; found says whether it
// was there.
func (c *client) deleteInline(ctx context.Context, on arn, name string) (found bool, err error) {
	switch on.kind {
	case user:
		_, err = c.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: &on.name, PolicyName: &name})
	case group:
		_, err = c.DeleteGroupPolicy(ctx, &iam.DeleteGroupPolicyInput{GroupName: &on.name, PolicyName: &name})
	default:
		_, err = c.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &on.name, PolicyName: &name})
	}
	found = err == nil
	return found, awsconfig.Explain(ctx, "delete the policy "+name+" of "+on.text, unlessAbsent(err))
}

// unlessAbsent drops the error of a removal that found nothing.
func unlessAbsent(err error) error {
	if awsconfig.Code(err) == noSuchEntity {
		return nil
	}
	return err
}

// explainWrite explains why a policy could not be written on an entity; nil stays nil.
func explainWrite(ctx context.Context, on arn, doing string, err error) error {
	switch awsconfig.Code(err) {
	case noSuchEntity:
		return &jit.Error{Attribute: "principal", Problem: fmt.Sprintf("there is no %s %s", on.kind, on.text),
			Hint: fmt.Sprintf("`aws iam list-%ss` lists them", on.kind), Err: err}
	case "UnmodifiableEntity":
		return &jit.Error{Attribute: "principal",
			Problem: fmt.Sprintf("%s belongs to an AWS service and cannot be changed", on.text),
			Hint:    "grant to another role", Err: err}
	case malformed:
		return &jit.Error{Attribute: "role",
			Problem: "AWS does not accept the policy: " + awsconfig.Message(err),
			Hint:    "name another policy, other actions or other resources", Err: err}
	}
	return awsconfig.Explain(ctx, doing, err)
}
