package gcp

import (
	"errors"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// The grant of a deleted account is over: a sweep ends it, neither a plan nor an apply repairs it, and an account made
// anew under that address gets nothing (https://cloud.google.com/iam/docs/principal-identifiers#deleted-principals).
func TestTheGrantOfADeletedAccountIsOver(t *testing.T) {
	for _, role := range []string{sqlRole, basicViewer} { // the second takes no condition
		t.Run(role, func(t *testing.T) { deletedAccount(t, role) })
	}
}

func deletedAccount(t *testing.T, role string) {
	d := newDesk(t)
	other := d.grant(bob, role, "2h")
	g := d.grant(alice, role, "2h")
	d.server.DeleteAccount(alice)
	d.server.AddAccounts(alice)
	d.may(g, 0, false, "made anew")
	if drift, err := d.broker.Observe(t.Context(), g); err != nil || drift != "" {
		t.Errorf("a plan would repair %q, %v", drift, err)
	}
	p := d.broker.Targets["prod"]
	if err := p.Apply(t.Context(), project, ensured(g.Access()))[0]; !errors.Is(err, jit.ErrOver) {
		t.Errorf("the platform repairs it: %v", err)
	}
	ask := broker.Request{Binding: g.Binding, Reason: g.Reason, Renewal: 1, TTL: g.TTL}
	if _, err := d.broker.Grant(t.Context(), ask); err != nil {
		t.Errorf("apply: %v", err)
	}
	d.may(g, 0, false, "applied again")
	d.pass(2 * time.Minute)
	if r := d.sweep()[g.ID]; r.Kind != reconcile.Revoke || r.Drift != jit.DriftGone {
		t.Errorf("the sweep did %s, %s; want the end of the grant", r.Kind, r.Drift)
	}
	if results := d.sweep(); len(results) != 0 {
		t.Errorf("the next sweep did %+v", results)
	}
	d.may(g, 0, false, "swept")
	d.may(other, 0, true, "swept")
	if r, _, err := d.broker.Ledger.Lookup(t.Context(), g.ID); err != nil || r.EndedAt.IsZero() {
		t.Errorf("the end is not recorded: %+v, %v", r, err)
	}
}
