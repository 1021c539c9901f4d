package awsiam

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
)

// find returns who holds the grant's policy or trusts it, and the document.
func (s *site) find(t *testing.T, m jit.Marker) (on, document string) {
	t.Helper()
	all, _ := s.entities(t)
	for name, k := range all {
		if d := k.Inline[policyName(m)]; d != "" {
			return name, d
		}
		if strings.Contains(k.Trust, sidOf(m)) {
			return name, k.Trust
		}
	}
	t.Fatalf("the account has no policy of %s", m)
	return "", ""
}

// tampers alters the platform's policies behind its back.
func (s *site) tampers(target *platformtest.Target) platformtest.Tamper {
	trust := func(document string) bool { return strings.Contains(document, `"Principal"`) }
	write := func(t *testing.T, on string, m jit.Marker, document string) {
		t.Helper()
		if trust(document) {
			s.setTrust(t, on, document)
		} else {
			s.put(t, on, policyName(m), document)
		}
	}
	own := func(t *testing.T, m jit.Marker, document string) (map[string]any, map[string]any) {
		t.Helper()
		var d map[string]any
		must(t, json.Unmarshal([]byte(document), &d))
		for _, one := range d["Statement"].([]any) {
			if one := one.(map[string]any); one["Sid"] == sidOf(m) {
				return d, one
			}
		}
		t.Fatalf("no statement of %s in %s", m, document)
		return nil, nil
	}
	text := func(t *testing.T, v any) string {
		t.Helper()
		out, err := json.Marshal(v)
		must(t, err)
		return string(out)
	}
	without := func(t *testing.T, m jit.Marker, document string) string {
		t.Helper()
		d, mine := own(t, m, document)
		d["Statement"] = slices.DeleteFunc(d["Statement"].([]any),
			func(one any) bool { return one.(map[string]any)["Sid"] == mine["Sid"] })
		return text(t, d)
	}
	with := func(t *testing.T, role string, mine map[string]any) {
		t.Helper()
		all, _ := s.entities(t)
		var d map[string]any
		must(t, json.Unmarshal([]byte(all[role].Trust), &d))
		d["Statement"] = append(d["Statement"].([]any), mine)
		s.setTrust(t, role, text(t, d))
	}
	return platformtest.Tamper{
		MoveEnd: func(t *testing.T, m jit.Marker, end time.Time) {
			on, document := s.find(t, m)
			write(t, on, m, strings.ReplaceAll(document, jit.FormatTime(m.Window.End), jit.FormatTime(end)))
		},
		StripEnd: func(t *testing.T, m jit.Marker) {
			on, document := s.find(t, m)
			var d map[string]any
			must(t, json.Unmarshal([]byte(document), &d))
			for _, one := range d["Statement"].([]any) {
				if one := one.(map[string]any); one["Effect"] == "Allow" &&
					(!trust(document) || one["Sid"] == sidOf(m)) {
					delete(one["Condition"].(map[string]any), "DateLessThan")
				}
			}
			write(t, on, m, text(t, d))
		},
		ChangeRole: func(t *testing.T, m jit.Marker, role string) {
			on, document := s.find(t, m)
			if trust(document) {
				_, mine := own(t, m, document)
				s.setTrust(t, on, without(t, m, document))
				with(t, role, mine)
				return
			}
			if found := read(document); found.terms.userID != "" {
				var named access
				must(t, named.parseRole(role))
				found.terms.named = named.terms.named
				s.put(t, on, policyName(m),
					permission(named.actions, named.resources, conditionOf(found.terms.within(m.Window))))
				return
			}
			if strings.HasPrefix(role, "actions:") {
				s.put(t, on, policyName(m), permission([]string{"s3:PutObject"}, nil, dates(m.Window)))
				return
			}
			was := target.Roles[0]
			was, _, _ = strings.Cut(was, " on ")
			document = strings.ReplaceAll(document, `"`+was+`"`, `"`+role+`"`)
			s.put(t, on, policyName(m), strings.ReplaceAll(document, `"`+role+`","`+objects+`"`, `"`+role+`"`))
		},
		ChangePrincipal: func(t *testing.T, m jit.Marker, principal string) {
			on, document := s.find(t, m)
			if trust(document) {
				d, mine := own(t, m, document)
				mine["Principal"] = map[string]any{"AWS": principal}
				s.setTrust(t, on, text(t, d))
				return
			}
			s.drop(t, on, policyName(m))
			on, document = s.movedTo(t, principal, document)
			s.put(t, on, policyName(m), document)
		},
		Duplicate: func(t *testing.T, m jit.Marker) {
			on, document := s.find(t, m)
			if trust(document) {
				_, mine := own(t, m, document)
				with(t, target.Roles[slices.Index(target.Roles, on)^1], mine)
				return
			}
			other := slices.IndexFunc(target.Principals, func(p string) bool { return s.holder(t, p) != on })
			on, document = s.movedTo(t, target.Principals[other], document)
			s.put(t, on, policyName(m), document)
		},
		Delete: func(t *testing.T, m jit.Marker) {
			on, document := s.find(t, m)
			if trust(document) {
				s.setTrust(t, on, without(t, m, document))
				return
			}
			s.drop(t, on, policyName(m))
		},
	}
}
