package awsiam

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// recorded is the grant of an access as a ledger has it.
func recorded(a jit.Access) jit.Grant {
	return jit.Grant{ID: a.Marker.ID, Owner: a.Marker.Owner, Binding: a.Binding, Window: a.Marker.Window,
		Enforcement: jit.Native}
}

// Access of one session is neither that of other sessions of the role nor of the same session of another role; and a
// denial in the copied policy concerns nobody else.
func TestOneSessionOfASharedRole(t *testing.T) {
	const denies = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"},` +
		`{"Effect":"Deny","Action":"s3:PutObject","Resource":"*"}]}`
	for name, form := range map[string]struct {
		role  func(s *site) string
		trust bool
	}{
		"actions": {role: func(*site) string { return "actions:s3:GetObject" }},
		"copy":    {role: func(s *site) string { return s.policy(t, "Denies", denies) }},
		"managed": {role: func(s *site) string { return s.policy(t, "Large", large(9)) }},
		"assume":  {role: func(s *site) string { return s.role(t, "deployer", s.arn("root")) }},
		"trust": {role: func(s *site) string { return s.role(t, "deployer", "arn:aws:iam::999999999999:root") },
			trust: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			alice := s.shared(t, "developer", "alice@example.com")
			developer, bob := s.holder(t, alice), s.session("developer", "bob@example.com")
			other := s.shared(t, "operator", "alice@example.com")
			filler := ""
			if name == "managed" {
				filler = strings.Repeat("b", 9900)
			}
			s.put(t, developer, "theirs", `{"Version":"2012-10-17","Statement":{"Effect":"Allow",`+
				`"Action":["s3:PutObject","s3:GetBucketAcl"],"Resource":["arn:aws:s3:::shared/*","arn:aws:s3:::`+filler+`"]}}`)
			cfg := s.config()
			cfg.TrustPolicy = form.trust
			p := s.open(t, cfg, time.Now)
			a := grantOf(jit.Binding{Principal: alice, Role: form.role(s), Scope: s.account.ID}, name)
			action, resource := "s3:GetObject", bucket+"/key"
			if strings.Contains(a.Binding.Role, ":role/") {
				action, resource = "sts:AssumeRole", a.Binding.Role
			}
			was := s.dump(t)
			apply(t, p, jit.Ensure, a)
			end := a.Marker.Window.End
			for _, tc := range []struct {
				who  string
				when time.Time
				want bool
			}{
				{alice, time.Now(), true}, {alice, end, false}, {alice, a.Marker.Window.Start.Add(-time.Second), false},
				{bob, time.Now(), false}, {other, time.Now(), false}, {developer, time.Now(), false},
				{s.session("developer", "alice@example.co"), time.Now(), false},
				{s.session("developer", "ALICE@example.com"), time.Now(), false},
			} {
				if got := s.may(t, tc.who, action, resource, tc.when); got != tc.want {
					t.Errorf("%s at %s: %t, want %t", tc.who, tc.when, got, tc.want)
				}
			}
			if !s.may(t, bob, "s3:PutObject", "arn:aws:s3:::shared/key", time.Now()) {
				t.Error("another session lost what it had")
			}
			found, err := p.Read(t.Context(), s.account.ID)
			must(t, err)
			if d := recorded(a).Differs(found); d.Words != "" {
				t.Errorf("the drift is %+v", d)
			}
			apply(t, p, jit.Remove, a)
			if s.may(t, alice, action, resource, time.Now()) || s.dump(t) != was {
				t.Errorf("the removal left %s, want %s", s.dump(t), was)
			}
		})
	}
}

// The role of a session that was deleted and made anew is another one: its grant is over, an old policy that somebody
// puts back gives nobody access, and a repair is refused.
func TestTheRoleOfASessionMadeAnew(t *testing.T) {
	for _, trust := range []bool{false, true} {
		s := newSite(t)
		if s.strict == nil {
			t.Skip("the times of roles are those of the strict server of `make test`")
		}
		alice, deployer := s.shared(t, "developer", "alice"), s.role(t, "deployer", "arn:aws:iam::999999999999:root")
		cfg := s.config()
		cfg.TrustPolicy = trust
		p := s.open(t, cfg, time.Now)
		a := grantOf(jit.Binding{Principal: alice, Role: "actions:s3:GetObject", Scope: s.account.ID}, "anew")
		if trust {
			a = grantOf(jit.Binding{Principal: alice, Role: deployer, Scope: s.account.ID}, "anew")
		}
		apply(t, p, jit.Ensure, a)
		on, document := s.find(t, a.Marker)
		if !trust {
			s.drop(t, on, policyName(a.Marker))
		}
		name := "developer"
		_, err := s.admin.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: &name})
		must(t, err)
		s.shared(t, "developer", "alice")
		s.strict.entities["role/developer"].created = time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
		action, resource := "sts:AssumeRole", deployer
		if !trust {
			s.put(t, on, policyName(a.Marker), document)
			action, resource = "s3:GetObject", bucket+"/key"
		}
		if s.may(t, alice, action, resource, time.Now()) {
			t.Errorf("trust %t: the new role's session has the access", trust)
		}
		g := recorded(a)
		g.GrantedAt = time.Now()
		found, err := p.Read(t.Context(), s.account.ID)
		must(t, err)
		if d := g.Differs(found); d.Kind != jit.DriftGone {
			t.Errorf("trust %t: the drift is %+v", trust, d)
		}
		errs := p.Apply(t.Context(), s.account.ID, []jit.Change{{Op: jit.Ensure, Access: a, GrantedAt: g.GrantedAt}})
		if errs[0] == nil || s.may(t, alice, action, resource, time.Now()) {
			t.Errorf("trust %t: a repair gives the new role's session the access: %v", trust, errs[0])
		}
		apply(t, p, jit.Remove, a)
	}
}

// plainAssumeRole matches the actions that moto takes in a trust policy.
var plainAssumeRole = regexp.MustCompile(`"Action":"sts:AssumeRole\w*"`)

// A grant to a session is refused where a caller can take its name, and given where the trust policy leaves no choice.
func TestASessionThatOthersCouldTake(t *testing.T) {
	const root = `"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999999999999:root"}`
	const her = `"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999999999999:user/alice"}`
	const web = `"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::123456789012:oidc-provider/idp"}`
	const saml = `"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::123456789012:saml-provider/idp"}`
	named := func(key, value string) string { return `,"Condition":{"StringLike":{"` + key + `":"` + value + `"}}` }
	for name, tc := range map[string]struct {
		trust, condition string
		refused          bool
	}{
		"SAML":                    {saml + `,"Action":["sts:AssumeRoleWithSAML","sts:TagSession"]`, "", false},
		"a service":               {`"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"`, "", false},
		"an account":              {root + `,"Action":"sts:AssumeRole"`, "", true},
		"a wildcard":              {root + `,"Action":"sts:*"`, "", true},
		"everybody":               {`"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"`, "", true},
		"OIDC":                    {web + `,"Action":"sts:AssumeRoleWithWebIdentity"`, "", true},
		"their own name":          {root + `,"Action":"sts:AssumeRole"` + named("sts:RoleSessionName", "${aws:username}"), "", false},
		"her name, to one user":   {her + `,"Action":"sts:AssumeRole"` + named("STS:rolesessionname", "alice"), "", false},
		"her name, to an account": {root + `,"Action":"sts:AssumeRole"` + named("sts:RoleSessionName", "alice"), "", true},
		"a name that begins with theirs": {root + `,"Action":"sts:AssumeRole"` +
			named("sts:RoleSessionName", "${aws:username}*"), "", true},
		"her identity, to an account": {root + `,"Action":["sts:AssumeRole","sts:SetSourceIdentity"]` +
			named("sts:SourceIdentity", "alice"), " if source-identity=alice", true},
		"any name":                     {root + `,"Action":"sts:AssumeRole"` + named("sts:RoleSessionName", "*"), "", true},
		"many names":                   {root + `,"Action":"sts:AssumeRole"` + named("sts:RoleSessionName", "al*"), "", true},
		"names of others":              {root + `,"Action":"sts:AssumeRole"` + named("sts:RoleSessionName", "ci-*"), "", false},
		"another condition":            {root + `,"Action":"sts:AssumeRole"` + named("aws:PrincipalTag/team", "a"), "", true},
		"an identity that nobody sets": {root + `,"Action":"sts:AssumeRole"`, " if source-identity=alice", false},
		"an identity of choice": {root + `,"Action":["sts:AssumeRole","sts:SetSourceIdentity"]`, " if source-identity=alice",
			true},
		"a bound identity": {root + `,"Action":["sts:AssumeRole","sts:SetSourceIdentity"]` +
			named("sts:SourceIdentity", "${aws:username}"), " if source-identity=alice", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			if s.strict == nil && !plainAssumeRole.MatchString(tc.trust) {
				t.Skip("moto takes no other actions in a trust policy than those that assume a role")
			}
			alice := s.shared(t, "developer", "alice")
			s.setTrust(t, s.holder(t, alice), `{"Version":"2012-10-17","Statement":[{`+tc.trust+`}]}`)
			p := s.open(t, s.config(), time.Now)
			a := grantOf(jit.Binding{Principal: alice, Role: "actions:s3:GetObject" + tc.condition, Scope: s.account.ID}, name)
			found, err := p.Read(t.Context(), s.account.ID)
			must(t, err)
			advice := found.Advise(t.Context(), a.Binding)
			err = try(t, p, jit.Ensure, a)[0]
			if (err != nil) != tc.refused || (len(advice) > 0) != tc.refused {
				t.Errorf("%v and %v, want it refused: %t", err, advice, tc.refused)
			}
			if tc.refused && (err == nil || !strings.Contains(err.Error(), "choose the name of their session") ||
				s.may(t, alice, "s3:GetObject", bucket+"/key", time.Now())) {
				t.Error(err)
			}
		})
	}
}

// A person of IAM Identity Center, whose role nobody can change, can assume a role: the permission is in that role's
// trust policy, whatever the target says.
func TestASessionOfIdentityCenter(t *testing.T) {
	s := newSite(t)
	alice := s.shared(t, "AWSReservedSSO_Developer_0123456789abcdef", "alice@example.com")
	deployer := s.role(t, "deployer", "arn:aws:iam::999999999999:root")
	p := s.open(t, s.config(), time.Now)
	a := grantOf(jit.Binding{Principal: alice, Role: deployer + " if source-identity=alice", Scope: s.account.ID}, "sso")
	was := s.dump(t)
	apply(t, p, jit.Ensure, a)
	r := func(identity string) request {
		r := at("sts:AssumeRole", deployer, time.Now())
		r.context["aws:sourceidentity"] = identity
		return r
	}
	if !s.mayUnder(t, alice, r("alice")) || s.mayUnder(t, alice, r("bob")) || s.may(t, alice, "sts:AssumeRole", deployer,
		time.Now()) {
		t.Error("not exactly her session with her source identity may assume the role")
	}
	if all, _ := s.entities(t); len(all[s.holder(t, alice)].Inline) > 0 {
		t.Error("something was written on the role of Identity Center")
	}
	a.TerminateSessions = true
	apply(t, p, jit.Remove, a)
	documents, _ := s.documents(t, deployer)
	for identity, ended := range map[string]bool{"alice": true, "bob": false, "": false} {
		r := at("s3:GetObject", bucket+"/key", time.Now())
		r.context["aws:tokenissuetime"] = time.Now().Add(-30 * time.Second).UTC().Format(time.RFC3339)
		if identity != "" {
			r.context["aws:sourceidentity"] = identity
		}
		if denied(t, documents, r) != ended {
			t.Errorf("sessions of %q are ended: %t, want %t", identity, !ended, ended)
		}
	}
	s.drop(t, deployer, denyName(a.Marker))
	if s.dump(t) != was {
		t.Error("the account is not as it was")
	}
}

// A role that is a principal of others' access gives it to its sessions: that is standing access of a session.
func TestASessionHasTheStandingAccessOfItsRole(t *testing.T) {
	s := newSite(t)
	alice, reader := s.shared(t, "developer", "alice"), s.policy(t, "Reader", readerDocument)
	s.attach(t, s.holder(t, alice), reader)
	found, err := s.open(t, s.config(), time.Now).Read(t.Context(), s.account.ID)
	must(t, err)
	for who, want := range map[string]bool{alice: true, s.session("developer2", "alice"): false} {
		if _, has := found.StandingOf(jit.Binding{Principal: who, Role: reader + " on " + objects}); has != want {
			t.Errorf("%s has standing access: %t, want %t", who, has, want)
		}
	}
	p := s.open(t, s.config(), time.Now)
	apply(t, p, jit.Ensure,
		grantOf(jit.Binding{Principal: s.holder(t, alice), Role: "actions:s3:GetObject", Scope: s.account.ID}, "theirs"))
	found, err = p.Read(t.Context(), s.account.ID)
	must(t, err)
	if ours := found.Indexed().To(alice).Ours; len(ours) != 1 {
		t.Errorf("%s has %+v, want what her role was granted", alice, ours)
	}
	const other = "arn:aws:sts::999999999999:assumed-role/developer/alice"
	deployer := s.role(t, "deployer", "arn:aws:iam::999999999999:role/teams/developer")
	found, err = s.open(t, s.config(), time.Now).Read(t.Context(), s.account.ID)
	must(t, err)
	if _, has := found.StandingOf(jit.Binding{Principal: other, Role: deployer}); !has {
		t.Errorf("%s has no standing access to %s, which trusts its role", other, deployer)
	}
}

// Where AWS saves no change of a trust policy, the session is denied its role, and no other session is.
func TestADeniedSessionDeniesNobodyElse(t *testing.T) {
	s := newSite(t)
	if s.strict == nil {
		t.Skip("only the strict server of `make test` refuses a trust policy with a deleted principal")
	}
	alice, gone := s.shared(t, "developer", "alice"), s.user(t, "gone")
	deployer := s.role(t, "deployer", gone)
	cfg := s.config()
	cfg.TrustPolicy = true
	p := s.open(t, cfg, time.Now)
	a := grantOf(jit.Binding{Principal: alice, Role: deployer, Scope: s.account.ID}, "dead")
	apply(t, p, jit.Ensure, a)
	s.put(t, s.holder(t, alice), "theirs",
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}}`)
	name := "gone"
	_, err := s.admin.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: &name})
	must(t, err)
	err = try(t, p, jit.Remove, a)[0]
	if err == nil || s.may(t, alice, "sts:AssumeRole", deployer, time.Now()) {
		t.Errorf("her session may still assume the role: %v", err)
	}
	documents, _ := s.documents(t, s.holder(t, alice))
	r := at("sts:AssumeRole", deployer, time.Now())
	all, _ := s.entities(t)
	r.context["aws:userid"] = all[s.holder(t, alice)].ID + ":bob"
	if denied(t, documents, r) {
		t.Error("another session of the role is denied too")
	}
	text, _ := json.Marshal(documents)
	if !strings.Contains(string(text), "Deny") {
		t.Errorf("nothing denies her session: %s", text)
	}
}
