package broker_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func TestAGrantCountsFromItsApplyAndEndsByItself(t *testing.T) {
	w := newWorld(t, jit.Native)
	if _, err := w.Preview(t.Context(), request(), true); err != nil {
		t.Fatal(err)
	}
	w.pass(3 * time.Hour) // the saved plan waits
	w.now = w.now.Add(300 * time.Millisecond)
	g := w.grant(request())
	if want := (jit.Window{Start: jit.Second(w.now),
		End: jit.Second(w.now).Add(2 * time.Hour)}); !g.Window.Equal(want) {
		t.Errorf("window %v, want %v", g.Window, want)
	}
	w.allowed(true)
	w.pass(2*time.Hour - time.Second)
	w.allowed(true)
	w.pass(time.Second)
	w.allowed(false)
	if want := []jit.EventKind{jit.EventRequested, jit.EventDecided, jit.EventGranted}; !slices.Equal(w.kinds(), want) {
		t.Errorf("events %v, want %v", w.kinds(), want)
	}
}

func TestWhatEndedNeverComesBack(t *testing.T) {
	for _, enforcement := range []jit.Enforcement{jit.Native, jit.Sweeper} {
		ends := map[string]func(*world, jit.Grant){
			"by its window":                func(w *world, g jit.Grant) { w.pass(3 * time.Hour); w.finish(g) },
			"by its window, not yet swept": func(w *world, _ jit.Grant) { w.pass(3 * time.Hour) },
			"by revocation": func(w *world, g jit.Grant) {
				w.pass(time.Minute)
				w.revoke(broker.Revocation{Grant: g, Reason: "done"})
			},
			"by an end moved to the past": func(w *world, g jit.Grant) {
				w.pass(time.Hour)
				if _, err := w.Change(w.t.Context(), g,
					request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("30m") })); err != nil {
					w.t.Fatal(err)
				}
			},
		}
		for name, end := range ends {
			t.Run(string(enforcement)+" "+name, func(t *testing.T) {
				w := newWorld(t, enforcement)
				g := w.grant(request())
				end(w, g)
				w.mustWrite(0, func() {
					p, err := w.Preview(t.Context(), request(), true)
					if err != nil || !p.Over || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0].Detail,
						"renewal = 2") {
						t.Errorf("preview %+v, error %v; want an ended grant and renewal = 2", p, err)
					}
					again := w.grant(request())
					if !again.Over(w.now) || !again.Window.Equal(g.Window) && name != "by an end moved to the past" {
						t.Errorf("the repeated grant is %s with window %v", again.State(w.now), again.Window)
					}
				})
				w.finish(g)
				w.allowed(false)
				renewed := w.grant(request(func(r *broker.Request) { r.Renewal = 2 }))
				if renewed.ID == g.ID {
					t.Error("the renewal has the id of the first grant")
				}
				w.allowed(true)
			})
		}
	}
}

func TestALostLedgerIsMadeGoodFromTheMarker(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request())
	w.ledger.Forget()
	w.pass(time.Hour)
	w.mustWrite(0, func() {
		again := w.grant(request())
		if !again.Window.Equal(g.Window) {
			t.Errorf("the adopted window is %v, want %v", again.Window, g.Window)
		}
	})
	w.ledger.Forget()
	w.pass(2 * time.Hour)
	w.mustWrite(0, func() {
		if again := w.grant(request()); !again.Over(w.now) {
			t.Errorf("ended by its marker, the repeated grant is %s", again.State(w.now))
		}
	})
}

func TestOverlappingGrantsDoNotEndEachOther(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	short := w.grant(request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("1h") }))
	w.grant(request(func(r *broker.Request) { r.Reason = "INC-2: other" }))
	w.pass(time.Hour)
	w.finish(short)
	w.allowed(true)
}

func TestOnlyTheNewestHolderEndsAGrant(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	first := w.grant(request())
	second := w.grant(request()) // create_before_destroy: the new resource adopts the grant
	if kept := w.revoke(broker.Revocation{Grant: first, Holder: first.Holder, Reason: "destroyed"}); !kept {
		t.Error("the old resource's delete was not told that the grant is kept")
	}
	w.allowed(true)
	w.revoke(broker.Revocation{Grant: second, Holder: second.Holder, Reason: "destroyed"})
	w.allowed(false)
}

func TestAGrantThatNobodyKnowsOfIsNotMadeAgain(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request())
	w.revoke(broker.Revocation{Grant: g, Reason: "stop"})
	w.ledger.Forget()
	g.Version = 0 // the state still has it as live
	w.mustWrite(0, func() {
		_, err := w.Change(t.Context(), g, request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("3h") }))
		wantError(t, err, jit.ErrOver, "may have been revoked", "renewal = 2")
	})
	w.allowed(false)
}
