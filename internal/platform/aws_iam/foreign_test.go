package awsiam

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// standingOf returns the standing access of a principal, with nothing recorded.
func standingOf(t *testing.T, p *Platform, account, principal string) []jit.Standing {
	t.Helper()
	snap, err := p.Read(t.Context(), account)
	must(t, err)
	var found []jit.Standing
	for _, s := range (jit.Records{Now: time.Now(), MaxTTL: 24 * time.Hour}).Standing(snap, account) {
		if s.Principal == principal {
			found = append(found, s)
		}
	}
	return found
}

// A foreign policy or statement that is named like a grant's does not hide access that AWS will not end soon.
func TestAMarkerHidesNothing(t *testing.T) {
	const id = "3f2b8c1e-0000-8000-8000-000000000000"
	const all = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`
	until := func(end string) string {
		return strings.Replace(all, `"*"}}`, `"*","Condition":{"DateLessThan":{"aws:CurrentTime":"`+end+`"}}}}`, 1)
	}
	soon := jit.FormatTime(time.Now().Add(time.Hour))
	for name, tt := range map[string]struct {
		document string
		hides    bool
	}{
		"everything, for ever":   {all, false},
		"everything, until 2099": {until("2099-01-01T00:00:00Z"), false},
		"nothing that is known":  {`{"Version":"2012-10-17","Statement":{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}}`, false},
		"everything, for a hour": {until(soon), true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			mallory, oscar := s.user(t, "mallory"), s.user(t, "oscar")
			p := s.open(t, s.config(), time.Now)
			s.put(t, mallory, "jit-"+id+"-zzz", tt.document)
			s.attach(t, oscar, s.managed(t, "/jit/", "jit-"+id+"-zzz", tt.document))
			for _, who := range []string{mallory, oscar} {
				if !s.may(t, who, "s3:GetObject", bucket+"/key", time.Now()) {
					t.Fatalf("%s has no access, so the test hides nothing", who)
				}
				found := standingOf(t, p, s.account.ID, who)
				if tt.hides != (len(found) == 0) || len(found) > 0 &&
					(found[0].Marker.ID != id || found[0].Marker.Owner != "zzz") {
					t.Errorf("%s: standing access is %+v", who, found)
				}
			}
		})
	}
}

// A Sid like a grant's never hides a principal that is trusted for ever, however the statement is written.
func TestASidHidesNobody(t *testing.T) {
	const sid = "Jit3f2b8c1e000080008000000000000000zzz"
	s := newSite(t)
	alice := s.user(t, "alice")
	for name, tt := range map[string]struct {
		statement string
		want      string
	}{
		"without a condition": {`{"Sid":"` + sid +
			`","Effect":"Allow","Principal":{"AWS":"ALICE"},"Action":"sts:AssumeRole"}`, alice},
		"everybody": {`{"Sid":"` + sid + `","Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}`, "*"},
		"in 2099": {`{"Sid":"` + sid +
			`","Effect":"Allow","Principal":{"AWS":"ALICE"},"Action":"sts:AssumeRole","Condition":{"DateLessThan":{"aws:CurrentTime":"2099-01-01T00:00:00Z"}}}`, alice},
		"no Sid, with MFA":  {`{"Effect":"Allow","Principal":{"AWS":"ALICE"},"Action":"sts:AssumeRole","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}}`, alice},
		"no Sid, everybody": {`{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}`, "*"},
	} {
		t.Run(name, func(t *testing.T) {
			role := s.role(t, "r"+strings.Map(func(r rune) rune {
				if r < 'a' || r > 'z' {
					return -1
				}
				return r
			}, name), s.arn("root"))
			s.setTrust(t, role, `{"Version":"2012-10-17","Statement":[`+strings.ReplaceAll(tt.statement, "ALICE",
				alice)+`]}`)
			told := false
			for _, found := range standingOf(t, s.open(t, s.config(), time.Now), s.account.ID, tt.want) {
				told = told || found.Role == role && found.Claims() == strings.Contains(tt.statement, sid)
			}
			if !told {
				t.Errorf("the read does not report that %s may assume %s", tt.want, role)
			}
		})
	}
}

// Reads report permission to do everything, or to assume roles by pattern, with the access that it covers.
func TestWidePermissionsAreTold(t *testing.T) {
	s := newSite(t)
	p := s.open(t, s.config(), time.Now)
	deployer, reader := s.arn("role/ops/deployer"), s.policy(t, "Reader", readerDocument)
	allow := func(action, resource string) string {
		return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"` + action + `","Resource":"` + resource + `"}}`
	}
	for i, tt := range []struct {
		document, role string
		assumes, reads bool
	}{
		{allow("*", "*"), "*", true, true},
		{allow("sts:AssumeRole", "*"), "arn:*:iam::*:role/*", true, false},
		{allow("sts:*", s.arn("role/ops/*")), s.arn("role/ops/*"), true, false},
		{allow("sts:Assume*", s.arn("role/dev/*")), s.arn("role/dev/*"), false, false},
		{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}}`,
			"arn:*:iam::*:role/*", true, false},
		{allow("s3:*", "*"), "actions:s3:*", false, false},
		{`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"s3:*","Resource":"*"}}`, "", false, false},
	} {
		who := s.user(t, "user"+string(rune('a'+i)))
		s.put(t, who, "theirs", tt.document)
		all := standingOf(t, p, s.account.ID, who)
		if tt.role == "" {
			if len(all) != 0 {
				t.Errorf("%s: %+v", tt.document, all)
			}
			continue
		}
		_, assumes := jit.Shadow(all, jit.Binding{Principal: who, Role: deployer}, time.Time{})
		_, reads := jit.Shadow(all, jit.Binding{Principal: who, Role: reader + " on " + bucket}, time.Time{})
		if len(all) != 1 || all[0].Role != tt.role || assumes != tt.assumes || reads != tt.reads {
			t.Errorf("%s: %+v stands for a role: %t, for a policy: %t", tt.document, all, assumes, reads)
		}
	}
	// In a group it is its members'.
	s.put(t, s.group(t, "admins"), "theirs", allow("*", "*"))
	zoe := s.user(t, "zoe", "admins")
	if all := standingOf(t, p, s.account.ID, zoe); len(all) != 1 || all[0].Role != "*" ||
		!strings.Contains(all[0].Detail, "the group admins") {
		t.Errorf("a member of the group: %+v", all)
	}
}

// Advice names principals and roles that the account lacks. It knows neither other accounts nor policies of AWS.
func TestWhatDoesNotExistIsTold(t *testing.T) {
	s := newSite(t)
	alice, reader, deployer := s.user(t, "alice"), s.policy(t, "Reader", readerDocument),
		s.role(t, "deployer", s.arn("root"))
	s.intercept(func(w http.ResponseWriter, _ *http.Request, action string, form url.Values) bool {
		return serveManaged(w, action, form)
	})
	snap, err := s.open(t, s.config(), time.Now).Read(t.Context(), s.account.ID)
	must(t, err)
	for _, tt := range []struct{ principal, role, want string }{
		{alice, reader, ""},
		{alice, reader + " on " + bucket, ""},
		{alice, deployer, ""},
		{alice, theirManaged, ""},
		{alice, "arn:aws:iam::aws:policy/ReadOnlyAcess", "role"},
		{"arn:aws:iam::999999999999:user/alice", deployer, ""},
		{s.arn("user/alcie"), reader, "principal"},
		{alice, s.arn("policy/Raeder"), "role"},
		{alice, s.arn("role/deplyoer"), "role"},
		{s.arn("user/alcie"), s.arn("policy/Raeder"), "principal role"},
	} {
		var got []string
		for _, a := range snap.Advise(t.Context(), jit.Binding{Principal: tt.principal, Role: tt.role}) {
			got = append(got, a.Attribute)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s for %s: told of %q, want %q", tt.role, tt.principal, got, tt.want)
		}
	}
}
