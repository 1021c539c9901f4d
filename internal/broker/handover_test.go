package broker_test

import (
	"errors"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// A create that takes back a destroy and cannot give the access back leaves the grant destroyed: nobody holds it, and
// no sweep puts it back.
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
				t.Errorf("recorded is %+v, %v; want a destroyed grant", g, err)
			}
			w.platform.Call = nil
			if err := w.execute(reconcile.Repair, g, jit.DriftMissing, ""); err == nil {
				t.Error("a sweep puts the access back")
			}
			w.allowed(false)
		})
	}
}

// A destroy that leaves the access to a create is on record; without the ledger it fails.
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
	w.ledger.Call = func(string) error { return errors.New("the ledger is away") }
	if err := w.HandOver(t.Context(), g); err == nil {
		t.Error("what could not be recorded was left")
	}
}
