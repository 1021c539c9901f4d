package gcp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/api/googleapi"
	"sigs.k8s.io/yaml"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

// wantTold fails unless the error is a jit.Error that blames the attribute and contains the text.
func wantTold(t *testing.T, err error, attribute, text string) {
	t.Helper()
	var user *jit.Error
	if !errors.As(err, &user) || user.Attribute != attribute || !strings.Contains(user.Error(), text) ||
		user.Hint == "" ||
		strings.Contains(user.Error(), "\n") {
		t.Errorf("got %v, want an error on one line, with a hint, that blames %q and says %q", err, attribute, text)
	}
}

// In a batch with many kinds of invalid changes, the valid ones are made and each error names its own change.
func TestHalfABatchIsBad(t *testing.T) {
	s := newWorld(t)
	p := open(t, s, Config{})
	before := foreign(t, s, project)
	var batch []jit.Access
	for i := range 8 {
		s.AddAccounts(fmt.Sprintf("user:good%d@example.com", i))
		batch = append(batch, access(project, fmt.Sprintf("user:good%d@example.com", i), sqlRole, "good"))
	}
	batch = append(batch,
		access(project, "user:nobody@example.com", sqlRole, "no such user"),
		access(project, "group:nobody@example.com", sqlRole, "no such group"),
		access(project, "serviceAccount:nobody@payments-prod.iam.gserviceaccount.com", sqlRole, "no such account"),
		access(project, "domain:nowhere.example.com", sqlRole, "no such domain"),
		access(project, alice, "roles/nothing.reader", "no such role"),
		access(project, alice, "projects/payments-prod/roles/nothing", "no such custom role"),
		access(project, alice, viewer+" if request.nothing == 1", "no such attribute"),
		access(project, alice, viewer+` if "text"`, "not boolean"),
	)
	errs := p.Apply(t.Context(), project, ensured(batch...))
	for i, want := range []struct{ attribute, text string }{
		{"principal", "nobody@example.com does not exist"}, {"principal", "nobody@example.com does not exist"}, {"principal", "nobody@payments-prod"}, {"principal", "nowhere.example.com"},
		{"role", "roles/nothing.reader is not supported"}, {"role", "projects/payments-prod/roles/nothing is not supported"}, {"role", "request.nothing"}, {"role", "expected type 'bool'"},
	} {
		wantTold(t, errs[8+i], want.attribute, want.text)
		if allowed(s, batch[8+i].Binding, time.Now()) {
			t.Errorf("what was refused gives access: %+v", batch[8+i].Binding)
		}
	}
	for i, err := range errs[:8] {
		if err != nil || !allowed(s, batch[i].Binding, time.Now()) {
			t.Errorf("good grant %d: %v", i, err)
		}
	}
	if after := foreign(t, s, project); after != before {
		t.Errorf("what is not ours is\n%s\nwas\n%s", after, before)
	}
}

func TestWhatIsNotThereOrNotAllowedIsSaid(t *testing.T) {
	s := newWorld(t)
	p := open(t, s, Config{})
	for _, scope := range []string{project, folder, org, bucket} {
		at, err := parseScope(scope)
		if err != nil {
			t.Fatal(err)
		}
		there := access(scope, alice, sqlRole, "there")
		apply(t, p, scope, ensured(there)...)
		for _, verb := range []string{"getIamPolicy", "setIamPolicy"} {
			s.Deny(at.permission(verb))
			p := open(t, s, Config{})
			for _, err := range p.Apply(t.Context(), scope, append(ensured(access(scope, bob, sqlRole, "new")), removed(there)...)) {
				wantTold(t, err, "scope", "lacks "+at.permission(verb))
			}
			if !allowed(s, there.Binding, time.Now()) ||
				allowed(s, jit.Binding{Principal: bob, Role: sqlRole, Scope: scope}, time.Now()) {
				t.Errorf("%s without %s: something was changed", scope, verb)
			}
			_, err := p.Read(t.Context(), scope)
			if verb == "getIamPolicy" {
				wantTold(t, err, "scope", "lacks "+at.permission(verb))
			}
			s.Deny()
		}
	}
	for scope, says := range map[string]string{"projects/nowhere-1": "or there is no such project", "folders/404": "there is no such folder", "organizations/404": "there is no such organization", gcptest.Bucket + "gone": "there is no such bucket"} {
		wantTold(t, p.Apply(t.Context(), scope, ensured(access(scope, alice, sqlRole, "x")))[0], "scope", says)
	}
	s.FineGrained(bucket)
	wantTold(t,
		p.Apply(t.Context(), bucket, ensured(access(bucket, alice, viewer, "x")))[0],
		"scope",
		"uniform bucket-level access",
	)
}

// All kinds of credentials work. Their errors are specific and contain no secret.
func TestCredentials(t *testing.T) {
	s := newWorld(t)
	s.Admit("good-s3cret")
	s.MayImpersonate("jit@test.iam.gserviceaccount.com")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	unusable := filepath.Join(t.TempDir(), "unusable.json")
	if err := os.WriteFile(unusable, []byte(`{"type": "service_account", "private_key": "s3cret"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	notOne := filepath.Join(t.TempDir(), "not-one.json")
	if err := os.WriteFile(notOne, []byte(`s3cret`), 0o600); err != nil {
		t.Fatal(err)
	}
	old := s.KeyFile(t) // tokens are given out for a newer key
	key := s.KeyFile(t)
	for _, tt := range []struct {
		name            string
		cfg             Config
		attribute, says string
	}{
		{"a token", Config{AccessToken: "good-s3cret"}, "", ""},
		{"a wrong token", Config{AccessToken: "bad-s3cret"}, "", "renew access_token"},
		{"no credentials", Config{}, "", "does not accept the target's credentials"},
		{"a key", Config{Credentials: key}, "", ""},
		{"the JSON of a key", Config{Credentials: content(t, key)}, "", ""},
		{"the JSON of an old key", Config{Credentials: content(t, old)}, "", "make a new key"},
		{"unusable JSON", Config{Credentials: content(t, unusable)}, "", "make a new key"},
		{"an old key", Config{Credentials: old}, "", "make a new key"},
		{"no file", Config{Credentials: "/nowhere/key.json"}, "credentials", "no such file"},
		{"not a credentials file", Config{Credentials: notOne}, "credentials", "not a credentials file"},
		{"an unusable file", Config{Credentials: unusable}, "", "make a new key"},
		{"another account", Config{AccessToken: "good-s3cret", ImpersonateServiceAccount: "jit@test.iam.gserviceaccount.com"}, "", ""},
		{"not that account", Config{AccessToken: "good-s3cret", ImpersonateServiceAccount: "root@test.iam.gserviceaccount.com"}, "impersonate_service_account", "roles/iam.serviceAccountTokenCreator"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := open(t, s, tt.cfg)
			a := access(project, alice, sqlRole, tt.name)
			_, err := p.Read(t.Context(), project)
			_, scopes := p.Scopes(t.Context())
			for _, err := range []error{err, scopes, p.Apply(t.Context(), project, ensured(a))[0]} {
				if tt.says == "" {
					if err != nil {
						t.Error(err)
					}
					continue
				}
				wantTold(t, err, tt.attribute, tt.says)
				if strings.Contains(err.Error(), "s3cret") {
					t.Errorf("the error tells the secret: %v", err)
				}
			}
		})
	}
}

func content(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Requests name the project whose quota they use: that of the environment, else that of the credentials file. An account
// that is impersonated uses the environment's only.
func TestQuotaProject(t *testing.T) {
	const account = "jit@test.iam.gserviceaccount.com"
	read := func(s *gcptest.Server, cfg Config) error {
		_, err := open(t, s, cfg).Read(t.Context(), project)
		return err
	}
	s := newWorld(t)
	s.Admit("token")
	s.MayImpersonate(account)
	s.NeedQuotaProject("billing-1")
	of := s.KeyFile(t)
	wantTold(t, read(s, Config{AccessToken: "token"}), "", "set-quota-project")
	if err := read(s, Config{Credentials: of}); err != nil {
		t.Errorf("named in the file: %v", err)
	}
	if err := read(s, Config{Credentials: of, ImpersonateServiceAccount: account}); err == nil {
		t.Error("an impersonated account used the quota project of somebody else's file")
	}
	t.Setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "billing-1")
	for _, cfg := range []Config{{AccessToken: "token"}, {AccessToken: "token", ImpersonateServiceAccount: account}} {
		if err := read(s, cfg); err != nil {
			t.Errorf("named in the environment, %+v: %v", cfg.ImpersonateServiceAccount, err)
		}
	}
	s.NeedQuotaProject("billing-2")
	if err := read(s, Config{Credentials: of}); err == nil {
		t.Error("the file won over the environment")
	}
}

// An identity that may not use the quota project is told so, and not that the scope is wrong.
func TestDeniedQuotaProject(t *testing.T) {
	at, err := parseScope(project)
	if err != nil {
		t.Fatal(err)
	}
	wantTold(t, explainAnswer("read the policy", at, "getIamPolicy", &googleapi.Error{
		Code: http.StatusForbidden, Message: "Caller does not have required permission to use project billing-1. Grant the " +
			"caller the roles/serviceusage.serviceUsageConsumer role, or a custom role with the serviceusage.services.use " +
			"permission.",
	}), "", "GOOGLE_CLOUD_QUOTA_PROJECT")
}

func TestMissingDefaultCredentialsAreSaid(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "missing.json"))
	p, err := New(Config{}, jit.Services{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Read(t.Context(), project)
	wantTold(t, err, "", "gcloud auth application-default login")
}

func TestConfigurationsThatCannotBeRightAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name, attribute string
		cfg             Config
	}{
		{"two credentials", "access_token", Config{Credentials: "/key.json", AccessToken: "s3cret"}},
		{"JSON without a type", "credentials", Config{Credentials: `{"private_key": "s3cret"}`}},
		{"half of a key", "credentials", Config{Credentials: ` {"type": "service_account", "private_key": "s3cret`}},
		{"no address", "impersonate_service_account", Config{ImpersonateServiceAccount: "jit"}},
		{"no host", "endpoint", Config{Endpoint: "googleapis.com"}},
		{"a path", "endpoint", Config{Endpoint: "https://example.com/v3"}},
		{"a password in the URL", "endpoint", Config{Endpoint: "https://u:s3cret@example.com"}},
		{"unencrypted", "endpoint", Config{Endpoint: "http://example.com"}},
		{"no scope", "scopes[1]", Config{Scopes: []string{project, "payments"}}},
		{"the buckets of a folder", "scopes[0]", Config{Scopes: []string{folder + "/buckets"}}},
	} {
		_, err := New(tt.cfg, jit.Services{Now: time.Now})
		if wantTold(t, err, tt.attribute, ""); err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the error tells the secret: %v", tt.name, err)
		}
	}
}

// With an endpoint, no request goes to another host, and a redirect does not get the token.
func TestRedirectionsAreNotFollowed(t *testing.T) {
	s := newWorld(t)
	s.Inject(func(gcptest.Request) gcptest.Fault { return gcptest.Fault{Status: http.StatusTemporaryRedirect} })
	_, err := open(t, s, Config{AccessToken: "s3cret"}).Read(t.Context(), project)
	if err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("read: %v, want the redirection as an error", err)
	}
}

// Scopes returns the configured scopes, or else all that are visible, with projects by id.
func TestScopes(t *testing.T) {
	s := newWorld(t)
	for _, tt := range []struct {
		configured, want []string
	}{
		{nil, []string{"projects/other-project", project, folder, org}},
		{[]string{project}, []string{project}},
		{[]string{project + "/buckets", org}, []string{gcptest.Bucket + "backups", bucket, org}},
	} {
		got, err := open(t, s, Config{Scopes: tt.configured}).Scopes(t.Context())
		if err != nil || fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("with scopes = %q: %q, %v; want %q", tt.configured, got, err, tt.want)
		}
	}
	s.Deny("storage.buckets.list")
	_, err := open(t, s, Config{Scopes: []string{project + "/buckets"}}).Scopes(t.Context())
	wantTold(t, err, "scope", "storage.buckets.list")
}

// The guide's role is sufficient, and each permission in it is necessary.
func TestTheOperatorsRole(t *testing.T) {
	text, err := os.ReadFile("operator.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var definition struct {
		IncludedPermissions []string `json:"includedPermissions"`
	}
	if err := yaml.Unmarshal(text, &definition); err != nil {
		t.Fatal(err)
	}
	s := newWorld(t)
	all := []string{project, folder, org, bucket}
	for _, c := range examples {
		s.Add(c.scope, project)
		all = append(all, c.scope)
	}
	works := func(without int) bool {
		some := append([]string{}, definition.IncludedPermissions...)
		if without >= 0 {
			some = append(some[:without], some[without+1:]...)
		}
		s.Permit(some...)
		good := true
		for _, cfg := range []Config{{}, {Scopes: []string{project + "/buckets"}}} {
			scopes, err := open(t, s, cfg).Scopes(t.Context())
			good = good && err == nil && len(scopes) >= 2
			if cfg.Scopes == nil {
				good = good && len(scopes) == 4
			}
		}
		for _, scope := range all {
			p, a := open(t, s, Config{}), access(scope, alice, viewer, fmt.Sprint(without))
			good = good && p.Apply(t.Context(), scope, ensured(a))[0] == nil &&
				p.Apply(t.Context(), scope, removed(a))[0] == nil
		}
		return good
	}
	if !works(-1) {
		t.Error("the role of the guide is not enough")
	}
	for i, p := range definition.IncludedPermissions {
		if works(i) {
			t.Errorf("nothing needs %s", p)
		}
	}
}

// A cancelled context is reported as such, also during the wait for another writer.
func TestWaitingEndsWithTheContext(t *testing.T) {
	s := newWorld(t)
	s.Inject(func(r gcptest.Request) gcptest.Fault {
		if r.Write() {
			s.Edit(project, func(*gcptest.Policy) {})
		}
		return gcptest.Fault{}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := open(t, s, Config{}).Apply(ctx, project, ensured(access(project, alice, sqlRole, "x")))[0]
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the error of the context", err)
	}
}

// The error for a disabled API differs from that for a missing permission.
func TestServiceDisabledIsSaid(t *testing.T) {
	s := newWorld(t)
	s.Inject(func(gcptest.Request) gcptest.Fault {
		return gcptest.Fault{
			Status:  http.StatusForbidden,
			Message: "Cloud Resource Manager API has not been used in project 1 before or it is disabled.",
			Reason:  "SERVICE_DISABLED",
		}
	})
	_, err := open(t, s, Config{}).Read(t.Context(), project)
	wantTold(t, err, "", "gcloud services enable cloudresourcemanager.googleapis.com")
}
