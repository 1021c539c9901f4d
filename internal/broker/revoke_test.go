package broker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func TestRevokeIsIdempotentAndNeverGivenUp(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	g := w.grant(request())
	w.platform.Call = func(what string) error { return errors.New("the server is unreachable") }
	if _, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "stop"}); err == nil {
		t.Fatal("a revocation that did not reach the platform succeeded")
	}
	if last := w.kinds()[len(w.kinds())-1]; last != jit.EventRevokeFailed {
		t.Errorf("the last event is %s, want %s", last, jit.EventRevokeFailed)
	}
	w.platform.Call = nil
	w.revoke(broker.Revocation{Grant: g, Reason: "stop"})
	w.allowed(false)
	events := len(w.kinds())
	w.mustWrite(0, func() { w.revoke(broker.Revocation{Grant: g, Reason: "again"}) })
	if len(w.kinds()) != events {
		t.Error("revoking absent access recorded an event")
	}
}

func TestRevokeWorksWithoutALedger(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	g := w.grant(request())
	gone := errors.New("ledger unreachable")
	w.ledger.Call = func(string) error { return gone }
	_, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "stop"})
	if !errors.Is(err, gone) {
		t.Errorf("got %v, want the ledger's error", err)
	}
	w.allowed(false)
	if _, err := w.Grant(t.Context(), request(func(r *broker.Request) { r.Renewal = 2 })); !errors.Is(err, gone) {
		t.Errorf("without a ledger, Grant = %v, want the ledger's error", err)
	}
	w.allowed(false)
}

func TestRevokeOfAnUnknownGrantLeavesATombstone(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	g := w.grant(request())
	w.ledger.Forget()
	g.Version = 0
	w.revoke(broker.Revocation{Grant: g, Reason: "destroyed"})
	w.allowed(false)
	w.mustWrite(0, func() {
		if again := w.grant(request()); !again.Over(w.now) {
			t.Error("a grant that ended while the ledger was lost came back")
		}
	})
}

func TestARevocationThatFailedIsMadeUpForInsideTheWindow(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request())
	w.platform.Call = func(string) error { return errors.New("unavailable") }
	for range 2 { // the recorded intent of the first try must not make the second one treat the access as ended
		if _, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "stop"}); err == nil ||
			errors.Is(err, jit.ErrOver) {
			t.Fatalf("a revocation that did not reach the platform: %v", err)
		}
	}
	w.platform.Call = nil
	w.allowed(true)
	w.revoke(broker.Revocation{Grant: g, Reason: "stop"})
	w.allowed(false)
}

func TestRevokingWhatIsOverRemovesOnlyWhatStillGivesAccess(t *testing.T) {
	for enforcement, want := range map[jit.Enforcement]int{jit.Native: 0, jit.Sweeper: 1} {
		w := newWorld(t, enforcement)
		g := w.grant(request())
		w.pass(3 * time.Hour)
		w.mustWrite(want, func() { w.revoke(broker.Revocation{Grant: g, Reason: "destroyed"}) })
		w.allowed(false)
	}
}

// The record, or else the marker, says who owns a grant. A wrong owner in the request is refused.
func TestRevokeLeavesTheGrantsOfOtherOwners(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request())
	w.Owner = "others"
	claimed := g
	claimed.Owner = w.Owner
	refused := func(g jit.Grant) {
		t.Helper()
		w.mustWrite(0, func() {
			_, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "stop"})
			wantError(t, err, jit.ErrInvalid, `belongs to the owner "jit"`)
		})
	}
	refused(g)
	refused(claimed)
	w.lose()
	refused(g)
	w.allowed(true)
}

func TestARevocationDuringAGrantWins(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	var once bool
	w.platform.Call = func(what string) error {
		if what == "write" && !once {
			once = true
			id := jit.NewID("jit", jit.Binding{Target: "db", Principal: "bob", Role: "reader", Scope: "all"},
				"INC-1: look", 1)
			g, known, err := w.Ledger.Lookup(t.Context(), id)
			if err != nil || !known {
				t.Fatalf("no intent in the ledger before the platform is called: %v", err)
			}
			w.revoke(broker.Revocation{Grant: g, Reason: "stop"})
		}
		return nil
	}
	g := w.grant(request())
	if !g.Over(w.now) {
		t.Errorf("the grant is %s", g.State(w.now))
	}
	w.allowed(false)
}

// Revoking ends access under any error of the ledger. Only a record of another owner prevents it.
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

// A failed grant is recorded as giving nothing. Revoking it still writes to the target. If that fails, the error is
// ErrRemains, because the record says that there is no access.
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
		t.Fatal("the grant succeeded while the target was down")
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
	put := []jit.Change{{Op: jit.Ensure, Access: g.Access()}} // the first attempt takes effect late
	if err := w.platform.Apply(t.Context(), g.Scope, put)[0]; err != nil {
		t.Fatal(err)
	}
	w.allowed(true)
	for range 2 { // absent is success
		w.revoke(broker.Revocation{Grant: g, Reason: "stop"})
		w.allowed(false)
	}
	if g, _, _ = w.Lookup(t.Context(), g.ID, g); !g.Failed() || len(w.kinds()) != events {
		t.Errorf("the record is %+v, want it unchanged", g)
	}
}
