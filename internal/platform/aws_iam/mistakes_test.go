package awsiam

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Errors name the mistake and what to write instead, and no partial change remains.
func TestMistakes(t *testing.T) {
	s := newSite(t)
	alice, reader := s.user(t, "alice"), s.policy(t, "Reader", readerDocument)
	deny := func(action, code, message string) func(t *testing.T, cfg *Config) {
		return func(*testing.T, *Config) {
			s.intercept(func(w http.ResponseWriter, _ *http.Request, asked string, _ url.Values) bool {
				if asked == action {
					fail(w, http.StatusForbidden, code, message)
				}
				return asked == action
			})
		}
	}
	before := s.dump(t)
	for _, tc := range []struct {
		name    string
		binding jit.Binding
		prepare func(t *testing.T, cfg *Config)
		says    []string
	}{
		{"a user who is not there", jit.Binding{Principal: s.arn("user/nobody"), Role: reader}, nil,
			[]string{"principal: there is no user " + s.arn("user/nobody"), "aws iam list-users"}},
		{"a policy that is not there", jit.Binding{Principal: alice, Role: s.arn("policy/none")}, nil,
			[]string{"role: there is no managed policy " + s.arn("policy/none"), "aws iam list-policies"}},
		{"a role that is not there", jit.Binding{Principal: "arn:aws:iam::999999999999:user/a",
			Role: s.arn("role/none")}, nil, []string{"role: there is no role " + s.arn("role/none")}},
		{"resources that leave nothing", jit.Binding{Principal: alice, Role: reader + " on arn:aws:s3:::other"}, nil,
			[]string{"role: ", "allows nothing on", "arn:aws:s3:::other"}},
		{"no permission to write", jit.Binding{Principal: alice, Role: reader},
			deny("PutUserPolicy", "AccessDenied",
				"User: arn:aws:iam::1:user/o is not authorized to perform: iam:PutUserPolicy on resource: user alice because no identity-based policy allows the iam:PutUserPolicy action"),
			[]string{"iam:PutUserPolicy is not permitted", "allow iam:PutUserPolicy in the operator's policy"}},
		{"no permission to read", jit.Binding{Principal: alice, Role: reader},
			deny("GetAccountAuthorizationDetails", "AccessDenied", "no"),
			[]string{"may not read the account", "iam:GetAccountAuthorizationDetails"}},
		{"expired credentials", jit.Binding{Principal: alice, Role: reader},
			deny("GetCallerIdentity", "ExpiredToken", "The security token included in the request is expired"),
			[]string{"the target's credentials have expired", "aws sso login"}},
		{"expired half-way", jit.Binding{Principal: alice, Role: reader},
			deny("PutUserPolicy", "ExpiredToken", "expired"), []string{"the target's credentials have expired"}},
		{"wrong credentials", jit.Binding{Principal: alice, Role: reader},
			deny("GetCallerIdentity", "InvalidClientTokenId", "The security token included in the request is invalid"),
			[]string{"AWS does not accept the target's credentials", "aws sts get-caller-identity"}},
		{"another account", jit.Binding{Principal: "arn:aws:iam::999999999999:user/a",
			Role: "arn:aws:iam::aws:policy/P"}, func(_ *testing.T, cfg *Config) { cfg.AccountID = "999999999999" },
			[]string{"scope: the target's credentials belong to the account " + s.account.ID, "not of 999999999999",
				"assume_role"}},
		{"no credentials", jit.Binding{Principal: alice, Role: reader}, func(t *testing.T, _ *Config) {
			t.Setenv("AWS_ACCESS_KEY_ID", "")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		}, []string{"there are no AWS credentials", "AWS_ACCESS_KEY_ID", "profile"}},
		{"no such profile", jit.Binding{Principal: alice, Role: reader},
			func(_ *testing.T, cfg *Config) { cfg.Profile = "unheard-of" },
			[]string{`profile: there is no profile "unheard-of"`, "aws configure list-profiles"}},
		{"nobody answers", jit.Binding{Principal: alice, Role: reader},
			func(_ *testing.T, cfg *Config) { cfg.Endpoint = "http://127.0.0.1:1" },
			[]string{"no answer from AWS", "endpoint"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.intercept(nil)
			cfg := s.config()
			if tc.prepare != nil {
				tc.prepare(t, &cfg)
			}
			errs := try(t, s.open(t, cfg, time.Now), jit.Ensure, grantOf(tc.binding, tc.name))
			var told *jit.Error
			if !errors.As(errs[0], &told) || told.Hint == "" {
				t.Fatalf("%v, want a *jit.Error with a hint", errs[0])
			}
			for _, part := range tc.says {
				if !strings.Contains(errs[0].Error(), part) {
					t.Errorf("%v\ndoes not say %q", errs[0], part)
				}
			}
			if strings.Contains(errs[0].Error(), s.account.SecretAccessKey) {
				t.Error("the error holds the secret")
			}
			if after := s.dump(t); after != before {
				t.Errorf("the account is\n%s\nwas\n%s", after, before)
			}
			if all, _ := s.entities(t); len(all[alice].Inline) != 0 {
				t.Errorf("a partial change remains: %v", all[alice].Inline)
			}
		})
	}
}

// A profile of a shared file, and a role assumed with it, are used as configured.
func TestProfileAndAssumedRole(t *testing.T) {
	s := newSite(t)
	file := filepath.Join(t.TempDir(), "credentials")
	must(t, os.WriteFile(file, []byte(fmt.Sprintf("[operator]\naws_access_key_id = %s\naws_secret_access_key = %s\n",
		s.account.AccessKeyID, s.account.SecretAccessKey)), 0o600))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	alice, reader := s.user(t, "alice"), s.policy(t, "Reader", readerDocument)
	operator := s.role(t, "operator", s.arn("root"))
	var session url.Values
	s.intercept(func(_ http.ResponseWriter, _ *http.Request, action string, form url.Values) bool {
		if action == "AssumeRole" {
			session = form
		}
		return false
	})
	cfg := s.config()
	cfg.Profile = "operator"
	a := grantOf(jit.Binding{Principal: alice, Role: reader}, "profile")
	apply(t, s.open(t, cfg, time.Now), jit.Ensure, a)
	if session != nil {
		t.Error("a role was assumed that nobody configured")
	}
	cfg.AssumeRole = &awsconfig.AssumeRole{RoleARN: operator, ExternalID: "ticket", SessionName: "jit-payments"}
	apply(t, s.open(t, cfg, time.Now), jit.Remove, a)
	if session.Get("RoleArn") != operator || session.Get("ExternalId") != "ticket" ||
		session.Get("RoleSessionName") != "jit-payments" {
		t.Errorf("the role was assumed with %v", session)
	}
	if s.may(t, alice, "s3:GetObject", bucket+"/key", time.Now()) {
		t.Error("access is left")
	}
}
