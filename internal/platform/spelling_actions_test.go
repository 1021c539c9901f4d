package platform

import (
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A policy that forbids an action refuses every role that may include it, however the role or the policy writes it.
func TestAForbiddenActionUnderEverySpelling(t *testing.T) {
	p := judgedPlatforms(t)["aws_iam"]
	if _, _, err := p.Check(p.with("", "actions:S3:getobject", "")); err == nil {
		t.Error("a service in capitals is accepted")
	}
	when := func(condition string) jit.Policy { return jit.Policy{Condition: condition} }
	list := func(globs ...string) jit.Policy { return jit.Policy{Match: jit.Matches{role(globs...)}} }
	const (
		admin     = "arn:aws:iam::123456789012:role/ops/admin"
		elsewhere = "arn:aws:iam::999999999999:role/x"
	)
	there := jit.Policy{Match: jit.Matches{scope("999999999999")}}
	for _, c := range []struct {
		role      string
		forbid    jit.Policy
		forbidden bool
	}{
		{"actions:s3:GetObject", list("actions:s3:GetObject"), true},
		{"actions:s3:getobject", list("actions:s3:GetObject"), true},
		{"actions:s3:GetObject", list("actions:S3:getobject"), true},
		{"actions:s3:GetObject", list("ACTIONS:S3:*"), true},
		{"actions:s3:Get*", list("actions:s3:GetObject"), true},
		{"actions:s3:Get?bject", list("actions:s3:GetObject"), true},
		{"actions:s3:*bject", list("actions:s3:Get*"), true},
		{"actions:s3:GetObject,sts:AssumeRole", list("actions:sts:*"), true},
		{"actions:ec2:RunInstances,s3:GetObject,sqs:Send*", list("actions:s3:GetObject"), true},
		{"actions:s3:GetObject", list("actions:iam:*,s3:GetObject"), true},
		{"actions:s3:GetObject", list("actions:iam:*,s3:[GP]etObject"), true},
		{"actions:s3:GetObject", list("actions:iam:*,s3:[,G]etObject on arn:aws:s3:::secret/*"), true},
		{"actions:s3:GetObject on arn:aws:s3:::secret/x", list("actions:s3:GetObject"), true},
		{"actions:s3:GetObject on arn:aws:s3:::secret/x", list("actions:s3:Get* on arn:aws:s3:::secret/*"), true},
		{"actions:s3:GetObject on arn:aws:s3:::secret/x", list("actions:iam:*,s3:Get* on arn:aws:s3:::secret/*"), true},
		{"actions:s3:Get* on arn:aws:s3:::s*", list("actions:s3:GetObject on arn:aws:s3:::secret/*"), true},
		{"actions:s3:GetObject on arn:aws:s3:::logs/x", list("actions:s3:Get* on arn:aws:s3:::secret/*"), false},
		{"actions:s3:PutObject", list("actions:s3:Get*"), false},
		{"actions:s3:List*", list("actions:s3:GetObject"), false},
		{"actions:*", list("actions:s3:GetObject"), true},
		{"actions:s3:GetObject", list("*GetObject"), true},
		{"actions:s3:GetObject", list("*Get?bject on *"), true},

		// What other roles give is known in part.
		{"actions:*", list("arn:aws:iam::aws:policy/AdministratorAccess"), true},
		{"actions:*", list(admin), true},
		{"actions:sts:AssumeRole", list(admin), true},
		{"actions:sts:assumerole", list("*/admin"), true},
		{"actions:sts:*", list(admin), true},
		{"actions:sts:AssumeRole on " + admin, list(admin), true},
		{"actions:sts:Assume* on arn:aws:iam::*:role/ops/*", list(admin), true},
		{"actions:sts:AssumeRole on arn:aws:iam::123456789012:role/dev", list(admin), false},
		{"actions:s3:GetObject", list("arn:aws:iam::aws:policy/AdministratorAccess"), false},

		// A role of another account leads into that account, and a policy that names the commercial partition means every
		// partition.
		{"actions:sts:AssumeRole on " + elsewhere, there, true},
		{"actions:s3:GetObject,sts:Assume* on " + elsewhere, there, true},
		{"actions:sts:AssumeRole on arn:aws:iam::9999999999??:role/x", there, true},
		{"actions:sts:AssumeRole on arn:*:*:*:*:*", there, true},
		{"actions:sts:AssumeRole", there, true},
		{"actions:*", there, true},
		{"actions:* on " + elsewhere, there, true},
		{elsewhere, there, true},
		{"actions:sts:AssumeRole on arn:aws:iam::123456789012:role/x", there, false},
		{"actions:s3:GetObject on " + elsewhere, there, false},
		{"actions:sts:AssumeRole on " + elsewhere, when(`grant.scope == "999999999999"`), true},
		{"actions:sts:AssumeRole on arn:aws-cn:iam::123456789012:role/ops/admin", list(admin), true},
		{"actions:sts:AssumeRole on arn:aws-cn:iam::123456789012:role/ops/*", list(admin), true},
		{"actions:sts:AssumeRole on arn:aws-cn:iam::123456789012:role/dev", list(admin), false},
		{"actions:s3:GetObject on arn:aws-cn:s3:::secret/x", list("actions:s3:* on arn:aws:s3:::secret/*"), true},
		{"actions:s3:GetObject on arn:*:s3:::secret/x", list("actions:s3:* on arn:aws:s3:::secret/*"), true},
		{"actions:s3:GetObject on arn:aws-cn:s3:::logs/x", list("actions:s3:* on arn:aws:s3:::secret/*"), false},

		// Sessions of an assumed role outlive the grant, whoever lists the action.
		{"actions:sts:AssumeRole on " + admin, when(`grant.session_tail > duration("1h")`), true},
		{"actions:s3:*,sts:Assume?ole", when(`grant.session_tail > duration("1h")`), true},
		{"actions:*", when(`grant.session_tail > duration("1h")`), true},
		{"actions:s3:*", when(`grant.session_tail > duration("0s")`), false},

		// Conditions.
		{"actions:iam:PassRole", when(`grant.role == "actions:iam:PassRole"`), true},
		{"actions:iam:passrole", when(`grant.role == "actions:iam:PassRole"`), true},
		{"actions:ec2:RunInstances,iam:passrole", when(`grant.role.contains("iam:PassRole")`), true},
		{"actions:ec2:RunInstances,iam:passrole", when(`["iam:PassRole", "x"].exists(p, grant.role.endsWith(p))`), true},
		{"actions:iam:Pass*", when(`grant.role == "actions:iam:PassRole"`), true},
		{"actions:ec2:*,iam:PassRole on arn:aws:iam::1:role/x", when(`grant.role.startsWith("actions:iam:")`), true},
		{"actions:ec2:RunInstances", when(`grant.role.contains("iam:PassRole")`), false},
		{"actions:ec2:RunInstances", when(`grant.reason == "actions:EC2" && grant.role.contains("2:")`), false},
	} {
		c.forbid.Name, c.forbid.Effect = "deny", jit.Forbid
		b := p.with("", c.role, "")
		v, err := p.judge(t, b, permitAll, c.forbid)
		if err != nil {
			t.Errorf("Check(%q): %v", c.role, err)
		} else if v.Permitted() == c.forbidden || c.forbidden && v.Policy != "deny" {
			t.Errorf("%q beside a forbid of %+v %q: %+v, want forbidden: %t", c.role, c.forbid.Match,
				c.forbid.Condition, v, c.forbidden)
		}
	}
}

// A policy permits actions if it permits each of them, on each resource.
func TestActionsArePermittedOneByOne(t *testing.T) {
	p := judgedPlatforms(t)["aws_iam"]
	when := func(condition string) jit.Policy { return jit.Policy{Condition: condition} }
	list := func(globs ...string) jit.Policy { return jit.Policy{Match: jit.Matches{role(globs...)}} }
	for _, c := range []struct {
		role      string
		permit    jit.Policy
		permitted bool
	}{
		{"actions:s3:GetObject", list("actions:s3:GetObject"), true},
		{"actions:s3:getobject", list("actions:s3:GetObject"), true},
		{"actions:s3:GetObject,s3:ListBucket", list("actions:s3:GetObject,s3:ListBucket"), true},
		{"actions:s3:ListBucket", list("actions:s3:GetObject,s3:ListBucket"), true},
		{"actions:s3:GetObject,s3:ListBucket", list("actions:s3:GetObject", "actions:s3:List*"), true},
		{"actions:s3:GetObject,s3:ListBucket", list("actions:s3:GetObject"), false},
		{"actions:s3:GetObject,sts:AssumeRole", list("actions:s3:*"), false},
		{"actions:s3:Get*", list("actions:s3:*"), true},
		{"actions:s3:*", list("actions:s3:Get*"), false},
		{"actions:s3:Get*", list("actions:s3:GetObject"), false},
		{"actions:s3:Get*", list("actions:s3:Get?"), false},
		{"actions:s3:Get*", list("actions:s3:Get[*O]"), false},
		{"actions:s3:Get?", list("actions:s3:Get[!*]"), false},
		{"actions:s3:GetX", list("actions:s3:Get[WX]"), true},
		{"actions:s3:getx", list("actions:iam:*,s3:Get[W,X]"), true},
		{"actions:*", list("actions:s3:*"), false},
		{"actions:*", list("arn:*"), false},
		{"actions:*", list("actions:*"), true},
		{"actions:iam:PassRole,s3:GetObject", list("*"), true},
		{"actions:s3:GetObject", jit.Policy{}, true},
		{"actions:s3:GetObject on arn:aws:s3:::a/x", list("actions:s3:* on arn:aws:s3:::a/*"), true},
		{"actions:s3:GetObject on arn:aws:s3:::a/x", list("actions:s3:*"), false},
		{"actions:s3:GetObject", list("actions:s3:* on arn:aws:s3:::a/*"), false},
		{"actions:s3:GetObject on arn:aws:s3:::a/x arn:aws:s3:::b", list("actions:s3:* on arn:aws:s3:::a/*"), false},
		{"actions:s3:Get*,s3:PutObject on arn:aws:s3:::a arn:aws:s3:::b",
			list("actions:s3:Get* on *", "actions:s3:Put* on *:a", "actions:s3:PutObject on *:b"), true},
		{"actions:s3:Get*,s3:PutObject on arn:aws:s3:::a arn:aws:s3:::b",
			list("actions:s3:Get* on *", "actions:s3:Put* on *:a"), false},

		{"actions:s3:GetObject", when(`grant.role == "actions:s3:GetObject"`), true},
		{"actions:s3:GetObject,s3:PutObject", when(`grant.role.startsWith("actions:s3:")`), true},
		{"actions:s3:GetObject,sts:AssumeRole", when(`grant.role.startsWith("actions:s3:")`), false},
		{"actions:iam:PassRole", when(`!grant.role.contains("iam:PassRole")`), false},
		{"actions:iam:passrole", when(`!grant.role.contains("iam:PassRole")`), false},
		{"actions:iam:Pass*", when(`!grant.role.contains("iam:PassRole")`), false},
		{"actions:s3:Get*", when(`grant.ttl <= duration("1h") || grant.role == ""`), true},
		{"actions:s3:GetAcl", when(`grant.role == "actions:s3:GetAcl" && grant.target != "a"`), true},
		{"actions:s3:GetAcl on arn:aws:s3:::a", when(`grant.role.endsWith(" on arn:aws:s3:::a")`), true},
	} {
		c.permit.Name, c.permit.Effect = "some", jit.Permit
		v, err := p.judge(t, p.with("", c.role, ""), c.permit)
		if err != nil {
			t.Errorf("Check(%q): %v", c.role, err)
		} else if v.Permitted() != c.permitted {
			t.Errorf("%q by a permit of %+v %q: %+v, want permitted: %t", c.role, c.permit.Match, c.permit.Condition, v,
				c.permitted)
		}
	}
	v, err := p.judge(t, p.with("", "actions:iam:PassRole,s3:GetObject", ""),
		jit.Policy{Name: "some", Effect: jit.Permit, Match: jit.Matches{role("actions:s3:*")}})
	const want = `roles of policy "some" are "actions:s3:*"; the grant's role is "actions:iam:PassRole,s3:GetObject"; ` +
		`each action is judged by itself, and they do not permit "actions:iam:PassRole"`
	if err != nil || v.Rule != want {
		t.Errorf("the refusal is %q (%v), want %q", v.Rule, err, want)
	}
}
