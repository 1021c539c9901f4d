package awsiam

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// edited returns a policy document with its statements changed; with digest, the marker statement fits them again.
func edited(t *testing.T, document string, digests bool, change func(all []statement) []statement) string {
	t.Helper()
	d, all, err := parseStatements(document)
	must(t, err)
	all = change(all)
	if digests && isMarker(all[0]) {
		all[0]["Sid"] = sidPrefix + digest(all[1:])
	}
	d.statements = nil
	for _, s := range all {
		d.statements = append(d.statements, json.RawMessage(encode(s)))
	}
	return d.String()
}

// A copy that somebody has changed so that it gives more is another access, which is critical, even if its digest was
// made to fit. The sweep restores it.
func TestAWidenedCopyIsCritical(t *testing.T) {
	widen := func(key string, value any) func([]statement) []statement {
		return func(all []statement) []statement {
			all[len(all)-1][key] = value
			return all
		}
	}
	dated := func(operator, when string) func([]statement) []statement {
		return func(all []statement) []statement {
			all[1]["Condition"].(map[string]any)[operator] = map[string]any{currentTime: when}
			return all
		}
	}
	const denies = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::secret/*"},{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":"*"}]}`
	for name, tt := range map[string]struct {
		change func([]statement) []statement
		want   jit.Severity
	}{
		"an action":   {widen("Action", "s3:*"), jit.Critical},
		"all actions": {widen("Action", "*"), jit.Critical},
		"a NotAction": {func(all []statement) []statement {
			delete(all[len(all)-1], "Action")
			return widen("NotAction", "iam:*")(all)
		}, jit.Critical},
		"no Deny":                       {func(all []statement) []statement { return append(all[:1], all[2:]...) }, jit.Critical},
		"a Deny that ends sooner":       {dated("DateLessThan", "2020-01-01T00:00:00Z"), jit.Critical},
		"a Deny that begins late":       {dated("DateGreaterThanEquals", "2999-01-01T00:00:00Z"), jit.Critical},
		"a Deny with one more end":      {dated("DateLessThanEquals", "2020-01-01T00:00:00Z"), jit.Critical},
		"a Deny with an end in seconds": {dated("DateLessThan", "1577836800"), jit.Critical},
		"one more": {func(all []statement) []statement {
			more := undated(all[2])
			more["Action"] = "iam:*"
			more["Condition"] = all[2]["Condition"]
			return append(all, more)
		}, jit.Critical},
		"one action":   {widen("Action", "s3:GetObject"), jit.Warning},
		"one resource": {widen("Resource", "arn:aws:s3:::jit-bucket/*"), jit.Warning},
	} {
		for _, digests := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				if digests && tt.want == jit.Warning {
					t.Skip("less access with a digest that fits cannot be told from a smaller policy")
				}
				s := newSite(t)
				alice, role := s.user(t, "alice"), s.policy(t, "Denies", denies)
				d := s.desk(t, s.config(), &jittest.Ledger{})
				d.platform.settling = 0
				g, err := d.broker.Grant(t.Context(), d.request(alice, role))
				must(t, err)
				all, _ := s.entities(t)
				was := all[alice].Inline[policyName(g.Marker())]
				s.put(t, alice, policyName(g.Marker()), edited(t, was, digests, tt.change))
				if got := d.another().sweep()[g.ID]; got.Severity != tt.want {
					t.Errorf("the sweep found %q of severity %q (%s), want %q", got.Drift, got.Severity, got.Reason, tt.want)
				}
				all, _ = s.entities(t)
				if all[alice].Inline[policyName(g.Marker())] != was {
					t.Error("the sweep did not restore the copy")
				}
			})
		}
	}
}

// Permission to assume a role, and trust, that somebody has widened are critical too.
func TestWidenedPermissionToAssumeARoleIsCritical(t *testing.T) {
	for name, tt := range map[string]struct {
		trust  bool
		change func(all []statement) []statement
	}{
		"one more statement": {false, func(all []statement) []statement {
			more := undated(all[0])
			more["Action"], more["Condition"] = "s3:*", all[0]["Condition"]
			return append(all, more)
		}},
		"all roles": {false, func(all []statement) []statement { all[0]["Resource"] = "*"; return all }},
		"a federated principal": {true, func(all []statement) []statement {
			last := all[len(all)-1]
			last["Principal"] = map[string]any{"AWS": last["Principal"].(map[string]any)["AWS"],
				"Federated": "arn:aws:iam::123456789012:saml-provider/theirs"}
			return all
		}},
		"more of STS": {true, func(all []statement) []statement {
			all[len(all)-1]["Action"] = []any{"sts:AssumeRole", "sts:AssumeRoleWithWebIdentity"}
			return all
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			cfg := s.config()
			cfg.TrustPolicy = tt.trust
			alice, role := s.user(t, "alice"), s.role(t, "deployer", s.arn("root"))
			d := s.desk(t, cfg, &jittest.Ledger{})
			d.platform.settling = 0
			g, err := d.broker.Grant(t.Context(), d.request(alice, role))
			must(t, err)
			on, document := s.find(t, g.Marker())
			if changed := edited(t, document, false, tt.change); tt.trust {
				s.setTrust(t, on, changed)
			} else {
				s.put(t, on, policyName(g.Marker()), changed)
			}
			if got := d.another().sweep()[g.ID]; got.Severity != jit.Critical {
				t.Errorf("the sweep found %q of severity %q (%s)", got.Drift, got.Severity, got.Reason)
			}
			if _, is := s.find(t, g.Marker()); canonical(is) != canonical(document) {
				t.Errorf("the sweep left %s, was %s", is, document)
			}
		})
	}
}

// If the policy that was copied gives less today, its copy gives more than the policy: that is critical, and the repair
// copies the policy as it is. A policy that gives more today changes nothing.
func TestACopyOfAPolicyThatChanges(t *testing.T) {
	for document, want := range map[string]bool{
		strings.Replace(readerDocument, "jit-bucket/*", "jit-bucket/public/*", 1): true,
		strings.Replace(readerDocument, "jit-bucket/*", "*", 1):                   false,
	} {
		s := newSite(t)
		alice, role := s.user(t, "alice"), s.policy(t, "Reader", readerDocument)
		d := s.desk(t, s.config(), &jittest.Ledger{})
		d.platform.settling = 0
		g, err := d.broker.Grant(t.Context(), d.request(alice, role))
		must(t, err)
		s.version(t, role, document)
		if got, found := d.another().sweep()[g.ID]; found != want || found && got.Severity != jit.Critical {
			t.Errorf("the sweep found %q of severity %q (%s)", got.Drift, got.Severity, got.Reason)
		}
		if s.may(t, alice, "s3:GetObject", bucket+"/key", time.Now()) == want {
			t.Errorf("access to what the policy gave, after the sweep: %t", !want)
		}
	}
}
