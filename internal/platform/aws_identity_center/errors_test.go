package awsidentitycenter

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// says fails the test unless the error is a [jit.Error] that names the attribute and contains every part.
func says(t *testing.T, err error, attribute string, parts ...string) {
	t.Helper()
	var told *jit.Error
	if !errors.As(err, &told) {
		t.Errorf("the error is %v, want a *jit.Error", err)
		return
	}
	if told.Attribute != attribute || told.Hint == "" {
		t.Errorf("%v: it blames %q, want %q, and its hint is %q", err, told.Attribute, attribute, told.Hint)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v: it does not say %q", err, part)
		}
	}
}

func TestWhatIsNotThere(t *testing.T) {
	for _, tt := range []struct {
		name, attribute, says string
		change                func(b *jit.Binding)
	}{
		{"user", "principal", `no user "nobody@example.com" in the identity store d-0123456789`,
			func(b *jit.Binding) { b.Principal = "user:nobody@example.com" }},
		{"the user's name in capitals", "principal", `no user "Alice@example.com"`,
			func(b *jit.Binding) { b.Principal = "user:Alice@example.com" }},
		{"user by id", "principal", "no user",
			func(b *jit.Binding) { b.Principal = "user:906700aaaa-00000000-2222-3333-4444-555555555555" }},
		{"group", "principal", `no group "none"`, func(b *jit.Binding) { b.Principal = "group:none" }},
		{"a user as a group", "principal", `no group "alice@example.com"`,
			func(b *jit.Binding) { b.Principal = "group:alice@example.com" }},
		{"permission set", "role", `no permission set "None"`, func(b *jit.Binding) { b.Role = "None" }},
		{"permission set by ARN", "role", "no permission set",
			func(b *jit.Binding) { b.Role = strings.Replace(readOnly, "1111", "9999", 1) }},
		{"account", "scope", "no account 999999999999 in the organization",
			func(b *jit.Binding) { b.Scope = "999999999999" }},
		{"account that is suspended", "scope", "SUSPENDED", func(b *jit.Binding) { b.Scope = suspended }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			b := alice()
			tt.change(&b)
			p := s.open(t)
			says(t, p.Apply(t.Context(), b.Scope, ensure(access(b, "why")))[0], tt.attribute, tt.says)
			if s.writes.Load() != 0 || len(marked(t, p)) != 0 {
				t.Errorf("%d writes and the claims %+v were made", s.writes.Load(), marked(t, p))
			}
		})
	}
}

// The error names each missing permission, and no partial change remains.
func TestMissingPermission(t *testing.T) {
	for _, action := range []string{
		"sso:ListInstances", "sso:ListPermissionSets", "sso:DescribePermissionSet", "identitystore:GetUserId",
		"sso:ListAccountAssignments", "sso:CreateAccountAssignment",
	} {
		t.Run(action, func(t *testing.T) {
			s := newSite(t)
			_, name, _ := strings.Cut(action, ":")
			s.denied[name] = true
			p := s.open(t)
			says(t, p.Apply(t.Context(), production, ensure(access(alice(), "why")))[0], "", action, "is not permitted")
			s.wants(t, alice(), false, "after the refusal")
			s.with(func(m *model) { delete(m.denied, name) })
			if left := marked(t, s.open(t)); len(left) != 0 {
				t.Errorf("claims are left: %+v", left)
			}
		})
	}
	for _, action := range []string{"sso:ListPermissionSetsProvisionedToAccount", "identitystore:DescribeUser"} {
		t.Run(action, func(t *testing.T) {
			s := newSite(t)
			s.foreign(t, alice())
			_, name, _ := strings.Cut(action, ":")
			s.denied[name] = true
			_, err := s.open(t).Read(t.Context(), production)
			says(t, err, "", action, "is not permitted")
		})
	}
	t.Run("organizations:DescribeAccount can be done without", func(t *testing.T) {
		s := newSite(t)
		s.denied["DescribeAccount"] = true
		apply(t, s.open(t), ensure(access(alice(), "why"))...)
		s.wants(t, alice(), true, "without a look at the account")
		b := alice()
		b.Scope = suspended
		says(t, s.open(t).Apply(t.Context(), suspended, ensure(access(b, "why")))[0], "", "takes longer than usual")
	})
	t.Run("following", func(t *testing.T) {
		s := newSite(t)
		s.denied["ListAccountAssignmentCreationStatus"] = true
		p := s.open(t)
		says(t, p.Apply(t.Context(), production, ensure(access(alice(), "why")))[0], "",
			"sso:ListAccountAssignmentCreationStatus")
		if len(marked(t, p)) != 1 {
			t.Error("a request that may be under way is forgotten")
		}
	})
}

func TestWhichInstance(t *testing.T) {
	const other = "arn:aws:sso:::instance/ssoins-fedcba9876543210"
	for _, tt := range []struct {
		name, arn, attribute, says string
		instances                  []string
	}{
		{"the only one", "", "", "", []string{modelInstance}},
		{"one of two", modelInstance, "", "", []string{modelInstance, other}},
		{"none", "", "region", "no instance of IAM Identity Center in eu-central-1", nil},
		{"two", "", "instance_arn", other, []string{modelInstance, other}},
		{"another", other, "instance_arn", modelInstance, []string{modelInstance}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			s.instances = tt.instances
			p := s.open(t)
			p.cfg.InstanceARN = tt.arn
			_, err := p.Scopes(t.Context())
			if tt.attribute == "" && err != nil {
				t.Error(err)
			} else if tt.attribute != "" {
				says(t, err, tt.attribute, tt.says)
			}
		})
	}
	t.Run("no region", func(t *testing.T) {
		p := newSite(t).open(t)
		p.load = func(context.Context) (aws.Config, error) { return aws.Config{}, nil }
		_, err := p.Scopes(t.Context())
		says(t, err, "region", "region")
	})
}

func TestNoCredentials(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_PROFILE": "", "AWS_REGION": "eu-central-1",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": "", "AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_CONFIG_FILE": os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(t.TempDir(), "none"),
	} {
		t.Setenv(name, value)
	}
	p := newSite(t).open(t)
	p.load = p.cfg.Load
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	says(t, p.Apply(ctx, production, ensure(access(alice(), "why")))[0], "", "AWS_ACCESS_KEY_ID")
}

func TestConfig(t *testing.T) {
	for _, tt := range []struct {
		attribute string
		cfg       Config
	}{
		{"instance_arn", Config{InstanceARN: "ssoins-0123456789abcdef"}},
		{"identity_store_id", Config{IdentityStoreID: "0123456789"}},
		{"region", Config{Config: awsconfig.Config{Region: "Frankfurt"}}},
		{"", Config{InstanceARN: modelInstance, IdentityStoreID: modelStore}},
	} {
		p, err := New(tt.cfg, jit.Services{Now: time.Now})
		if tt.attribute == "" {
			if err != nil || p == nil {
				t.Errorf("%+v: %v", tt.cfg, err)
			}
			continue
		}
		if !errors.Is(err, jit.ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", tt.cfg, err)
		}
		says(t, err, tt.attribute)
	}
}

// The operator's policy allows the calls that the platform makes, and nothing else.
func TestOperatorPolicyIsUsed(t *testing.T) {
	s := newSite(t)
	p := s.open(t)
	for _, principal := range []string{"user:alice@example.com", "group:On call", "user:" + bobID,
		"group:" + oncallID} {
		b := alice()
		b.Principal = principal
		apply(t, p, ensure(access(b, "why"))...)
		apply(t, s.open(t), remove(access(b, "why"))...)
	}
	s.foreign(t, alice())
	ours(t, p)
	for action := range s.permitted {
		if _, name, _ := strings.Cut(action, ":"); s.calls[name] == 0 {
			t.Errorf("the policy allows %s, which is not needed", action)
		}
	}
}

func TestDescribe(t *testing.T) {
	s := newSite(t)
	s.sets["arn:aws:sso:::permissionSet/ssoins-0123456789abcdef/ps-4444444444444444"] = set{"Silent", ""}
	p := s.open(t)
	for role, want := range map[string]time.Duration{"ReadOnly": time.Hour, admin: 8 * time.Hour,
		"Billing": 12 * time.Hour, "Silent": 12 * time.Hour} {
		b := alice()
		b.Role = role
		got, err := p.Describe(t.Context(), b)
		if err != nil || got.SessionTail != want || got.Enforcement != jit.Sweeper || !got.Remembered {
			t.Errorf("Describe(%s) = %+v, %v; want a tail of %s", role, got, err, want)
		}
	}
	b := alice()
	b.Role = "None"
	_, err := p.Describe(t.Context(), b)
	says(t, err, "role", `no permission set "None"`)
	b = alice()
	b.Scope = suspended
	_, err = p.Describe(t.Context(), b)
	says(t, err, "scope", "SUSPENDED")
	if s.writes.Load() != 0 {
		t.Error("Describe writes")
	}
}

func TestParsePeriod(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"PT1H": time.Hour, "PT12H": 12 * time.Hour, "PT1H30M": 90 * time.Minute, "PT90M": 90 * time.Minute,
		"P1D": 24 * time.Hour, "P1DT2H": 26 * time.Hour, "PT3600S": time.Hour,
		"": 0, "P": 0, "1H": 0, "PT": 0, "PTH": 0, "P1M": 0, "never": 0, "PT-1H": 0,
	} {
		if got := parsePeriod(text); got != want {
			t.Errorf("parsePeriod(%q) = %s, want %s", text, got, want)
		}
	}
}
