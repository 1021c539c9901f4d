package platform

import (
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A forbid on a role, a principal or an action holds under every condition, and a forbid on a role as principal holds for
// its sessions, however either is written.
func TestConditionsAndSessionsEvadeNoForbid(t *testing.T) {
	p := judgedPlatforms(t)["aws_iam"]
	const (
		admin   = "arn:aws:iam::123456789012:role/ops/admin"
		session = "arn:aws:sts::123456789012:assumed-role/developer/alice@example.com"
	)
	when := func(condition string) jit.Policy { return jit.Policy{Condition: condition} }
	list := func(m jit.Match) jit.Policy { return jit.Policy{Match: jit.Matches{m}} }
	for _, c := range []struct {
		principal, role string
		forbid          jit.Policy
		forbidden       bool
	}{
		{"", "arn:aws:iam::aws:policy/AdministratorAccess if mfa", list(role("*/AdministratorAccess")), true},
		{"", "arn:aws:iam::aws:policy/AdministratorAccess if mfa", list(role("*/AdministratorAccess if source-ip=*")), true},
		{"", "arn:aws:iam::aws:policy/AdministratorAccess", list(role("*/AdministratorAccess if mfa")), true},
		{"", "arn:aws:iam::aws:policy/AdministratorAccess on arn:aws:s3:::b if source_ip=203.0.113.7",
			list(role("*/AdministratorAccess")), true},
		{"", "arn:aws:iam::aws:policy/AdministratorAccess on arn:aws:s3:::b if mfa",
			list(role("*/AdministratorAccess on arn:aws:s3:::b")), true},
		{"", "arn:aws:iam::aws:policy/AdministratorAccess on arn:aws:s3:::b if mfa",
			list(role("*/AdministratorAccess on arn:aws:s3:::b if mfa")), true},
		{"", "arn:aws:iam::aws:policy/AdministratorAccess on arn:aws:s3:::b if mfa",
			list(role("*/AdministratorAccess on arn:aws:s3:::c if mfa")), false},
		{"", "actions:s3:Get* if mfa", list(role("actions:s3:GetObject")), true},
		{"", "actions:s3:Get*,sqs:Send* if mfa", list(role("actions:iam:*,s3:GetObject if mfa")), true},
		{"", "actions:s3:Get* if mfa", list(role("actions:iam:* if mfa")), false},
		{"", admin + " if mfa", list(role(admin)), true},
		{"", admin + " if mfa", when(`grant.role == "` + admin + `"`), true},
		{"", "actions:iam:passrole if mfa", when(`grant.role == "actions:iam:PassRole"`), true},
		{"", admin, when(`!("mfa" in grant.conditions)`), true},
		{"", admin + " if source-ip=203.0.113.0/24", when(`!("mfa" in grant.conditions)`), true},
		{"", admin + " if source-ip=203.0.113.0/24 and MFA", when(`!("mfa" in grant.conditions)`), false},

		// Sessions.
		{session, "", list(principal("arn:aws:iam::123456789012:role/developer")), true},
		{session, "", list(principal("arn:aws:iam::123456789012:role/DEVELOPER")), true},
		{session, "", list(principal("arn:aws:iam::123456789012:role/teams/*")), true},
		{session, "", list(principal("arn:aws:iam::123456789012:role/teams/a/developer")), true},
		{session, "", list(principal("arn:aws:iam::*:role/dev*")), true},
		{session, "", list(principal("*:assumed-role/developer/*")), true},
		{session, "", list(principal(session)), true},
		{session, "", list(principal(strings.ToUpper(session))), true},
		{session, "", list(principal("*alice@*")), true},
		{session, "", when(`grant.principal == "arn:aws:iam::123456789012:role/developer"`), true},
		{strings.Replace(session, "arn:aws:", "arn:aws-cn:", 1), "arn:aws-cn:iam::aws:policy/ReadOnlyAccess",
			list(principal("arn:aws:iam::123456789012:role/developer")), true},
		{session, "", list(principal("arn:aws:iam::123456789012:role/deployer")), false},
		{session, "", list(principal("arn:aws:iam::123456789012:user/*")), false},
		{session, "", list(principal("arn:aws:iam::210987654321:role/developer")), false},
		{session, "", list(principal("arn:aws:sts::*:assumed-role/developer/bob*")), false},
		{"arn:aws:iam::123456789012:role/developer", "", list(principal(session)), false},
	} {
		c.forbid.Name, c.forbid.Effect = "deny", jit.Forbid
		v, err := p.judge(t, p.with(c.principal, c.role, ""), permitAll, c.forbid)
		if err != nil {
			t.Errorf("Check(%q, %q): %v", c.principal, c.role, err)
		} else if v.Permitted() == c.forbidden || c.forbidden && v.Policy != "deny" {
			t.Errorf("%q to %q beside a forbid of %+v %q: %+v, want forbidden: %t", c.role, c.principal, c.forbid.Match,
				c.forbid.Condition, v, c.forbidden)
		}
	}
}

// A permit that demands conditions permits a role under these or stricter ones only, and a permit that demands none
// permits the role under any. A permit on a role as principal permits no session.
func TestDemandedConditions(t *testing.T) {
	p := judgedPlatforms(t)["aws_iam"]
	const reader = "arn:aws:iam::aws:policy/ReadOnlyAccess"
	const session = "arn:aws:sts::123456789012:assumed-role/developer/alice@example.com"
	when := func(condition string) jit.Policy { return jit.Policy{Condition: condition} }
	list := func(globs ...string) jit.Policy { return jit.Policy{Match: jit.Matches{role(globs...)}} }
	for _, c := range []struct {
		role      string
		permit    jit.Policy
		permitted bool
	}{
		{reader + " if mfa", list(reader + " if mfa"), true},
		{reader + " if MFA", list(reader + " if Mfa"), true},
		{reader, list(reader + " if mfa"), false},
		{reader, list("* if *"), false},
		{reader, list("*"), true},
		{reader + " if mfa", list("*"), true},
		{reader + " if mfa", list(reader), true},
		{reader + " if mfa", list("* if *"), true},
		{reader + " if mfa", jit.Policy{}, true},
		{reader + " if source-ip=203.0.113.0/24", list(reader + " if mfa"), false},
		{reader + " if mfa and source-ip=203.0.113.0/24", list(reader + " if mfa"), true},
		{reader + " if source-ip=203.0.113.0/24 and mfa", list(reader + " if mfa and source-ip=203.0.0.0/16"), true},
		{reader + " if mfa", list(reader + " if mfa and source-ip=203.0.0.0/16"), false},
		{reader + " if source-ip=203.0.0.0/8", list(reader + " if source-ip=203.0.0.0/16"), false},
		{reader + " if source-ip=203.0.113.7", list(reader + " if source_ip=203.0.0.0/16,10.0.0.0/8"), true},
		{reader + " if source-ip=203.0.113.7,8.8.8.8", list(reader + " if source-ip=203.0.0.0/16,10.0.0.0/8"), false},
		{reader + " if source-ip=203.0.113.7,8.8.8.8", list(reader + " if source-ip=*"), true},
		{reader + " if source-ip=203.0.0.0/8", list(reader + " if source-ip=203.0.*"), false},
		{reader + " if mfa", list(reader + " if vpn"), false},
		{reader + " if mfa", list(reader + " if mfa and vpn"), false},
		{reader + " on arn:aws:s3:::b if mfa", list(reader + " on arn:aws:s3:::* if mfa"), true},
		{reader + " on arn:aws:s3:::b", list(reader + " on arn:aws:s3:::* if mfa"), false},
		{reader + " on arn:aws:s3:::b if mfa", list(reader + " if mfa"), false},
		{reader + " if mfa", list(reader + " on * if mfa"), false},
		{"actions:s3:GetObject,s3:PutObject if mfa", list("actions:s3:GetObject", "actions:s3:Put* if mfa"), true},
		{"actions:s3:GetObject,s3:PutObject", list("actions:s3:GetObject", "actions:s3:Put* if mfa"), false},
		{"actions:s3:GetObject,s3:PutObject if mfa", list("actions:s3:GetObject,s3:PutObject if mfa"), true},
		{"actions:s3:GetObject,s3:PutObject", list("actions:s3:GetObject,s3:PutObject if mfa"), false},

		{reader + " if mfa", when(`"mfa" in grant.conditions`), true},
		{reader, when(`"mfa" in grant.conditions`), false},
		{reader + " if source-ip=203.0.113.7", when(`grant.conditions == ["source-ip=203.0.113.7/32"]`), true},
		{reader + " if mfa", when(`grant.role == "` + reader + `"`), true},
		{"actions:s3:Get* if mfa", when(`"mfa" in grant.conditions && grant.role != ""`), false},
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
	v, err := p.judge(t, p.with("", reader, ""), jit.Policy{Name: "some", Effect: jit.Permit,
		Match: jit.Matches{role(reader + " if mfa")}})
	if err != nil || !strings.Contains(v.Rule, "they demand conditions that the role does not have") {
		t.Errorf("the refusal is %q (%v)", v.Rule, err)
	}
	for glob, want := range map[string]bool{"arn:aws:iam::123456789012:role/*": false,
		"arn:aws:iam::123456789012:role/developer": false, "*:assumed-role/developer/*@example.com": true, session: true} {
		v, err := p.judge(t, p.with(session, "", ""), jit.Policy{Name: "some", Effect: jit.Permit,
			Match: jit.Matches{principal(glob)}})
		if err != nil || v.Permitted() != want {
			t.Errorf("a session by a permit of %q: %+v, %v, want permitted: %t", glob, v, err, want)
		}
	}
	if _, _, err := p.Check(p.with("", reader+" if vpn", "")); err == nil ||
		!strings.Contains(err.Error(), `"mfa", "source-identity=alice", "source-ip=203.0.113.0/24"`) {
		t.Errorf("an unknown condition: %v, want the known ones", err)
	}
}
