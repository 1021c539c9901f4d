package broker_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// withoutRules is a ledger that cannot read how policies and persons have changed.
type withoutRules struct{ jit.Ledger }

var errRules = errors.New("the rules cannot be read")

func (withoutRules) Rules(context.Context, int64) iter.Seq2[jit.Event, error] {
	return func(yield func(jit.Event, error) bool) { yield(jit.Event{}, errRules) }
}

// TestARepairThatCannotBeChecked gives nothing back; once it can be, it does.
func TestARepairThatCannotBeChecked(t *testing.T) {
	o := newOffice(t)
	o.signs("lea", request())
	g := o.grant(request())
	o.platform.Edit("all", func([]jit.Observed) []jit.Observed { return nil })
	o.newRun()
	whole := o.Ledger
	o.Ledger = withoutRules{whole}
	if err := o.execute(reconcile.Repair, g, jit.DriftMissing, "it is gone"); !errors.Is(err, errRules) {
		t.Errorf("repaired with %v", err)
	}
	o.allowed(false)
	o.Ledger = whole
	if err := o.execute(reconcile.Repair, g, jit.DriftMissing, "it is gone"); err != nil {
		t.Error(err)
	}
	o.allowed(true)
}

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
