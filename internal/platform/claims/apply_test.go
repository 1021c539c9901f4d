package claims

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// An object goes with its last claim, whichever owner's.
func TestSharedObject(t *testing.T) {
	w := newWorld()
	first, second := access("alice", "first"), access("alice", "second")
	second.Marker.Owner = "another"
	w.do(t, ensure(first), ensure(second))
	w.do(t, ensure(first))
	if w.writes != 1 || len(w.claims(t)) != 2 {
		t.Errorf("%d writes and the claims %+v, want one write and two claims", w.writes, w.claims(t))
	}
	w.do(t, remove(first))
	w.wants(t, "alice", true, "after the first end")
	w.do(t, remove(second))
	w.wants(t, "alice", false, "after both ends")
	w.empty(t, "after both ends")
	w.do(t, remove(second)) // absent is success
}

// An object that existed before stays. If somebody removes it, a later ensure makes it ours.
func TestPriorObject(t *testing.T) {
	w := newWorld()
	first, second := access("alice", "first"), access("alice", "second")
	w.with(func() { w.members["alice"] = true })
	w.do(t, ensure(first), ensure(second))
	w.do(t, remove(first), remove(second))
	w.wants(t, "alice", true, "prior access after both ends")
	third := access("alice", "third")
	w.do(t, ensure(first), ensure(second), ensure(third))
	w.with(func() { delete(w.members, "alice") })
	w.do(t, remove(first))
	w.wants(t, "alice", false, "after the first end")
	w.do(t, ensure(second))
	w.wants(t, "alice", true, "after the repair")
	w.do(t, remove(second))
	w.wants(t, "alice", true, "after the second end")
	w.do(t, remove(third))
	w.wants(t, "alice", false, "after all ends")
	w.empty(t, "after all ends")
}

// An ensure during a removal whose answer was lost adds the object again, although the list still has it.
func TestEnsureDuringALostRemoval(t *testing.T) {
	w := newWorld()
	first, second := access("alice", "first"), access("alice", "second")
	w.do(t, ensure(first))
	w.onWrite = func(bool, string) fault { return delayed }
	if err := Apply(t.Context(), w.scope(), w, []jit.Change{remove(first)})[0]; err == nil {
		t.Error("a removal without an answer succeeds")
	}
	w.onWrite = nil
	w.do(t, ensure(second))
	w.with(func() { w.finish("alice") })
	w.wants(t, "alice", true, "after both")
}

// That removal also takes no effect after its claim was dropped in favour of another.
func TestLostRemovalOfAnObjectClaimedMeanwhile(t *testing.T) {
	w := newWorld()
	first, second := access("alice", "first"), access("alice", "second")
	w.do(t, ensure(first))
	for _, try := range []struct {
		fault  fault
		change jit.Change
	}{{delayed, remove(first)}, {unheard, ensure(second)}} {
		w.onWrite = func(bool, string) fault { return try.fault }
		if err := Apply(t.Context(), w.scope(), w, []jit.Change{try.change})[0]; err == nil {
			t.Errorf("%s without an answer succeeds", try.change.Op)
		}
	}
	w.onWrite = nil
	w.do(t, remove(first))
	w.do(t, ensure(second))
	w.with(func() { w.finish("alice") })
	w.wants(t, "alice", true, "after all")
}

// Giving up a claim again changes the version of the claims, so a claim that was written meanwhile shows.
func TestGivingUpTwiceIsRecordedTwice(t *testing.T) {
	w := newWorld()
	a := access("alice", "why")
	w.do(t, ensure(a))
	for want := int64(2); want < 4; want++ {
		set, err := w.scope().Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d := NewDraft(set)
		d.Remove(a.Marker)
		if _, err := w.scope().Record(t.Context(), d); err != nil || d.Version != want || !d.Removable("alice") {
			t.Errorf("Record = %v with version %d, want version %d", err, d.Version, want)
		}
	}
}

// A grant whose name now means another object gives up the first one.
func TestObjectOfAnotherName(t *testing.T) {
	w := newWorld()
	a := access("alice", "moved")
	w.do(t, ensure(a))
	a.Binding.Principal = "alice2"
	w.do(t, ensure(a))
	w.wants(t, "alice", false, "after the move")
	w.wants(t, "alice2", true, "after the move")
	w.do(t, remove(a))
	w.wants(t, "alice2", false, "after the end")
	w.empty(t, "after the end")
}

// Each ensure fails for its own reason: an unknown principal, or a wrong clock. Removals need no clock.
func TestRefusedBeforehand(t *testing.T) {
	w := newWorld()
	good, nobody := access("alice", "a"), access("nobody", "d")
	errs := Apply(t.Context(), w.scope(), w, []jit.Change{ensure(nobody), ensure(good)})
	if !errors.Is(errs[0], jit.ErrInvalid) || errs[1] != nil {
		t.Errorf("Apply = %v, want only the first to be refused", errs)
	}
	w.skew = jit.ErrSkew
	errs = Apply(t.Context(), w.scope(), w, []jit.Change{remove(good), ensure(access("bob", "later"))})
	if errs[0] != nil || !errors.Is(errs[1], jit.ErrSkew) {
		t.Errorf("with a wrong clock: %v, want only the ensure to fail", errs)
	}
	w.wants(t, "alice", false, "after the end")
	w.empty(t, "after the end")

	other := jit.Claim{Marker: good.Marker, Object: "alice"}
	if _, err := w.ledger.Update(t.Context(), "another directory", group, 0, []jit.Claim{other}, nil); err != nil {
		t.Fatal(err)
	}
	err := Apply(t.Context(), w.scope(), w, []jit.Change{remove(good)})[0]
	if err == nil || !strings.Contains(err.Error(), "another directory") {
		t.Errorf("a grant of another place: %v", err)
	}
}

// A refused write leaves no claim. A write that may still take effect keeps its claim.
func TestFailedWrites(t *testing.T) {
	for f := declined; f <= delayed; f++ {
		t.Run(f.String(), func(t *testing.T) {
			w := newWorld()
			a, b := access("alice", "why"), access("bob", "why")
			w.onWrite = func(_ bool, name string) fault {
				if name == "alice" {
					return f
				}
				return none
			}
			errs := Apply(t.Context(), w.scope(), w, []jit.Change{ensure(a), ensure(b)})
			if errs[0] == nil || errs[1] != nil {
				t.Errorf("Apply = %v, want only the first to fail", errs)
			}
			if kept := len(w.claims(t)) == 2; kept != (f != declined) {
				t.Errorf("the claims are %+v", w.claims(t))
			}
			w.onWrite = nil
			w.do(t, ensure(a))
			w.wants(t, "alice", true, "after a second try")
			w.onWrite = func(bool, string) fault { return f }
			if err := Apply(t.Context(), w.scope(), w, []jit.Change{remove(a)})[0]; err == nil {
				t.Error("a removal that failed succeeds")
			}
			if len(w.claims(t)) != 2 {
				t.Errorf("after a failed removal the claims are %+v", w.claims(t))
			}
			w.onWrite = nil
			w.do(t, remove(a), remove(b))
			w.wants(t, "alice", false, "at last")
			w.empty(t, "at last")
		})
	}
}

// The refusal of a write that was done before is a success.
func TestRefusedAndDone(t *testing.T) {
	w := newWorld()
	a := access("alice", "why")
	w.onWrite = func(add bool, name string) fault {
		w.with(func() { w.set(add, name) })
		return declined
	}
	w.do(t, ensure(a))
	w.wants(t, "alice", true, "after the ensure")
	w.do(t, remove(a))
	w.wants(t, "alice", false, "after the removal")
	w.empty(t, "after the removal")
}

// If the ledger cannot be read, nothing changes. If it cannot be written, access ends and the error says so.
func TestLedgerOutOfReach(t *testing.T) {
	w := newWorld()
	first, second, down := access("alice", "first"), access("bob", "second"), errors.New("the ledger is down")
	w.do(t, ensure(first))
	s := w.scope()
	changes := []jit.Change{ensure(second), remove(first)}
	s.Ledger = hooked{w.ledger, func(bool, func() error) error { return down }}
	for _, err := range Apply(t.Context(), s, w, changes) {
		if !errors.Is(err, down) {
			t.Errorf("Apply = %v, want the ledger's error", err)
		}
	}
	w.wants(t, "alice", true, "with an unreadable ledger")
	s.Ledger = hooked{w.ledger, func(update bool, do func() error) error {
		if update {
			return down
		}
		return do()
	}}
	errs := Apply(t.Context(), s, w, changes)
	if !errors.Is(errs[0], down) || !errors.Is(errs[1], down) || !strings.Contains(errs[1].Error(), "the access was ended") {
		t.Errorf("Apply = %v, want the ledger's error, and that the access was ended", errs)
	}
	w.wants(t, "alice", false, "with a ledger that cannot be written")
	w.wants(t, "bob", false, "with a ledger that cannot be written")
	w.do(t, remove(first))
	w.empty(t, "with the ledger back")
	if _, err := (Scope{}).Read(t.Context()); err == nil || !strings.Contains(err.Error(), "no ledger") {
		t.Errorf("Read without a ledger = %v", err)
	}
}

// A claim that comes during the removal of its object gets the object back.
func TestClaimDuringARemoval(t *testing.T) {
	w := newWorld()
	first, second := access("alice", "first"), access("alice", "second")
	w.do(t, ensure(first))
	var once sync.Once
	w.onWrite = func(add bool, _ string) fault {
		if !add {
			once.Do(func() { w.do(t, ensure(second)) })
		}
		return none
	}
	w.do(t, remove(first))
	w.wants(t, "alice", true, "after both")
	w.do(t, remove(second))
	w.wants(t, "alice", false, "at last")
	w.empty(t, "at last")
}

// An object that another process makes between the two reads does not count as prior access.
func TestClaimAtTheSameTimeIsNotPrior(t *testing.T) {
	w := newWorld()
	first, second := access("alice", "first"), access("alice", "second")
	w.onList = func() {
		w.onList = nil
		w.do(t, ensure(second))
	}
	w.do(t, ensure(first))
	w.do(t, remove(second))
	w.wants(t, "alice", true, "after one end")
	w.do(t, remove(first))
	w.wants(t, "alice", false, "after both ends")
	w.empty(t, "after both ends")
}

// Prior access stays prior if a wrong clock refuses the first try and another writer forces a second.
func TestPriorObjectAfterARefusedTry(t *testing.T) {
	w := newWorld()
	w.with(func() { w.members["alice"] = true })
	gone, first, other := access("bob", "gone"), access("alice", "first"), access("carol", "other")
	w.do(t, ensure(gone))
	s := w.scope()
	w.skew = errors.New("the clock is wrong")
	s.Ledger = hooked{w.ledger, func(update bool, do func() error) error {
		if update && w.skew != nil {
			w.skew = nil
			w.do(t, ensure(other)) // the version moves
		}
		return do()
	}}
	for _, err := range Apply(t.Context(), s, w, []jit.Change{remove(gone), ensure(first)}) {
		if err != nil {
			t.Error(err)
		}
	}
	w.do(t, remove(first), remove(other))
	w.wants(t, "alice", true, "prior access after the end")
	w.empty(t, "after all ends")
}
