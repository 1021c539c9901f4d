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

// holds reports whether the entity has a policy of the grant, or some role trusts it.
func (a *application) holds(e *entity, g *grant) bool {
	return a.account.get(memo{inlinePolicy, e.text, policyName(g.marker)}) != "" ||
		a.account.get(memo{attachment, e.text, a.managedARN(g)}) != "" ||
		len(a.bearers[sidOf(g.marker)]) > 0
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

// ensure puts the grant's policy on its principal: inline, or managed if there already is one or an inline policy does
// not fit.
func (a *application) ensure(ctx context.Context, g *grant) error {
	if err := a.checkPrincipal(g); err != nil {
		return err
	}
	document, err := a.document(ctx, g)
	if err != nil {
		return err
	}
	e, name := a.account.entities[g.access.principal.text], policyName(g.marker)
	if a.account.get(memo{managedPolicy, a.managedARN(g), ""}) != "" {
		if err := a.ensureManaged(ctx, g, e, document); err != nil {
			return err
		}
		return a.discardInline(ctx, e, name)
	}
	was := a.account.get(memo{inlinePolicy, e.text, name})
	if was == document {
		return nil
	}
	used := a.account.inlineSize(e, name)
	quota, err := a.client.quota(ctx, inlineQuota[e.kind], used+size(document))
	if err != nil {
		return err
	}
	if used+size(document) > quota {
		return a.instead(ctx, g, e, document,
			fmt.Sprintf("its inline policies have %d characters and this one %d; the limit is %d", used,
				size(document), quota))
	}
	if err := a.client.putInline(ctx, e.arn, name, document); err != nil {
		if awsconfig.Code(err) == limitExceeded {
			return a.instead(ctx, g, e, document, "it has no room for another inline policy")
		}
		return err
	}
	a.wrote(memo{inlinePolicy, e.text, name}, was, document)
	return nil
}

// wrote notes a write, for the rest of this Apply and for reads that may miss it.
func (a *application) wrote(m memo, was, is string) {
	a.platform.note(m, was, is)
	a.account.put(m, is)
}

// document returns the policy that the grant needs.
func (a *application) document(ctx context.Context, g *grant) (string, error) {
	if named := g.access.role; named.kind == role {
		if named.account == a.scope && a.account.entities[named.text] == nil {
			return "", noRole(named, nil)
		}
		return assumption(g.access.role.text, g.marker.Window), nil
	}
	source, err := a.source(ctx, g.access.role)
	if err != nil {
		return "", err
	}
	return timed(source, g.access.role.text, g.access.resources, g.marker.Window)
}

// inlineSize is the size of all inline policies of an entity but one.
func (a *account) inlineSize(e *entity, but string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for name, document := range e.inline {
		if name != but {
			n += size(document)
		}
	}
	return n
}

// instead makes a managed policy because an inline one does not fit; why explains that with numbers.
func (a *application) instead(ctx context.Context, g *grant, e *entity, document, why string) error {
	refuse := func(more string) error {
		return &jit.Error{Attribute: "role",
			Problem: fmt.Sprintf("the copy of %s does not fit on %s: %s; %s", g.access.role.text, e.text, why, more),
			Hint:    "end other grants of the principal, grant a smaller policy, or grant permission to assume a role that has the policy"}
	}
	if n := size(document); n > managedQuota {
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
	if err := a.ensureManaged(ctx, g, e, document); err != nil {
		if awsconfig.Code(err) == limitExceeded {
			return errors.Join(refuse("AWS makes no managed policy either: "+awsconfig.Message(err)),
				a.discardManaged(ctx, g, ""))
		}
		return err
	}
	return a.discardInline(ctx, e, policyName(g.marker))
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
	m := memo{inlinePolicy, e.text, name}
	was := a.account.get(m)
	if was == "" {
		return nil
	}
	if _, err := a.client.deleteInline(ctx, e.arn, name); err != nil {
		return err
	}
	a.wrote(m, was, "")
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
	if awsconfig.Code(err) == noSuchEntity {
		return false, nil
	}
	return err == nil, awsconfig.Explain(ctx, "delete the policy "+name+" of "+on.text, err)
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
			Problem: "AWS does not accept the copy of the policy: " + awsconfig.Message(err), Hint: "name another policy, or other resources", Err: err}
	}
	return awsconfig.Explain(ctx, doing, err)
}
