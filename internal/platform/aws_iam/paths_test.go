package awsiam

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// inPath makes a user, a group and a role in a path, and returns their ARNs.
func (s *site) inPath(t *testing.T, path, name string) (user, group, role string) {
	t.Helper()
	u, err := s.admin.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name, Path: &path})
	must(t, err)
	g, err := s.admin.CreateGroup(t.Context(), &iam.CreateGroupInput{GroupName: &name, Path: &path})
	must(t, err)
	trust := `{"Version":"2012-10-17","Statement":[{"Sid":"Theirs","Effect":"Allow","Principal":{"AWS":"` + s.arn("root") + `"},"Action":"sts:AssumeRole"}]}`
	r, err := s.admin.CreateRole(t.Context(),
		&iam.CreateRoleInput{RoleName: &name, Path: &path, AssumeRolePolicyDocument: &trust})
	must(t, err)
	return aws.ToString(u.User.Arn), aws.ToString(g.Group.Arn), aws.ToString(r.Role.Arn)
}

// IAM finds users, groups and roles by their names alone. A policy permits or forbids by the whole ARN, so a grant
// that names another path is refused and writes nothing on the one that has the name.
func TestAnotherPathIsAnotherThing(t *testing.T) {
	s := newSite(t)
	alice, _, admin := s.inPath(t, "/prod/", "Admin")
	reader, stranger := s.policy(t, "Reader", readerDocument), "arn:aws:iam::999999999999:user/a"
	if admin != s.arn("role/prod/Admin") {
		t.Fatalf("the role is %s", admin)
	}
	trusting := s.config()
	trusting.TrustPolicy = true
	before := s.dump(t)
	for name, tt := range map[string]struct {
		cfg     Config
		binding jit.Binding
		says    string
	}{
		"a role, in its trust policy": {s.config(),
			jit.Binding{Principal: stranger, Role: s.arn("role/dev/Admin")},
			"role: there is no role " + s.arn("role/dev/Admin")},
		"a role without its path": {s.config(),
			jit.Binding{Principal: stranger, Role: s.arn("role/Admin")},
			"role: there is no role " + s.arn("role/Admin")},
		"a role, with trust_policy": {trusting,
			jit.Binding{Principal: alice, Role: s.arn("role/dev/Admin")},
			"role: there is no role " + s.arn("role/dev/Admin")},
		"a role, on the principal's side": {s.config(), jit.Binding{Principal: alice, Role: s.arn("role/dev/Admin")},
			"role: there is no role " + s.arn("role/dev/Admin")},
		"a user": {s.config(), jit.Binding{Principal: s.arn("user/dev/Admin"), Role: reader},
			"principal: there is no user " + s.arn("user/dev/Admin")},
		"a group": {s.config(),
			jit.Binding{Principal: s.arn("group/dev/Admin"), Role: reader},
			"principal: there is no group " + s.arn("group/dev/Admin")},
		"a role as the principal": {s.config(),
			jit.Binding{Principal: s.arn("role/dev/Admin"), Role: reader},
			"principal: there is no role " + s.arn("role/dev/Admin")},
		"a user in a trust policy": {trusting,
			jit.Binding{Principal: s.arn("user/dev/Admin"), Role: admin},
			"principal: there is no user " + s.arn("user/dev/Admin")},
		"a managed policy": {s.config(),
			jit.Binding{Principal: alice, Role: s.arn("policy/dev/Reader")},
			"role: there is no managed policy " + s.arn("policy/dev/Reader")},
		"a managed policy, narrowed to one resource": {s.config(),
			jit.Binding{Principal: alice, Role: s.arn("policy/dev/Reader") + " on " + bucket},
			"role: there is no managed policy " + s.arn("policy/dev/Reader")},
	} {
		p := s.open(t, tt.cfg, time.Now)
		if err := try(t, p, jit.Ensure, grantOf(tt.binding, name))[0]; err == nil ||
			!strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", name, err, tt.says)
		}
		found, err := p.Read(t.Context(), s.account.ID)
		must(t, err)
		if len(found.Ours) != 0 {
			t.Errorf("%s: something was written: %+v", name, found.Ours)
		}
		apply(t, p, jit.Remove, grantOf(tt.binding, name))
	}
	if after := s.dump(t); after != before {
		t.Errorf("the account is\n%s\nwas\n%s", after, before)
	}
}

// A role in a path is granted with its whole ARN. Its trust statement is removed even by a grant that names another
// path.
func TestARoleInAPath(t *testing.T) {
	s := newSite(t)
	_, _, admin := s.inPath(t, "/prod/", "Admin")
	p := s.open(t, s.config(), time.Now)
	a := grantOf(jit.Binding{Principal: "arn:aws:iam::999999999999:user/a", Role: admin}, "a path")
	before := s.dump(t)
	for _, removed := range []string{admin, s.arn("role/dev/Admin")} {
		apply(t, p, jit.Ensure, a)
		found, err := p.Read(t.Context(), s.account.ID)
		must(t, err)
		if len(found.Ours) != 1 || found.Ours[0].Role != admin || found.Ours[0].Damage != "" {
			t.Fatalf("%+v, want the grant on %s", found.Ours, admin)
		}
		b := a
		b.Binding.Role = removed
		apply(t, p, jit.Remove, b)
		found, err = p.Read(t.Context(), s.account.ID)
		must(t, err)
		if len(found.Ours) != 0 || s.dump(t) != before {
			t.Errorf("after the removal from %s: %+v", removed, found.Ours)
		}
	}
}
