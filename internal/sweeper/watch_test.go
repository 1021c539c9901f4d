package sweeper_test

import (
	"context"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

func TestWatchEndsAndStartsInTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		_, stop := w.watch("a")
		defer stop()
		time.Sleep(10 * time.Second)
		short, long := w.grant("db", "a", "alice", "1m", time.Time{}), w.grant("db", "a", "bob", "10m", time.Time{})
		later := w.grant("db", "b", "carol", "5m", time.Now().Add(2*time.Minute))
		time.Sleep(time.Until(short.End) - time.Millisecond)
		w.want(short, true, "before its end")
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		w.want(short, false, "after its end")
		w.want(long, true, "inside its window")
		time.Sleep(time.Until(later.Start) - time.Millisecond)
		w.want(later, false, "before its start")
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		w.want(later, true, "after its start")
		time.Sleep(time.Until(long.End) + time.Second)
		w.want(later, false, "after its end")
		w.want(long, false, "after its end")
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.lags) != 4 || slices.Max(w.lags) > time.Second {
			t.Errorf("lags %v, want 4 of at most a second", w.lags)
		}
	})
}

// A grant that somebody else revokes is found at the next poll, not at the next interval.
func TestWatchFindsWhatIsEndedEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		_, stop := w.watch("a")
		defer stop()
		g := w.grant("db", "a", "alice", "1h", time.Time{})
		time.Sleep(5 * time.Second)
		g, _, err := w.ledger.Lookup(t.Context(), g.ID)
		if err != nil {
			t.Fatal(err)
		}
		w.revoke(g, time.Now())
		time.Sleep(2 * time.Second)
		w.want(g, false, "two seconds after it was revoked")
	})
}

func TestWatchWithNothingDueMakesNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		w.grant("db", "a", "alice", "10h", time.Time{})
		w.grant("db", "b", "bob", "10h", time.Time{})
		var count atomic.Int64
		w.targets["db"].Call = func(string) error { count.Add(1); return nil }
		_, stop := w.watch("a")
		defer stop()
		time.Sleep(time.Second)
		if calls := count.Load(); calls != 2 {
			t.Errorf("the first drift pass made %d calls, want one for each of two scopes", calls)
		}
		time.Sleep(sweeper.DefaultDriftInterval - 2*time.Second)
		if calls := count.Load(); calls != 2 {
			t.Errorf("%d calls until the next drift pass, want none more than 2", calls)
		}
		time.Sleep(3 * time.Second)
		if calls := count.Load(); calls != 4 {
			t.Errorf("%d calls after the second drift pass, want 4", calls)
		}
	})
}

// Two watchers share the due work. When one dies, the other takes over its claims.
func TestWatchersTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		g := w.grant("db", "a", "alice", "2m", time.Time{})
		// A claim whose holder dies at once.
		time.Sleep(time.Until(g.End))
		if claimed, err := w.ledger.AcquireDue(t.Context(), jit.DueQuery{Owners: jit.Owners{"jit"}, Now: time.Now(),
			Holder: "dead", Lease: 30 * time.Second, Limit: 10}); err != nil || len(claimed) != 1 {
			t.Fatal(claimed, err)
		}
		_, stop := w.watch("a")
		defer stop()
		_, stopToo := w.watch("b")
		defer stopToo()
		time.Sleep(29 * time.Second)
		w.want(g, true, "while the lease lasts")
		time.Sleep(2 * time.Second)
		w.want(g, false, "after the lease")
		if n := w.events(g, jit.EventExpired); n != 1 {
			t.Errorf("%d events record its end, want 1", n)
		}
	})
}

// The ledger is unreachable. A grant that has expired by its marker ends, and the end is recorded when the ledger is
// back.
func TestWatchWithoutLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		g := w.grant("db", "a", "alice", "2m", time.Time{})
		live := w.grant("db", "a", "bob", "2h", time.Time{})
		gone := w.mayBeGone()
		watcher, stop := w.watch("a")
		defer stop()
		time.Sleep(10 * time.Second)
		gone.Store(true)
		time.Sleep(time.Until(g.End) + time.Minute + 10*time.Second)
		w.want(g, false, "a minute after its end")
		w.want(live, true, "inside its window")
		if watcher.State().LedgerError == nil {
			t.Error("the state does not report the unreachable ledger")
		}
		gone.Store(false)
		time.Sleep(15 * time.Second)
		if watcher.State().LedgerError != nil {
			t.Errorf("the ledger is back: %v", watcher.State().LedgerError)
		}
		if n := w.events(g, jit.EventExpired); n != 1 {
			t.Errorf("%d events record its end, want 1", n)
		}
	})
}

// A start was carried out but not recorded, because the ledger was unreachable. The grant's end does not wait for
// another try of the start.
func TestWatchEndDoesNotWaitForAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		g := w.grant("db", "a", "alice", "21m", time.Now().Add(time.Minute))
		gone := w.mayBeGone()
		w.targets["db"].Call = func(what string) error {
			if what == "write" {
				gone.Store(true)
			}
			return nil
		}
		_, stop := w.watch("a")
		defer stop()
		time.Sleep(time.Until(g.End) - 15*time.Second)
		w.want(g, true, "before its end")
		w.targets["db"].Call = nil
		gone.Store(false)
		time.Sleep(time.Until(g.End) + 2*time.Second)
		w.want(g, false, "two seconds after its end")
		if n := w.events(g, jit.EventExpired); n != 1 {
			t.Errorf("%d events record its end, want 1", n)
		}
	})
}

// A grant that starts late ends on time, although its claim lasts longer.
func TestWatchEndsInTheSecondWhatBeganLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		g := w.grant("db", "a", "alice", "2m", time.Now().Add(time.Minute))
		time.Sleep(time.Until(g.End) - 10*time.Second)
		_, stop := w.watch("a")
		defer stop()
		time.Sleep(time.Second)
		w.want(g, true, "begun late")
		time.Sleep(time.Until(g.End) + time.Second)
		w.want(g, false, "a second after its end")
	})
}

// A stopping watcher waits for the running call and records its outcome.
func TestWatchStopsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		g := w.grant("db", "a", "alice", "2m", time.Time{})
		w.targets["db"].Call = func(what string) error {
			if what == "write" {
				time.Sleep(10 * time.Second)
			}
			return nil
		}
		_, stop := w.watch("a")
		time.Sleep(time.Until(g.End) + time.Second)
		w.want(g, true, "during the call")
		began := time.Now()
		stop()
		if took := time.Since(began); took != 9*time.Second {
			t.Errorf("the watcher stopped after %s, want the remaining 9s of the call", took)
		}
		if n := w.events(g, jit.EventExpired); n != 1 {
			t.Errorf("%d events record its end, want 1", n)
		}
	})
}

// Drift is repaired at the interval, by one of the watchers, with the cap of a pass.
func TestWatchPutsDriftRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		g := w.grant("db", "a", "alice", "2h", time.Time{})
		_, stop := w.watch("a")
		defer stop()
		_, stopToo := w.watch("b")
		defer stopToo()
		time.Sleep(time.Second)
		w.targets["db"].Edit("a", func(held []jit.Observed) []jit.Observed {
			held[0].Principal = "mallory"
			return held
		})
		time.Sleep(sweeper.DefaultDriftInterval + time.Minute)
		s, err := w.targets["db"].Read(t.Context(), "a")
		if err != nil || len(s.Ours) != 1 || s.Ours[0].Principal != "alice" {
			t.Errorf("%+v, %v", s.Ours, err)
		}
		if n := w.events(g, jit.EventRepaired); n != 1 {
			t.Errorf("%d repaired events, want 1", n)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.steps) != 1 || w.steps[0].Kind != reconcile.Repair {
			t.Errorf("steps %+v", w.steps)
		}
	})
}

// silent is a ledger that lists nothing as due, as after tampering.
type silent struct{ *jittest.Ledger }

func (silent) AcquireDue(context.Context, jit.DueQuery) ([]jit.Grant, error) { return nil, nil }

func (l silent) Grants(ctx context.Context, f jit.Filter) iter.Seq2[jit.Grant, error] {
	if !f.DueBy.IsZero() {
		return func(func(jit.Grant, error) bool) {}
	}
	return l.Ledger.Grants(ctx, f)
}

// The lag of an end that only a drift check finds is not measured, because it does not show the speed of due work.
func TestWatchTimesOnlyDueWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		g := w.grant("db", "a", "alice", "2m", time.Time{})
		watcher := w.watcher(
			sweeper.Sweeper{Broker: w.newBroker(), Holder: "a", MaxUnplanned: sweeper.DefaultMaxUnplanned},
		)
		watcher.Broker.Ledger = silent{w.ledger}
		defer run(t, watcher)()
		time.Sleep(30 * time.Minute)
		w.want(g, false, "half an hour later")
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.steps) == 0 || len(w.lags) > 0 {
			t.Errorf("steps %+v, lags %v, want a step without a lag", w.steps, w.lags)
		}
	})
}
