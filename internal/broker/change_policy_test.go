package broker_test

import (
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// recordedPolicy returns the policy in the record of a grant.
func (w *world) recordedPolicy(id jit.ID) string {
	w.t.Helper()
	g, known, err := w.ledger.Lookup(w.t.Context(), id)
	if err != nil || !known {
		w.t.Fatalf("the record of grant %s: known %t, %v", id, known, err)
	}
	return g.Policy
}

// A change that removes the policy's name is judged by all policies. The record names the policy that permits it.
func TestAChangeWithoutAPolicyIsJudgedByAll(t *testing.T) {
	w := newWorld(t, jit.Native)
	for _, name := range []string{"a-first", "named"} {
		if err := w.PutPolicy(t.Context(), jit.Policy{Name: name, Effect: jit.Permit}); err != nil {
			t.Fatal(err)
		}
	}
	g := w.grant(request(func(r *broker.Request) { r.Policy = "named" }))
	if got := w.recordedPolicy(g.ID); got != "named" {
		t.Fatalf("granted by policy %q, want named", got)
	}
	w.mustWrite(0, func() {
		if _, err := w.Change(t.Context(), g, request()); err != nil {
			t.Fatal(err)
		}
	})
	if got := w.recordedPolicy(g.ID); got != "named" {
		t.Errorf("a change that leaves the policy open records %q, want named", got)
	}
	dropped := request(func(r *broker.Request) { r.AnyPolicy = true })
	if d, err := w.PreviewChange(t.Context(), g, dropped); err != nil || d.Grant.Policy != "a-first" {
		t.Errorf("the plan names policy %q, %v; want a-first", d.Grant.Policy, err)
	}
	for range 2 {
		if _, err := w.Change(t.Context(), g, dropped); err != nil {
			t.Fatal(err)
		}
		if got := w.recordedPolicy(g.ID); got != "a-first" {
			t.Errorf("the record names policy %q, want a-first", got)
		}
	}
	w.allowed(true)
	if err := w.PutPolicy(t.Context(), jit.Policy{Name: "freeze", Effect: jit.Forbid}); err != nil {
		t.Fatal(err)
	}
	_, err := w.Change(t.Context(), g, dropped)
	wantError(t, err, jit.ErrDenied, `"freeze"`)
}

// A change of a grant with a lost reason records the reason, with or without a record in the ledger.
func TestAChangeRecordsALostReason(t *testing.T) {
	for name, lost := range map[string]bool{"with a record": false, "without a record": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Native)
			w.grant(request())
			w.lose()
			s, err := w.platform.Read(t.Context(), "all")
			if err != nil {
				t.Fatal(err)
			}
			grants, _, err := w.Unrecorded(t.Context(), map[jit.Place]jit.Snapshot{{Target: "db", Scope: "all"}: s})
			if err != nil || len(grants) != 1 {
				t.Fatalf("found %d grants, %v", len(grants), err)
			}
			if err := w.Adopt(t.Context(), grants)[0]; err != nil {
				t.Fatal(err)
			}
			imported, _, err := w.ledger.Lookup(t.Context(), grants[0].ID)
			if err != nil || !imported.ReasonLost() {
				t.Fatalf("the reason is %q, %v; want it lost", imported.Reason, err)
			}
			imported.Reason = jit.RecordedReason(imported.ReasonText()) // as the provider reads it from the state
			imported.Version = 0
			if lost {
				w.lose()
			}
			if g, err := w.Change(t.Context(), imported, request()); err != nil || g.Reason != "INC-1: look" {
				t.Errorf("changed: reason %q, %v", g.Reason, err)
			}
			g, known, err := w.ledger.Lookup(t.Context(), imported.ID)
			if err != nil || !known || g.Reason != "INC-1: look" || g.Renewal != 1 {
				t.Errorf("recorded: known %t, reason %q, renewal %d, %v", known, g.Reason, g.Renewal, err)
			}
			w.allowed(true)
		})
	}
}

// An extension without a policy's name keeps the recorded policy. An extension with a name records that policy.
func TestAnExtensionKeepsTheRecordedPolicy(t *testing.T) {
	w := newWorld(t, jit.Native)
	for _, name := range []string{"a-first", "named"} {
		if err := w.PutPolicy(t.Context(), jit.Policy{Name: name, Effect: jit.Permit}); err != nil {
			t.Fatal(err)
		}
	}
	g := w.grant(request(func(r *broker.Request) { r.Policy = "named" }))
	for _, test := range []struct{ ttl, policy, want string }{
		{"3h", "", "named"}, {"4h", "a-first", "a-first"}, {"5h", "", "a-first"}, {"6h", "named", "named"},
	} {
		longer := request(func(r *broker.Request) { r.TTL, r.Policy = jit.RecordedTTL(test.ttl), test.policy })
		if d, err := w.PreviewChange(t.Context(), g, longer); err != nil || d.Grant.Policy != test.want {
			t.Errorf("%s: the plan names policy %q, %v; want %q", test.ttl, d.Grant.Policy, err, test.want)
		}
		if _, err := w.Change(t.Context(), g, longer); err != nil {
			t.Fatal(err)
		}
		if got := w.recordedPolicy(g.ID); got != test.want {
			t.Errorf("%s: the record names policy %q, want %q", test.ttl, got, test.want)
		}
	}
}
