package azure

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/azuretest"
)

// A refusal gives Azure's words, ours and a hint.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name       string
		assignment string
		prepare    func(s *site, b *jit.Binding)
		attribute  string
		parts      []string
	}{
		{"the PIM settings forbid it", pimAssignment,
			func(s *site, _ *jit.Binding) { s.Limit(azuretest.Reader, 30*time.Minute) },
			"role", []string{`The following policy rules failed: ["ExpirationRule"]`, "Reader", "Settings"}},
		{"no licence", pimAssignment, func(s *site, _ *jit.Binding) { s.Unlicense() }, "",
			[]string{"no licence", "Entra ID P2", `assignment = "rbac"`}},
		{"requests may not be written", pimAssignment, func(s *site, _ *jit.Binding) {
			s.Deny("Microsoft.Authorization/roleAssignmentScheduleRequests/write")
		}, "", []string{"may not assign Reader", "add Microsoft.Authorization/roleAssignmentScheduleRequests/write"}},
		{"assignments may not be written", rbacAssignment,
			func(s *site, _ *jit.Binding) { s.Deny("Microsoft.Authorization/roleAssignments/write") },
			"", []string{"add Microsoft.Authorization/roleAssignments/write"}},
		{"assignments may not be read", rbacAssignment,
			func(s *site, _ *jit.Binding) { s.Deny("Microsoft.Authorization/roleAssignments/read") },
			"", []string{"may not list the role assignments", "add Microsoft.Authorization/roleAssignments/read"}},
		{"no such principal, PIM", pimAssignment, func(_ *site, b *jit.Binding) { b.Principal = "user:" + stranger },
			"principal", []string{stranger, "object id"}},
		{"no such principal", rbacAssignment, func(_ *site, b *jit.Binding) { b.Principal = "user:" + stranger },
			"principal", []string{stranger, "object id"}},
		{"a group written as a user, PIM", pimAssignment,
			func(s *site, b *jit.Binding) { s.Active, b.Principal = 0, "user:"+bob }, "principal",
			[]string{"is a group", `write principal = "group:` + bob}},
		{"a group written as a user", rbacAssignment, func(_ *site, b *jit.Binding) { b.Principal = "user:" + bob },
			"principal", []string{"of another kind", "group:"}},
		{"no such role", pimAssignment, func(_ *site, b *jit.Binding) { b.Role = "Raeder" }, "role",
			[]string{`"Raeder"`, "az role definition list"}},
		{"a role in another case", pimAssignment, func(_ *site, b *jit.Binding) { b.Role = "reader" }, "role",
			[]string{`write role = "Reader"`}},
		{"no role of that id", rbacAssignment, func(_ *site, b *jit.Binding) { b.Role = stranger }, "role",
			[]string{stranger, "az role definition list"}},
		{"no such scope", rbacAssignment,
			func(_ *site, b *jit.Binding) { b.Scope = subscription + "/resourceGroups/none" }, "scope",
			[]string{"/resourceGroups/none", "could not be found"}},
		{"the principal has it already", pimAssignment, func(s *site, _ *jit.Binding) {
			s.Assign("eeeeeeee-0000-4000-8000-000000000001", alice, azuretest.Reader, resourceGroup, "of old")
		}, "principal", []string{"has this role", "without an end", "eeeeeeee-0000-4000-8000-000000000001",
			"remove that assignment"}},
		{"throttled for good", rbacAssignment, func(s *site, _ *jit.Binding) {
			throttled := azuretest.Fault{Status: 429, Code: "TooManyRequests", Method: "PUT"}
			s.Fail(slices.Repeat([]azuretest.Fault{throttled}, retries+1)...)
		}, "", []string{"takes no more requests", "-parallelism"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, tt.assignment)
			b := binding("user:" + alice)
			tt.prepare(s, &b)
			a := s.access(b, tt.name, time.Hour)
			err := s.apply(s.open(0), jit.Ensure, a)
			var user *jit.Error
			if !errors.As(err, &user) {
				t.Fatalf("got %v, want a *jit.Error", err)
			}
			if user.Attribute != tt.attribute || user.Hint == "" {
				t.Errorf("attribute %q, hint %q; want %q and a hint", user.Attribute, user.Hint, tt.attribute)
			}
			for _, part := range tt.parts {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has several lines: %q", err)
			}
		})
	}
}

// Apply waits out temporary faults: throttling as long as it asks for, lost answers, new principals.
func TestFaultsThatPass(t *testing.T) {
	for _, assignment := range []string{pimAssignment, rbacAssignment} {
		for _, tt := range []struct {
			name    string
			prepare func(s *site, p *Platform)
		}{
			{"throttled", func(s *site, _ *Platform) {
				s.Fail(azuretest.Fault{Status: 429, Code: "TooManyRequests", RetryAfter: "1"},
					azuretest.Fault{Status: 503, Code: "ServerTimeout", Method: "PUT"})
			}},
			{"the answer was lost", func(s *site, _ *Platform) {
				s.Fail(azuretest.Fault{Status: 504, Code: "GatewayTimeout", Method: "PUT", Lost: true})
			}},
			{"a principal made just now", func(s *site, p *Platform) {
				s.AddPrincipal("User", alice, 300*time.Millisecond)
				p.pace.replication = 10 * time.Second
			}},
		} {
			t.Run(assignment+", "+tt.name, func(t *testing.T) {
				s := newSite(t, assignment)
				s.Active = 0
				p := s.open(0)
				tt.prepare(s, p)
				a := s.access(binding("user:"+alice), tt.name, time.Hour)
				begun := time.Now()
				s.must(p, jit.Ensure, a)
				if tt.name == "throttled" && time.Since(begun) < time.Second {
					t.Errorf("tried again after %s, want at least the second of Retry-After", time.Since(begun))
				}
				s.may(true, "after the grant")
				enforcement := map[string]jit.Enforcement{pimAssignment: jit.Native,
					rbacAssignment: jit.Sweeper}[assignment]
				if got := s.drift(a, enforcement); got != "" {
					t.Errorf("drift %q, want none", got)
				}
				s.must(p, jit.Remove, a)
				s.may(false, "after the removal")
			})
		}
	}
}

// A 404 from a proxy does not mean that anything is absent.
func TestAProxysAnswerIsNotAbsence(t *testing.T) {
	for _, assignment := range []string{pimAssignment, rbacAssignment} {
		t.Run(assignment, func(t *testing.T) {
			s := newSite(t, assignment)
			s.Active = 0
			a := s.access(binding("user:"+alice), "live", time.Hour)
			s.must(s.open(0), jit.Ensure, a)
			away := slices.Repeat([]azuretest.Fault{{Status: 404}}, 100)
			s.Fail(away...)
			p := s.open(0)
			if _, err := p.Read(t.Context(), a.Binding.Scope); err == nil {
				t.Error("Read took a proxy's answer for an empty scope")
			}
			if err := p.Apply(t.Context(), a.Binding.Scope, []jit.Change{{Op: jit.Remove, Access: a}})[0]; err == nil {
				t.Error("Remove took a proxy's answer for absence")
			}
			s.may(true, "afterwards")
		})
	}
}

// A grant that the settings forbid does not stop the others of the same assignment.
func TestOneOfSeveralIsForbidden(t *testing.T) {
	s := newSite(t, pimAssignment)
	s.Limit(azuretest.Reader, 90*time.Minute)
	good, bad := s.access(binding("user:"+alice), "good", time.Hour),
		s.access(binding("user:"+alice), "bad", 3*time.Hour)
	errs := s.open(0).Apply(t.Context(), resourceGroup,
		[]jit.Change{{Op: jit.Ensure, Access: bad}, {Op: jit.Ensure, Access: good}})
	if errs[0] == nil || !strings.Contains(errs[0].Error(), "ExpirationRule") || errs[1] != nil {
		t.Errorf("got %v, want the first alone refused", errs)
	}
	s.may(true, "afterwards")
	if got := s.drift(good, jit.Native); got != "" {
		t.Errorf("drift %q, want none", got)
	}
	s.Advance(61 * time.Minute)
	s.may(false, "after the end of the permitted grant")
}

func TestConfig(t *testing.T) {
	const tenant, app = "99999999-0000-4000-8000-000000000001", "99999999-0000-4000-8000-000000000002"
	for _, tt := range []struct {
		name      string
		cfg       Config
		attribute string // empty: accepted
		says      string
	}{
		{"empty", Config{}, "", ""},
		{"a secret", Config{TenantID: tenant, ClientID: app, ClientSecret: "s3cret"}, "", ""},
		{"loopback", Config{Endpoint: "http://127.0.0.1:1"}, "", ""},
		{"an assignment", Config{Assignment: "eligible"}, "assignment", `"eligible"`},
		{"a cloud", Config{Environment: "mars"}, "environment", `"mars"`},
		{"no TLS", Config{Endpoint: "http://management.example.com"}, "endpoint", "unencrypted"},
		{"a password in the endpoint", Config{Endpoint: "https://a:s3cret@management.example.com"}, "endpoint",
			"has a user in it"},
		{"an invalid tenant", Config{TenantID: "contoso"}, "tenant_id", `"contoso"`},
		{"a secret without an application", Config{ClientSecret: "s3cret"}, "client_secret", "tenant_id"},
		{"two ways to sign in", Config{TenantID: tenant, ClientID: app, ClientSecret: "s3cret",
			FederatedTokenFile: "/t"}, "federated_token_file", "both"},
		{"nothing to sign in with", Config{TenantID: tenant, ClientID: app}, "client_id", "sign in"},
		{"a scope", Config{Scopes: []string{subscription, "payments"}}, "scopes[1]", `"payments"`},
	} {
		_, err := New(tt.cfg, jit.Services{Now: time.Now})
		var user *jit.Error
		switch {
		case tt.attribute == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.attribute == "":
		case !errors.As(err, &user) || !errors.Is(err, jit.ErrInvalid) || user.Attribute != tt.attribute ||
			user.Hint == "" || !strings.Contains(err.Error(), tt.says):
			t.Errorf("%s: %v, want an error about %s that says %q", tt.name, err, tt.attribute, tt.says)
		case strings.Contains(err.Error(), "s3cret"):
			t.Errorf("%s: the error contains the secret: %v", tt.name, err)
		}
	}
}

// The settings select the way to sign in, without a call.
func TestCredentials(t *testing.T) {
	token := t.TempDir() + "/token"
	if err := os.WriteFile(token, []byte("a.b.c"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		cfg  Config
		want any
	}{
		{Config{Environment: "public", Endpoint: "http://127.0.0.1:1"}, nobody{}},
		{Config{Environment: "usgovernment", TenantID: stranger, ClientID: robot, ClientSecret: "s3cret"},
			&azidentity.ClientSecretCredential{}},
		{Config{Environment: "china", TenantID: stranger, ClientID: robot, FederatedTokenFile: token},
			&azidentity.WorkloadIdentityCredential{}},
		{Config{Environment: "public"}, &azidentity.DefaultAzureCredential{}},
	} {
		got, err := tt.cfg.credential()
		if err != nil || reflect.TypeOf(got) != reflect.TypeOf(tt.want) {
			t.Errorf("%+v: %T, %v; want %T", tt.cfg, got, err, tt.want)
		}
	}
	missing := Config{Environment: "china", TenantID: stranger, ClientID: stranger, FederatedTokenFile: token + ".none"}
	_, err := missing.credential()
	var user *jit.Error
	if !errors.As(err, &user) || user.Attribute != "federated_token_file" {
		t.Errorf("a missing token file: %v", err)
	}
	for name, want := range map[string]string{"public": "management.azure.com",
		"usgovernment": "management.usgovcloudapi.net", "china": "management.chinacloudapi.cn"} {
		c, unencrypted := Config{Environment: name}.cloud()
		for _, service := range c.Services {
			if !strings.Contains(service.Endpoint, want) || unencrypted {
				t.Errorf("%s: the endpoint is %s, unencrypted %t", name, service.Endpoint, unencrypted)
			}
		}
	}
}
