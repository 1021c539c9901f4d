package awsiam

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// The principal reads a real object before, inside and after the window; servers that behave as AWS decide.
func TestOnAGateway(t *testing.T) {
	gateway := testenv.VersityGW(t)
	t.Setenv("AWS_ACCESS_KEY_ID", testenv.GatewayKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", testenv.GatewaySecret)
	cfg := Config{AccountID: gateway.Account}
	cfg.Region, cfg.Endpoint = testenv.GatewayRegion, gateway.IAM
	p, err := New(cfg, jit.Services{Now: time.Now})
	must(t, err)
	gateway.Bucket(t, "gateway-invoices")
	gateway.Bucket(t, "gateway-salaries")
	key := gateway.User(t, "gateway-alice")
	alice := "arn:aws:iam::" + gateway.Account + ":user/gateway-alice"
	reads := func(bucket string, want bool, when string) {
		t.Helper()
		got, err := gateway.Reads(t.Context(), key, bucket)
		must(t, err)
		if got != want {
			t.Errorf("%s %s can be read: %t, want %t", when, bucket, got, want)
		}
	}
	reads("gateway-invoices", false, "before everything")
	a := grantOf(jit.Binding{Principal: alice,
		Role: "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess on arn:aws:s3:::gateway-invoices/*"}, "window")
	a.Marker.Window.Start = jit.Second(time.Now()).Add(3 * time.Second)
	a.Marker.Window.End = a.Marker.Window.Start.Add(3 * time.Second)
	apply(t, p, jit.Ensure, a)
	reads("gateway-invoices", false, "before the start")
	time.Sleep(time.Until(a.Marker.Window.Start) + 100*time.Millisecond)
	reads("gateway-invoices", true, "inside the window")
	reads("gateway-salaries", false, "inside the window")
	time.Sleep(time.Until(a.Marker.Window.End) + 100*time.Millisecond)
	reads("gateway-invoices", false, "after the end, with nothing of ours running")

	for _, again := range []time.Duration{time.Hour, 2 * time.Hour} {
		a.Marker.Window = jit.Window{Start: jit.Second(time.Now()), End: jit.Second(time.Now()).Add(again)}
		apply(t, p, jit.Ensure, a)
		reads("gateway-invoices", true, "with a window of "+again.String())
	}
	apply(t, p, jit.Remove, a)
	reads("gateway-invoices", false, "after the removal")
	err = try(t, p, jit.Ensure, grantOf(jit.Binding{Principal: alice + "-nobody", Role: a.Binding.Role}, "nobody"))[0]
	if err == nil || !strings.Contains(err.Error(), "principal: there is no user") {
		t.Errorf("a grant to nobody: %v", err)
	}
}

// Terminating sessions ends those that were opened with the grant, and no older or newer ones; and
// leaves nothing once the longest of them would be over.
func TestTerminateSessions(t *testing.T) {
	for _, trust := range []bool{false, true} {
		s := newSite(t)
		cfg := s.config()
		cfg.TrustPolicy = trust
		now := time.Now()
		alice, deployer := s.user(t, "alice"), s.role(t, "deployer", s.arn("root"))
		s.put(t, deployer, "theirs",
			`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}}`)
		before, p := s.dump(t), s.open(t, cfg, func() time.Time { return now })
		a := grantOf(jit.Binding{Principal: alice, Role: deployer}, "sessions")
		a.Marker.Window = jit.Window{Start: jit.Second(now).Add(-time.Minute), End: jit.Second(now).Add(time.Hour)}
		b, traits, err := p.Check(a.Binding)
		must(t, err)
		if !traits.CanTerminate || traits.SessionTail != 12*time.Hour {
			t.Errorf("traits of %v are %+v", b, traits)
		}
		session := func(opened, when time.Time) bool {
			t.Helper()
			documents, _ := s.documents(t, deployer)
			r := at("s3:GetObject", bucket+"/key", when)
			r.context["aws:tokenissuetime"] = opened.UTC().Format(time.RFC3339)
			return decides(t, documents, r)
		}
		apply(t, p, jit.Ensure, a)
		apply(t, p, jit.Remove, a)
		if !session(now.Add(-30*time.Second), now.Add(time.Minute)) {
			t.Errorf("trust %t: a session that should stay open was ended", trust)
		}
		apply(t, p, jit.Ensure, a)
		a.TerminateSessions = true
		apply(t, p, jit.Remove, a)
		apply(t, p, jit.Remove, a)
		for name, tc := range map[string]struct {
			opened time.Time
			want   bool
		}{
			"before the grant": {now.Add(-2 * time.Hour), true}, "at its beginning": {a.Marker.Window.Start, false},
			"half a minute ago":             {now.Add(-30 * time.Second), false},
			"while the removal took effect": {now.Add(10 * time.Second), false},
			"later":                         {now.Add(10 * time.Minute), true},
		} {
			if got := session(tc.opened, now.Add(20*time.Minute)); got != tc.want {
				t.Errorf("trust %t: a session opened %s stays open: %t, want %t", trust, name, got, tc.want)
			}
		}
		now = now.Add(13 * time.Hour)
		if errs := try(t, p, jit.Remove, a); errs[0] != nil {
			t.Error(errs[0])
		}
		if all, _ := s.entities(t); len(all[deployer].Inline) != 1 {
			t.Errorf("trust %t: the policy that ended the sessions is left: %v", trust, all[deployer].Inline)
		}
		if after := s.dump(t); after != before {
			t.Errorf("the account is\n%s\nwas\n%s", after, before)
		}
	}
}

// A user who was deleted and made again does not get the old user's access, but can get a new grant.
func TestAPrincipalMadeAnew(t *testing.T) {
	s := newSite(t)
	alice, reader := s.user(t, "alice"), s.policy(t, "Reader", readerDocument)
	p := s.open(t, s.config(), time.Now)
	old := grantOf(jit.Binding{Principal: alice, Role: reader}, "old")
	old.Marker.Window.Start = old.Marker.Window.Start.Add(-10 * time.Minute) // before she was made
	err := try(t, p, jit.Ensure, old)[0]
	if err == nil || !strings.Contains(err.Error(), "principal: "+alice+" was created at") ||
		!strings.Contains(err.Error(), "renewal") {
		t.Errorf("%v, want one that says that she is a different user", err)
	}
	if s.may(t, alice, "s3:GetObject", bucket+"/key", time.Now()) {
		t.Error("the old user's access was given to the new one")
	}
	apply(t, p, jit.Ensure, grantOf(jit.Binding{Principal: alice, Role: reader}, "new"))
	apply(t, p, jit.Remove, old)
	if !s.may(t, alice, "s3:GetObject", bucket+"/key", time.Now()) {
		t.Error("the new grant was not given, or was removed with the old one")
	}
}

// A grant to a group reaches its members, and reads report standing access through a group.
func TestGroups(t *testing.T) {
	s := newSite(t)
	oncall := s.group(t, "oncall")
	alice, reader := s.user(t, "alice", "oncall"), s.policy(t, "Reader", readerDocument)
	p, a := s.open(t, s.config(), time.Now), grantOf(jit.Binding{Principal: oncall, Role: reader}, "group")
	apply(t, p, jit.Ensure, a)
	s.moments(t, jit.Access{Marker: a.Marker, Binding: jit.Binding{Principal: alice}}, "s3:GetObject", bucket+"/key")
	apply(t, p, jit.Remove, a)
	s.attach(t, oncall, reader)
	found, err := p.Read(t.Context(), s.account.ID)
	must(t, err)
	want := jit.Standing{Principal: alice, Role: reader, Covers: reader + " on ",
		Detail: "attached to the group oncall"}
	told := false
	for _, one := range found.Standing {
		told = told || one == want
	}
	if !told {
		t.Errorf("%+v is not among %+v", want, found.Standing)
	}
}

// A principal of another account is trusted for the window. It is not confused with the local user of the same name.
func TestAcrossAccounts(t *testing.T) {
	s := newSite(t)
	deployer := s.role(t, "deployer", s.arn("root"))
	const foreign = "arn:aws:iam::999999999999:user/alice"
	p, a := s.open(t, s.config(), time.Now), grantOf(jit.Binding{Principal: foreign, Role: deployer}, "across")
	trusted := func(when time.Time) bool {
		t.Helper()
		_, trust := s.documents(t, foreign)
		itself, _ := trusts(t, trust(deployer), foreign, when)
		return itself
	}
	apply(t, p, jit.Ensure, a)
	for when, want := range map[time.Time]bool{time.Now(): true, a.Marker.Window.End: false,
		a.Marker.Window.Start.Add(-time.Second): false} {
		if got := trusted(when); got != want {
			t.Errorf("at %s trusted: %t, want %t", when, got, want)
		}
	}
	apply(t, p, jit.Remove, a)
	if trusted(time.Now()) {
		t.Error("still trusted")
	}
	// The other side of the same: permission here to assume a role elsewhere.
	alice := s.user(t, "alice")
	out := grantOf(jit.Binding{Principal: alice, Role: "arn:aws:iam::999999999999:role/deployer"}, "out")
	apply(t, p, jit.Ensure, out)
	documents, _ := s.documents(t, alice)
	if !decides(t, documents, at("sts:AssumeRole", out.Binding.Role, time.Now())) ||
		decides(t, documents, at("sts:AssumeRole", out.Binding.Role, out.Marker.Window.End)) {
		t.Error("the permission to assume a role elsewhere is not as its window")
	}
	if _, traits, _ := p.Check(out.Binding); traits.CanTerminate {
		t.Error("it claims to end sessions in another account")
	}
}

// The operator's policy covers every call that the platform makes, and nothing else.
func TestTheOperatorsPolicyIsEnough(t *testing.T) {
	s := newSite(t)
	text, err := os.ReadFile("operator.json")
	must(t, err)
	policy := strings.ReplaceAll(string(text), "123456789012", s.account.ID)
	name := func(form url.Values) string {
		for field, kind := range map[string]string{"UserName": "user/", "GroupName": "group/", "RoleName": "role/"} {
			if form.Get(field) != "" {
				return s.arn(kind + form.Get(field))
			}
		}
		if form.Get("PolicyArn") != "" {
			return form.Get("PolicyArn")
		}
		if form.Get("Path") != "" {
			return s.arn("policy" + form.Get("Path") + form.Get("PolicyName"))
		}
		return "*"
	}
	asked := map[string]bool{}
	s.intercept(func(w http.ResponseWriter, _ *http.Request, action string, form url.Values) bool {
		if action == "GetCallerIdentity" {
			return false
		}
		r := at("iam:"+action, name(form), time.Now())
		r.context["iam:policyarn"] = form.Get("PolicyArn")
		s.mu.Lock()
		asked[action] = true
		s.mu.Unlock()
		if !decides(t, []string{policy}, r) {
			fail(w, http.StatusForbidden, "AccessDenied",
				"User: operator is not authorized to perform: iam:"+action+" on resource: "+r.resource)
			return true
		}
		return serveManaged(w, action, form)
	})
	trusting := s.config()
	trusting.TrustPolicy = true
	reader, middling := s.policy(t, "Reader", readerDocument), s.policy(t, "Middling", large(9))
	deployer := s.role(t, "deployer", s.arn("root"))
	for i, principal := range []string{s.user(t, "alice"), s.role(t, "worker", s.arn("root")), s.group(t, "oncall")} {
		for _, form := range []string{reader, middling, deployer} {
			cfg := s.config()
			if form == deployer && i < 2 {
				cfg = trusting
			}
			if form == middling && i > 0 { // no room inline for these either
				s.put(t, principal, "theirs", strings.Replace(readerDocument, "jit-bucket",
					strings.Repeat("b", map[int]int{1: 9500, 2: 4500}[i]), 1))
			}
			p, a := s.open(t, cfg, time.Now), grantOf(jit.Binding{Principal: principal, Role: form}, "operator")
			a.TerminateSessions = form == deployer
			for range 6 {
				apply(t, p, jit.Ensure, a)
				a.Marker.Window.End = a.Marker.Window.End.Add(time.Minute)
			}
			apply(t, p, jit.Remove, a)
		}
	}
	apply(t, s.open(t, s.config(), time.Now), jit.Ensure,
		grantOf(jit.Binding{Principal: s.user(t, "bob"), Role: theirManaged}, "operator"))
	var d struct {
		Statement []struct {
			Sid, Effect string
			Action      list
		}
	}
	must(t, json.Unmarshal([]byte(policy), &d))
	for _, statement := range d.Statement {
		for _, action := range statement.Action {
			if statement.Effect == "Allow" && !asked[strings.TrimPrefix(action, "iam:")] {
				t.Errorf("%s allows %s, which the platform never calls", statement.Sid, action)
			}
		}
	}
}
