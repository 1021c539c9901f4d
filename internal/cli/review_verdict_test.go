package cli

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Each grant of a plan gets the verdict that an apply would give it.
func TestReviewVerdicts(t *testing.T) {
	o := newReviewOffice(t)
	for name, tc := range map[string]struct {
		request func(*broker.Request)
		code    int
		want    string
		says    string // in the JSON
	}{
		"permitted": {func(*broker.Request) {}, exitDone, "jit_grant.a create nothing", `"permitted"`},
		"waits": {func(r *broker.Request) { r.Policy = "prod" }, exitUndecided,
			"jit_grant.a create decide, awaits 1 of: lea, leo", ""},
		"longer": {func(r *broker.Request) { r.TTL = jit.RecordedTTL("2h") }, exitRefused,
			"jit_grant.a create refused, refused, not judged", "policy \\\"short\\\""},
		"over max_ttl": {func(r *broker.Request) { r.TTL = jit.RecordedTTL("30d") }, exitRefused,
			"jit_grant.a create refused, refused, not judged", "max_ttl of the provider is 1d"},
		"unknown policy": {func(r *broker.Request) { r.Policy = "none" }, exitRefused,
			"jit_grant.a create refused, refused, not judged", "none"},
		"unknown person": {func(r *broker.Request) { r.Requester = "eve" }, exitRefused,
			"jit_grant.a create refused, refused, not judged", "no person"},
		"the glass": {func(r *broker.Request) { r.Policy, r.BreakGlass, r.Requester = "prod", true, "bob" },
			exitUndecided, "jit_grant.a create decide, awaits 1 of: lea, leo", `"broke_glass": true`},
		"over": {func(r *broker.Request) { r.TTL, r.ExpiresAt = jit.TTL{}, o.now.Add(-1) }, exitRefused,
			"jit_grant.a create refused, refused, not judged", "already past"},
		"another's glass": {func(r *broker.Request) { r.Policy, r.BreakGlass, r.Requester = "prod", true, "leo" },
			exitRefused, "jit_grant.a create refused, refused, not judged", "break"},
	} {
		t.Run(name, func(t *testing.T) {
			o.t = t
			r := o.short(tc.request)
			all, change, after := o.whole(r)
			if r.TTL.IsZero() {
				after["ttl"], after["expires_at"] = nil, jit.FormatTime(r.ExpiresAt)
				change["after_unknown"] = object{"granted_at": true}
			}
			o.planOf(object{"resource_changes": []object{all}})
			s := o.seen(tc.code)
			if got := strings.Join(s.lines(), "\n"); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			o.run("review", "plan.json", "--json").wantOut(tc.says)
			if glass := r.BreakGlass && tc.says != ""; glass && len(s.Commands) > 0 {
				t.Errorf("what begins at once has the commands %q", s.Commands)
			}
		})
	}
}

// A policy whose limits are not known yet permits nothing for good.
func TestReviewOfUnknownLimits(t *testing.T) {
	o := newReviewOffice(t)
	all, _, _ := o.whole(o.short())
	values := object{"name": "short", "effect": "permit", "match": []any{object{}}, "max_ttl": "1h"}
	unknown := maps.Clone(values)
	delete(unknown, "max_ttl")
	o.planOf(object{"resource_changes": []object{all, {"address": "jit_policy.s", "mode": "managed",
		"type": "jit_policy", "provider_name": "registry.terraform.io/jitaccess/jit",
		"change": object{"actions": []string{"update"}, "before": values, "after": unknown,
			"after_unknown": object{"max_ttl": true}}}}})
	if got := o.seen(exitUndecided).lines(); got[0] != "jit_grant.a create decide" {
		t.Errorf("got %q", got)
	}
}

// A denial refuses, and an approval in the folder counts.
func TestReviewDecisions(t *testing.T) {
	o := newReviewOffice(t)
	all, _, _ := o.whole(o.wish(func(r *broker.Request) { r.Policy = "prod" }))
	o.planOf(object{"resource_changes": []object{all}})
	o.seen(exitUndecided)
	o.run("approve", "--plan", "plan.json", "--key", "lea.key", "--approver", "lea", "--yes").wantCode(exitDone)
	if got := o.seen(exitDone).lines(); len(got) != 1 || got[0] != "jit_grant.a create nothing" {
		t.Errorf("approved: %q", got)
	}
	o.run("deny", "--plan", "plan.json", "--key", "leo.key", "--approver", "leo", "--comment", "no",
		"--yes").wantCode(exitDone)
	if got := o.seen(exitRefused).lines(); !strings.HasPrefix(got[0], "jit_grant.a create refused") {
		t.Errorf("denied: %q", got)
	}
}

// Grants of several owners are judged if the owners are named. Nothing is judged by a ledger that cannot be read, or by
// policies that nobody knows.
func TestReviewOwnersAndLedgers(t *testing.T) {
	o := newReviewOffice(t)
	jitHCL := o.read("jit.hcl")
	o.write("jit.hcl", strings.Replace(jitHCL, `"payments"`, `"search"`, 1))
	other, _, _ := o.whole(o.short())
	other["address"] = "jit_grant.b"
	o.write("jit.hcl", jitHCL)
	all, _, _ := o.whole(o.short())
	o.planOf(object{"resource_changes": []object{all, other}})
	if s := o.seen(exitUndecided); len(s.Doubts) != 1 || !strings.HasPrefix(s.Doubts[0], "jit_grant.b: ") {
		t.Errorf("doubts %q", s.Doubts)
	}
	if s := o.seen(exitDone, "--owner", "search"); len(s.Doubts) > 0 {
		t.Errorf("doubts %q", s.Doubts)
	}

	o.planOf(object{"resource_changes": []object{all}})
	o.write("jit.hcl", strings.Replace(jitHCL, "ledger.db", "broken.db", 1))
	o.write("broken.db", strings.Repeat("no database ", 1000))
	unjudged := func(want ...string) {
		t.Helper()
		doubts := strings.Join(o.seen(exitUndecided).Doubts, "\n")
		for _, text := range append(want, "jit does not use the ledger") {
			if !strings.Contains(doubts, text) {
				t.Errorf("doubts %q, want %q", doubts, text)
			}
		}
	}
	unjudged("without the ledger, jit knows no policies")

	state := func(values object) object {
		return object{"values": object{"root_module": object{"child_modules": []object{{"resources": []object{
			{"address": "jit_policy.x", "mode": "managed", "type": "jit_policy", "values": values}}}}}}}
	}
	permit := object{"name": "short", "effect": "permit", "match": []any{object{}}, "max_ttl": "1h"}
	o.planOf(object{"resource_changes": []object{all}, "prior_state": state(permit)})
	unjudged()
	if got := o.seen(exitUndecided).lines(); got[0] != "jit_grant.a create nothing" {
		t.Errorf("by the state: %q", got)
	}
	stricter := maps.Clone(permit)
	stricter["max_ttl"] = "30m"
	o.planOf(object{"resource_changes": []object{all}, "prior_state": state(stricter)})
	if got := o.seen(exitRefused).lines(); !strings.HasPrefix(got[0], "jit_grant.a create refused") {
		t.Errorf("by the state: %q", got)
	}
	stricter["max_ttl"] = "for ever"
	o.planOf(object{"resource_changes": []object{all}, "prior_state": state(stricter)})
	unjudged("jit_policy.x in the state before the plan cannot be read")
}

// A folder with the configuration of the target branch shows what the plan does not.
func TestReviewBase(t *testing.T) {
	o := newReviewOffice(t)
	o.planOf(object{})
	base := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(base, "jit.hcl"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(o.read("jit.hcl"))
	if s := o.seen(exitDone, "--base", base); len(s.Rules) > 0 {
		t.Errorf("the same: %+v", s.Rules)
	}
	write(`max_ttl = "1h"` + "\n" + o.read("jit.hcl"))
	s := o.seen(exitUndecided, "--base", base)
	if len(s.Rules) != 1 || s.Rules[0].What != "max_ttl is changed from 1h to 1d" || !s.Rules[0].Loosens {
		t.Errorf("got %+v", s.Rules)
	}
}
