package broker_test

import (
	"errors"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// A create fails to restore the access that a destroy ended. The grant stays destroyed, and no sweep restores it.
func TestResumeThatFails(t *testing.T) {
	down := errors.New("no route to host")
	for name, fails := range map[string]func(calls int) error{
		"once": func(calls int) error {
			if calls == 1 {
				return down
			}
			return nil
		},
		"for good": func(int) error { return down },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Native)
			g := w.grant(request())
			w.revoke(broker.Revocation{Grant: g, Reason: broker.Destroyed, Destroys: true})
			calls := 0
			w.platform.Call = func(what string) error {
				if what == "write" {
					calls++
				}
				return fails(calls)
			}
			_, err := w.Grant(t.Context(), request(func(r *broker.Request) { r.Successor = true }))
			if !errors.Is(err, down) {
				t.Fatalf("Grant = %v", err)
			}
			g, _, err = w.Lookup(t.Context(), g.ID, g)
			if err != nil || !g.Destroyed() || g.RevokeReason != broker.Destroyed ||
				g.EndedAt.IsZero() != (name == "for good") {
				t.Errorf("the record is %+v, %v; want a destroyed grant", g, err)
			}
			w.platform.Call = nil
			if err := w.execute(reconcile.Repair, g, jit.DriftMissing, ""); err == nil {
				t.Error("a sweep restores the access")
			}
			w.allowed(false)
		})
	}
}

// HandOver is recorded, and fails without the ledger.
func TestLeave(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request())
	before := len(w.kinds())
	w.mustWrite(0, func() {
		if err := w.HandOver(t.Context(), g); err != nil {
			t.Error(err)
		}
	})
	if kinds := w.kinds(); len(kinds) != before+1 || kinds[before] != jit.EventChanged {
		t.Errorf("the events are %q", kinds)
	}
	w.ledger.Call = func(string) error { return errors.New("the ledger is unreachable") }
	if err := w.HandOver(t.Context(), g); err == nil {
		t.Error("HandOver succeeded without a record")
	}
}
