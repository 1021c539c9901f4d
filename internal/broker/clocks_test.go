package broker_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// silent is a platform without a clock.
type silent struct{ jit.Platform }

func (s silent) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	snapshot, err := s.Platform.Read(ctx, scope)
	snapshot.Clock = time.Time{}
	return snapshot, err
}

// skew sets our clock wrong. The ledger's server, the target or both have the right time.
func (w *world) skew(ahead time.Duration, ledger, target bool) {
	if ledger {
		w.ledger.Remote = func() time.Time { return w.now }
	}
	if !target {
		w.Targets["db"] = silent{w.platform}
	}
	w.Now = func() time.Time { return w.now.Add(ahead) }
}

// recorded returns the present record.
func (w *world) recorded(id jit.ID) jit.Grant {
	w.t.Helper()
	g, known, err := w.ledger.Lookup(w.t.Context(), id)
	if err != nil || !known {
		w.t.Fatalf("the record of %s: known %t, %v", id, known, err)
	}
	return g
}

// This machine's clock is past the grant's end, and another clock shows that the grant is live. A revocation is
// recorded and carried out, at once or when it is repeated.
func TestARevocationByAClockThatIsAhead(t *testing.T) {
	for _, enforcement := range []jit.Enforcement{jit.Native, jit.Sweeper} {
		for name, tells := range map[string][2]bool{"ledger": {true, false}, "target": {false, true},
			"both": {true, true}} {
			for _, fails := range []bool{false, true} {
				t.Run(string(enforcement)+", "+name+" has the time, fails first "+map[bool]string{true: "yes",
					false: "no"}[fails], func(t *testing.T) {
					w := newWorld(t, enforcement)
					g := w.grant(request())
					w.pass(10 * time.Minute)
					w.skew(3*time.Hour, tells[0], tells[1])
					if fails {
						w.platform.Call = func(what string) error {
							if what == "write" {
								return errors.New("unavailable")
							}
							return nil
						}
						if _, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: g,
							Reason: "stolen"}); err == nil || errors.Is(err, jit.ErrOver) {
							t.Errorf("a revocation that did not reach the platform: %v", err)
						}
						w.platform.Call = nil
					}
					w.revoke(broker.Revocation{Grant: g, Reason: "stolen"})
					w.allowed(false)
					if r := w.recorded(g.ID); !r.RevokedAt.Equal(w.now) || r.RevokeReason != "stolen" ||
						r.EndedAt.IsZero() {
						t.Errorf("revoked at %s (%s), ended at %s; want it revoked at %s", r.RevokedAt, r.RevokeReason,
							r.EndedAt, w.now)
					}
					if kinds := w.kinds(); !slices.Contains(kinds, jit.EventRevokeAsked) ||
						kinds[len(kinds)-1] != jit.EventRevoked {
						t.Errorf("the ledger has the events %v", kinds)
					}
				})
			}
		}
	}
}

// A grant that has ended by every clock ends as usual. A revocation by a clock that is behind does no harm.
func TestARevocationOfWhatIsOver(t *testing.T) {
	for _, enforcement := range []jit.Enforcement{jit.Native, jit.Sweeper} {
		for name, tt := range map[string]struct {
			ahead          time.Duration
			ledger, target bool
			revoked        bool
		}{
			"all agree":           {0, true, true, false},
			"no other clock":      {time.Hour, false, false, false},
			"ended by all clocks": {time.Hour, true, true, false},
			"ours is behind":      {-2 * time.Hour, true, true, true},
		} {
			t.Run(string(enforcement)+", "+name, func(t *testing.T) {
				w := newWorld(t, enforcement)
				g := w.grant(request())
				w.pass(3 * time.Hour)
				w.skew(tt.ahead, tt.ledger, tt.target)
				w.revoke(broker.Revocation{Grant: g, Reason: "destroyed"})
				w.allowed(false)
				if r := w.recorded(g.ID); r.RevokedAt.IsZero() == tt.revoked {
					t.Errorf("revoked at %s", r.RevokedAt)
				}
			})
		}
	}
}

// A revocation works without the ledger's clock.
func TestARevocationWithoutTheLedgersClock(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request())
	w.skew(3*time.Hour, true, true)
	silent := errors.New("no answer")
	reads := 0
	w.ledger.Call = func(what string) error {
		if reads++; reads > 1 { // the first call looks up the grant
			return silent
		}
		return nil
	}
	if _, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "stolen"}); !errors.Is(err, silent) {
		t.Errorf("got %v, want the ledger's error", err)
	}
	w.allowed(false)
}

// withWrongClock runs a test with clocks of this machine that are wrong, beside a ledger, a target or both that tell
// the time, and beside a ledger without a clock.
func withWrongClock(t *testing.T, test func(t *testing.T, w *world, wrong func())) {
	for _, ahead := range []time.Duration{24 * time.Hour, -24 * time.Hour, time.Minute, -time.Minute} {
		for name, tells := range map[string][2]bool{"ledger": {true, false}, "target": {false, true},
			"both": {true, true}, "newest event": {false, false}} {
			if !tells[0] && !tells[1] && ahead > 0 {
				continue // nothing can tell
			}
			t.Run(name+" has the time, ours is off by "+ahead.String(), func(t *testing.T) {
				w := newWorld(t, jit.Sweeper)
				test(t, w, func() { w.skew(ahead, tells[0], tells[1]) })
			})
		}
	}
}

// No step puts access on a target while the clocks disagree, whoever carries it out.
func TestNoStepBeginsByAWrongClock(t *testing.T) {
	withWrongClock(t, func(t *testing.T, w *world, wrong func()) {
		live := w.grant(request())
		later := w.grant(w.later(func(r *broker.Request) { r.Binding.Principal = "carol" }))
		w.pass(time.Hour)
		if _, err := w.Observe(t.Context(), live); err != nil { // the newest event is of now
			t.Fatal(err)
		}
		w.grant(request(func(r *broker.Request) { r.Binding.Principal = "dave" }))
		wrong()
		if _, err := w.Preview(t.Context(), request(), true); err != nil { // a plan reads the target
			t.Fatal(err)
		}
		_, err := w.Broker.Observe(t.Context(), live)
		if err != nil {
			t.Fatal(err)
		}
		w.mustWrite(0, func() {
			if err := w.execute(reconcile.Start, later, "", ""); !errors.Is(err, jit.ErrSkew) {
				t.Errorf("a start: %v, want disagreeing clocks", err)
			}
			if err := w.execute(reconcile.Repair, live, jit.DriftMissing, "missing"); !errors.Is(err, jit.ErrSkew) {
				t.Errorf("a repair: %v, want disagreeing clocks", err)
			}
		})
	})
}

// A grant that was cut off before its platform confirmed it is not put there again while the clocks disagree.
func TestNoAttemptIsRepeatedByAWrongClock(t *testing.T) {
	withWrongClock(t, func(t *testing.T, w *world, wrong func()) {
		w.cutOff(request(), "write")
		wrong()
		w.mustWrite(0, func() {
			if g, err := w.Grant(t.Context(), request()); !errors.Is(err, jit.ErrSkew) && !g.Over(w.Now()) {
				t.Errorf("the apply that repeats it: %v, want disagreeing clocks", err)
			}
		})
		w.allowed(false)
	})
}

// What is over on a target is decided by the target's clock, or else by the ledger's: this machine's may be ahead or
// behind. The end is recorded once, at the time of that clock.
func TestAnEndByAWrongClock(t *testing.T) {
	withWrongClock(t, func(t *testing.T, w *world, wrong func()) {
		g := w.grant(request())
		w.pass(time.Hour)
		wrong()
		told := w.ledger.Remote != nil || w.Targets["db"] == jit.Platform(w.platform)
		_, _, err := w.LedgerTime(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := w.execute(reconcile.End, g, "", ""); err == nil {
			t.Error("the grant ends before its end")
		}
		w.allowed(true)
		w.pass(time.Hour)
		if _, _, err = w.LedgerTime(t.Context()); err != nil {
			t.Fatal(err)
		}
		err = w.execute(reconcile.End, g, "", "")
		if !told {
			return // nobody knows that it is over
		}
		if err != nil {
			t.Errorf("the end at its end: %v", err)
		}
		w.allowed(false)
		if r := w.recorded(g.ID); r.EndedAt.Sub(w.now).Abs() > time.Minute {
			t.Errorf("ended at %s, want %s", r.EndedAt, w.now)
		}
	})
}
