package broker_test

import (
	"errors"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Revoking ends access whatever the error of the ledger is; only a record of another owner stops it.
func TestRevokeWhateverTheLedgerSays(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	g := w.grant(request())
	w.ledger.Call = func(string) error { return jit.Invalid("ledger", "", "the ledger is elsewhere") }
	_, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "done"})
	wantError(t, err, broker.ErrUnrecorded, "the ledger is elsewhere")
	w.allowed(false)

	w = newWorld(t, jit.Sweeper)
	g = w.grant(request())
	w.Owner = "payments"
	mine := g
	mine.Owner = "payments"
	for _, remembered := range []jit.Grant{g, mine} {
		_, _, err = w.Revoke(t.Context(), broker.Revocation{Grant: remembered, Reason: "done"})
		wantError(t, err, broker.ErrOtherOwner, `belongs to the owner "jit"`)
	}
	w.allowed(true)
}

// A failed grant is recorded to have given nothing. Revoking it looks all the same, and succeeds where the target
// cannot be asked.
func TestRevokeOfAFailedGrant(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	down := errors.New("no route to host")
	w.platform.Call = func(what string) error {
		if what == "write" {
			return down
		}
		return nil
	}
	g, err := w.Grant(t.Context(), request())
	if err == nil {
		t.Fatal("the target was down")
	}
	g, _, _ = w.Lookup(t.Context(), g.ID, g)
	if !g.Failed() {
		t.Fatalf("the record is %+v, want a failed one", g)
	}
	events := len(w.kinds())
	_, _, err = w.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "stop"})
	wantError(t, err, jit.ErrRemains, "is recorded to have given nothing", down.Error())
	gone := w.Targets
	w.Targets = nil
	_, _, err = w.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "stop"})
	wantError(t, err, jit.ErrRemains, "is recorded to have given nothing")
	w.Targets = gone

	w.platform.Call = nil
	put := []jit.Change{{Op: jit.Ensure, Access: g.Access()}} // the answer of the first attempt comes late
	if err := w.platform.Apply(t.Context(), g.Scope, put)[0]; err != nil {
		t.Fatal(err)
	}
	w.allowed(true)
	for range 2 { // absent is success
		w.revoke(broker.Revocation{Grant: g, Reason: "stop"})
		w.allowed(false)
	}
	if g, _, _ = w.Lookup(t.Context(), g.ID, g); !g.Failed() || len(w.kinds()) != events {
		t.Errorf("the record is %+v, want it as it was", g)
	}
}
