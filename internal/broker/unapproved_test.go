package broker_test

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// TestApprovedOnItsTarget: people who decide on the target sign nothing here, and their grant is not drift.
func TestApprovedOnItsTarget(t *testing.T) {
	w, k := newAskedWorld(t)
	nobody := leads(func(r *jit.Requirement) { r.Unless = "true" })
	if err := w.PutPolicy(t.Context(), jit.Policy{Name: "prod", Effect: jit.Permit, Approval: nobody}); err != nil {
		t.Fatal(err)
	}
	g := w.grant(request())
	w.pass(time.Hour)
	k.decided = jit.Decision{By: "carol", Window: jit.Window{Start: w.now, End: w.now.Add(2 * time.Hour)}}
	g, err := w.CheckApproval(t.Context(), g)
	if err != nil || g.State(w.now) != jit.StateActive {
		t.Fatalf("got %+v, %v", g, err)
	}
	rules, err := w.Rulebook(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if wrong, err := w.Unapproved(t.Context(), rules, []jit.Grant{g}); err != nil || len(wrong) > 0 {
		t.Errorf("accused: %v, %v", wrong, err)
	}
}
