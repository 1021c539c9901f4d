package awsiam

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Access under named conditions is given only where each of them holds, in every form in which it is written.
func TestNamedConditions(t *testing.T) {
	const conditional = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*",` +
		`"Condition":{"IpAddress":{"aws:SourceIp":"203.0.0.0/16"},"StringEquals":{"aws:SourceIdentity":["alice","bob"]},` +
		`"Bool":{"AWS:multifactorauthpresent":"true"}}}}`
	const all = " if mfa and source-identity=alice and source-ip=203.0.113.0/24,2001:db8::/32"
	for name, form := range map[string]struct {
		role  func(s *site) string
		trust bool
	}{
		"actions": {role: func(*site) string { return "actions:s3:GetObject" }},
		"copy":    {role: func(s *site) string { return s.policy(t, "Reader", readerDocument) }},
		"a copy with conditions of its own": {role: func(s *site) string {
			return s.policy(t, "Conditional", conditional)
		}},
		"assume": {role: func(s *site) string { return s.role(t, "deployer", s.arn("root")) }},
		"trust": {role: func(s *site) string { return s.role(t, "deployer", "arn:aws:iam::999999999999:root") },
			trust: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			worker := s.role(t, "worker", s.arn("root"))
			cfg := s.config()
			cfg.TrustPolicy = form.trust
			p := s.open(t, cfg, time.Now)
			a := grantOf(jit.Binding{Principal: worker, Role: form.role(s) + all, Scope: s.account.ID}, name)
			r := func(mfa, ip, identity string) request {
				r := at("s3:GetObject", bucket+"/key", time.Now())
				if form.trust || name == "assume" {
					r = at("sts:AssumeRole", s.arn("role/deployer"), time.Now())
				}
				for key, value := range map[string]string{"aws:multifactorauthpresent": mfa, "aws:sourceip": ip,
					"aws:sourceidentity": identity} {
					if value != "" {
						r.context[key] = value
					}
				}
				return r
			}
			apply(t, p, jit.Ensure, a)
			for _, tc := range []struct {
				mfa, ip, identity string
				want              bool
			}{
				{"true", "203.0.113.9", "alice", true}, {"false", "203.0.113.9", "alice", false},
				{"", "203.0.113.9", "alice", false}, {"true", "203.0.114.9", "alice", false},
				{"true", "", "alice", false}, {"true", "203.0.113.9", "bob", false}, {"true", "203.0.113.9", "", false},
			} {
				if got := s.mayUnder(t, worker, r(tc.mfa, tc.ip, tc.identity)); got != tc.want {
					t.Errorf("%+v: %t", tc, got)
				}
			}
			found, err := p.Read(t.Context(), s.account.ID)
			must(t, err)
			if d := recorded(a).Differs(found); d.Words != "" {
				t.Errorf("the drift is %+v", d)
			}
			apply(t, p, jit.Remove, a)
			if s.mayUnder(t, worker, r("true", "203.0.113.9", "alice")) {
				t.Error("the access stayed")
			}
		})
	}
}

// A condition, or the limit to a session, that somebody took out is critical drift, also where the marker and the digest
// were made to fit, and a repair puts it back.
func TestATakenOutConditionIsCritical(t *testing.T) {
	take := func(operator, key string) func(mine map[string]any) {
		return func(mine map[string]any) {
			conditions := mine["Condition"].(map[string]any)
			of, _ := conditions[operator].(map[string]any)
			delete(of, key)
			if len(of) == 0 {
				delete(conditions, operator)
			}
		}
	}
	for name, change := range map[string]func(mine map[string]any){
		"mfa":             take("Bool", "aws:MultiFactorAuthPresent"),
		"source-ip":       take("IpAddress", "aws:SourceIp"),
		"source-identity": take("StringEquals", "aws:SourceIdentity"),
		"the session":     take("StringEquals", "aws:userid"),
		"mfa, by IfExists": func(mine map[string]any) {
			conditions := mine["Condition"].(map[string]any)
			conditions["BoolIfExists"] = conditions["Bool"]
			delete(conditions, "Bool")
		},
		"a wider network": func(mine map[string]any) {
			mine["Condition"].(map[string]any)["IpAddress"].(map[string]any)["aws:SourceIp"] =
				[]string{"203.0.113.0/24", "0.0.0.0/0"}
		},
		"another session": func(mine map[string]any) {
			of := mine["Condition"].(map[string]any)["StringEquals"].(map[string]any)
			of["aws:userid"] = of["aws:userid"].(string) + "2"
		},
		"two sessions": func(mine map[string]any) {
			of := mine["Condition"].(map[string]any)["StringEquals"].(map[string]any)
			of["aws:userid"] = []string{of["aws:userid"].(string), of["aws:userid"].(string) + "2"}
		},
	} {
		for _, form := range []string{"actions", "copy", "copy with its marker", "trust"} {
			t.Run(name+", "+form, func(t *testing.T) {
				s := newSite(t)
				alice := s.shared(t, "developer", "alice")
				role := "actions:s3:GetObject"
				switch form {
				case "copy", "copy with its marker":
					role = s.policy(t, "Reader", readerDocument)
				case "trust":
					role = s.role(t, "deployer", "arn:aws:iam::999999999999:root")
				}
				cfg := s.config()
				cfg.TrustPolicy = form == "trust"
				p := s.open(t, cfg, time.Now)
				a := grantOf(jit.Binding{Principal: alice, Scope: s.account.ID,
					Role: role + " if mfa and source-identity=alice and source-ip=203.0.113.0/24"}, name)
				apply(t, p, jit.Ensure, a)
				differs := func() jit.Difference {
					found, err := p.Read(t.Context(), s.account.ID)
					must(t, err)
					return recorded(a).Differs(found)
				}
				if d := differs(); d.Words != "" {
					t.Fatalf("before: %+v", d)
				}
				on, document := s.find(t, a.Marker)
				var d map[string]any
				must(t, json.Unmarshal([]byte(document), &d))
				all := d["Statement"].([]any)
				for _, one := range all {
					mine := one.(map[string]any)
					if mine["Sid"] == sidOf(a.Marker) || form == "actions" || form == "copy" && mine["Effect"] == "Allow" ||
						form == "copy with its marker" {
						change(mine)
					}
				}
				if form == "copy with its marker" {
					all[0].(map[string]any)["Sid"] = sidPrefix + digest([]statement{all[1].(map[string]any)})
				}
				text, err := json.Marshal(d)
				must(t, err)
				if form == "trust" {
					s.setTrust(t, on, string(text))
				} else {
					s.put(t, on, policyName(a.Marker), string(text))
				}
				// A trust statement also names the session as its principal, so less than all is lost with the user id.
				lax := form == "trust" && (name == "the session" || name == "another session" || name == "two sessions")
				if got := differs(); got.Words == "" || got.Kind.Severity() != jit.Critical && !lax {
					t.Errorf("the drift is %+v in %s", got, text)
				}
				apply(t, p, jit.Ensure, a)
				if got := differs(); got.Words != "" {
					t.Errorf("after the repair: %+v", got)
				}
			})
		}
	}
}
