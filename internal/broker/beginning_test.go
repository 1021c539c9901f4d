package broker_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// on returns the window of a grant's binding on the platform. ok is false if there is none.
func (w *world) on(g jit.Grant) (window jit.Window, ok bool) {
	w.t.Helper()
	s, err := w.platform.Read(w.t.Context(), "all")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range s.Ours {
		if o.Marker.ID == g.ID {
			return o.Marker.Window, true
		}
	}
	return jit.Window{}, false
}

func TestADeferredGrantIsStartedByTheSweeper(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	start := w.now.Add(time.Hour)
	r := request(func(r *broker.Request) { r.StartsAt, r.StartBy = start, start.Add(10*time.Minute) })
	var g jit.Grant
	w.mustWrite(0, func() { g = w.grant(r) })
	if !g.Start.Equal(start) || !g.End.Equal(start.Add(2*time.Hour)) || g.State(w.now) != jit.StateScheduled {
		t.Errorf("%s with window %v", g.State(w.now), g.Window)
	}
	w.allowed(false)
	if err := w.execute(reconcile.Start, g, "", ""); err == nil {
		t.Error("the grant was started early")
	}
	w.pass(61 * time.Minute)
	if err := w.execute(reconcile.Start, g, "", ""); err != nil {
		t.Fatal(err)
	}
	w.allowed(true)
}

// The beginning can be moved until it has passed, even if the platform has it already.
func TestABeginningMovesUntilItHasCome(t *testing.T) {
	for _, native := range []bool{true, false} {
		for _, ttl := range []string{"2h", ""} {
			t.Run(fmt.Sprintf("native %t, ttl %q", native, ttl), func(t *testing.T) {
				enforcement := map[bool]jit.Enforcement{true: jit.Native, false: jit.Sweeper}[native]
				w := newWorld(t, enforcement)
				w.platform.Traits.NativeStart, w.platform.Traits.MaxTTL = native, 3*time.Hour
				begin := w.now
				in := func(from, until time.Duration) broker.Request {
					return request(func(r *broker.Request) {
						if r.TTL, r.StartsAt = jit.RecordedTTL(ttl), begin.Add(from); ttl == "" {
							r.ExpiresAt = begin.Add(until)
						}
					})
				}
				g := w.grant(in(time.Hour, 3*time.Hour))
				want := func(from, until time.Duration) {
					t.Helper()
					window := jit.Window{Start: begin.Add(from), End: begin.Add(until)}
					if !g.Window.Equal(window) {
						t.Errorf("window %v, want %v", g.Window, window)
					}
					if held, ok := w.on(g); ok != native && w.now.Before(g.Start) || ok && !held.Equal(window) {
						t.Errorf("the platform has %v (%t), want %v (%t)", held, ok, window, native)
					}
				}
				change := func(r broker.Request) {
					t.Helper()
					p, err := w.PreviewChange(t.Context(), g, r)
					if err != nil {
						t.Fatal(err)
					}
					if g, err = w.Change(t.Context(), g, r); err != nil {
						t.Fatal(err)
					}
					if !g.Window.Equal(p.Grant.Window) {
						t.Errorf("planned %v, got %v", p.Grant.Window, g.Window)
					}
				}
				want(time.Hour, 3*time.Hour)
				change(in(6*time.Hour, 8*time.Hour))
				want(6*time.Hour, 8*time.Hour)
				change(in(4*time.Hour, 6*time.Hour))
				want(4*time.Hour, 6*time.Hour)

				w.pass(3 * time.Hour)
				same := in(0, 6*time.Hour)
				same.StartsAt = time.Time{}
				change(same) // the request leaves the beginning open
				want(4*time.Hour, 6*time.Hour)
				atOnce := in(0, 5*time.Hour)
				atOnce.StartsAt, atOnce.StartNow = time.Time{}, true
				late := atOnce
				late.StartBy = begin.Add(2 * time.Hour)
				_, err := w.Change(t.Context(), g, late)
				wantError(t, err, jit.ErrInvalid, "start_by", "may no longer begin")
				change(atOnce)
				want(3*time.Hour, 5*time.Hour)
				if _, ok := w.on(g); !ok {
					t.Error("the grant has not begun")
				}

				w.pass(time.Minute)
				w.mustWrite(0, func() {
					for _, to := range []time.Duration{4 * time.Hour, time.Hour} {
						_, err := w.Change(t.Context(), g, in(to, 5*time.Hour))
						wantError(t, err, jit.ErrInvalid, "starts_at", "began at 2026-11-23T19:00:00Z",
							"it cannot begin at "+jit.FormatTime(begin.Add(to)), "renewal = 2")
					}
					change(in(3*time.Hour, 5*time.Hour))
					change(atOnce)
				})
				w.pass(2 * time.Hour)
				w.mustWrite(0, func() {
					_, err := w.Change(t.Context(), g, in(9*time.Hour, 11*time.Hour))
					wantError(t, err, jit.ErrOver, "renewal = 2")
					change(in(3*time.Hour, 5*time.Hour))
					change(atOnce)
				})
			})
		}
	}
}

// A grant requested after its starts_at begins at once. Later changes with the same starts_at are not refused.
func TestABeginningThatWasPast(t *testing.T) {
	w := newWorld(t, jit.Native)
	r := request(func(r *broker.Request) { r.StartsAt = w.now.Add(-time.Hour) })
	g := w.grant(r)
	w.pass(time.Minute)
	w.mustWrite(0, func() {
		if _, err := w.Change(t.Context(), g, r); err != nil {
			t.Error(err)
		}
	})
	r.StartsAt = w.now.Add(time.Hour)
	_, err := w.Change(t.Context(), g, r)
	wantError(t, err, jit.ErrInvalid, "starts_at", "began at")
}

// Somebody postpones a grant during its write to the platform.
func TestABeginningThatIsPutOffMeanwhile(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.platform.Traits.NativeStart = true
	begin := w.now.Add(time.Hour)
	g := w.grant(request(func(r *broker.Request) { r.StartsAt = begin }))
	put := false
	w.platform.Call = func(what string) error {
		if what != "written" || put {
			return nil
		}
		put = true
		_, err := w.Change(t.Context(), g, request(func(r *broker.Request) { r.StartsAt = begin.Add(4 * time.Hour) }))
		return err
	}
	if _, err := w.Change(t.Context(), g,
		request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("1h") })); err != nil {
		t.Fatal(err)
	}
	g, _, err := w.Lookup(t.Context(), g.ID, g)
	if err != nil {
		t.Fatal(err)
	}
	if held, ok := w.on(g); !ok || !held.Equal(g.Window) || g.GrantedAt.IsZero() ||
		!g.Start.Equal(begin.Add(4*time.Hour)) {
		t.Errorf("the platform has %v (%t), the record has %v, granted at %s", held, ok, g.Window, g.GrantedAt)
	}
}

// The platform has a beginning that the ledger could not confirm. It can still be moved.
func TestABeginningThatWasNotConfirmedMoves(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.platform.Traits.NativeStart = true
	r := request(func(r *broker.Request) { r.StartsAt = w.now.Add(time.Hour) })
	w.platform.Call = func(what string) error {
		if what == "written" {
			w.ledger.Call = func(string) error { return errors.New("the ledger is gone") }
		}
		return nil
	}
	if _, err := w.Grant(t.Context(), r); err == nil {
		t.Fatal("the grant was confirmed")
	}
	w.platform.Call, w.ledger.Call = nil, nil
	p, err := w.Preview(t.Context(), r, false)
	g := p.Grant
	if err != nil || !p.Met || !g.GrantedAt.IsZero() {
		t.Fatalf("the preview is %+v, %v", p, err)
	}
	r.StartsAt = w.now.Add(4 * time.Hour)
	if g, err = w.Change(t.Context(), g, r); err != nil {
		t.Fatal(err)
	}
	if held, ok := w.on(g); !ok || !held.Equal(g.Window) || !g.Start.Equal(r.StartsAt) {
		t.Errorf("the platform has %v (%t), the record has %v", held, ok, g.Window)
	}
}

// Two sweepers start the same grant because the first stalled. The record has one granted event.
func TestStartTwice(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	g := w.grant(request(func(r *broker.Request) { r.StartsAt = w.now.Add(time.Hour) }))
	w.pass(time.Hour)
	for range 2 {
		if err := w.execute(reconcile.Start, g, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	w.allowed(true)
	granted := 0
	for _, k := range w.kinds() {
		if k == jit.EventGranted {
			granted++
		}
	}
	if granted != 1 {
		t.Errorf("%d granted events, want 1: %v", granted, w.kinds())
	}
}

// A sweeper stalls before it starts or repairs a grant, until another one has ended it. The late access is removed at
// once, and the end is recorded once.
func TestStalledSweeperTakesBack(t *testing.T) {
	for name, put := range map[string]func(*world, jit.Grant) error{
		"start":  func(w *world, g jit.Grant) error { return w.execute(reconcile.Start, g, "", "") },
		"repair": func(w *world, g jit.Grant) error { return w.execute(reconcile.Repair, g, "", "missing") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Sweeper)
			g := w.grant(request(func(r *broker.Request) {
				if name == "start" {
					r.StartsAt = w.now.Add(time.Hour)
				}
			}))
			w.pass(time.Hour)
			stalled := false
			w.platform.Call = func(what string) error {
				if what == "write" && !stalled {
					stalled = true
					w.pass(3 * time.Hour)
					return w.execute(reconcile.End, g, "", "")
				}
				return nil
			}
			if err := put(w, g); err != nil {
				t.Fatal(err)
			}
			if s, err := w.platform.Read(t.Context(), "all"); err != nil || len(s.Ours) != 0 {
				t.Errorf("after the end the platform has %+v, %v", s.Ours, err)
			}
			ends := 0
			for _, k := range w.kinds() {
				if k == jit.EventExpired {
					ends++
				}
			}
			if last := w.kinds()[len(w.kinds())-1]; ends != 1 || last != jit.EventExpired {
				t.Errorf("%d events for the end, want 1, and nothing after it: %v", ends, w.kinds())
			}
		})
	}
}
