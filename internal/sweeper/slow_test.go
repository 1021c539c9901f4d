package sweeper_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// A single pass completes its work on a scope, however long that takes.
func TestSlowPassFinishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, jit.Sweeper)
		g := w.grant(request("1h"))
		w.now = g.End.Add(time.Minute)
		w.platform.Call = func(what string) error {
			if what != "read" {
				time.Sleep(6 * time.Minute)
			}
			return nil
		}
		if report := w.sweep(); report.Failed() > 0 || w.recorded(g.ID).EndedAt.IsZero() {
			t.Errorf("the end is recorded at %s, with results %+v", w.recorded(g.ID).EndedAt, report.Results)
		}
	})
}

// deaf is a platform that completes calls after their context has ended.
type deaf struct{ *jittest.Platform }

func (d deaf) Apply(_ context.Context, scope string, changes []jit.Change) []error {
	return d.Platform.Apply(context.Background(), scope, changes)
}

// The outcome of a call is recorded after the call's timeout.
func TestOutcomeIsRecordedAfterTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, jit.Sweeper)
		g := w.grant(request("1h"))
		w.now = g.End.Add(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		w.platform.Call = func(what string) error {
			if what == "written" {
				time.Sleep(2 * time.Minute)
			}
			return nil
		}
		w.broker.Targets["db"] = deaf{w.platform}
		s := &sweeper.Sweeper{Broker: w.broker, Holder: "test", DueOnly: true}
		s.Pass(ctx)
		if w.recorded(g.ID).EndedAt.IsZero() {
			t.Error("the end is not recorded")
		}
	})
}

// At most 16 scopes of a target are read at once. No other target waits for a slow one.
func TestSlowReadsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, jit.Sweeper)
		for i := range 50 {
			r := request("8h")
			r.Binding.Scope = fmt.Sprint("scope ", i)
			w.grant(r)
		}
		var now, most atomic.Int64
		w.platform.Call = func(what string) error {
			if what == "read" {
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				time.Sleep(2 * time.Minute)
				now.Add(-1)
			}
			return nil
		}
		if w.sweep(); most.Load() != 16 {
			t.Errorf("%d reads at once, want 16", most.Load())
		}
	})
}

// A ledger that answers each call just within its timeout delays no end: the markers say what is over. The end is
// recorded all the same.
func TestSlowLedgerDelaysNoEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		g := w.grant("db", "", "bob", "5m", time.Time{})
		d := w.watcher(sweeper.Sweeper{Broker: w.newBroker(), Holder: "one", MaxUnplanned: sweeper.DefaultMaxUnplanned})
		d.Interval = 10 * time.Second
		var pause atomic.Int64
		w.ledger.Call = func(string) error {
			time.Sleep(time.Duration(pause.Load()))
			return nil
		}
		stop := run(t, d)
		time.Sleep(4 * time.Minute)
		pause.Store(int64(19 * time.Second))
		time.Sleep(time.Until(g.End) + 25*time.Second)
		if w.holds(g) {
			t.Error("the access is there 25 seconds after its end")
		}
		time.Sleep(5 * time.Minute)
		stop()
		pause.Store(0)
		if r, _, err := w.ledger.Lookup(t.Context(), g.ID); err != nil || r.EndedAt.IsZero() {
			t.Error("the end is not recorded")
		}
	})
}

// While the ledger is only slow, its clock decides: a clock of this machine that is ahead ends nothing early.
func TestASlowLedgerTellsTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		w.ledger.Remote = time.Now
		w.targets["db"].Now = func() time.Time { return time.Time{} }
		g := w.grant("db", "", "bob", "1h", time.Time{})
		w.ledger.Call = func(string) error {
			time.Sleep(6 * time.Second)
			return nil
		}
		b := w.newBroker()
		b.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
		stop := run(t, w.watcher(sweeper.Sweeper{Broker: b, Holder: "one", MaxUnplanned: sweeper.DefaultMaxUnplanned}))
		time.Sleep(5 * time.Minute)
		if !w.holds(g) {
			t.Error("the access ended 55 minutes early")
		}
		stop()
	})
}

// Under a slow ledger, a scope that is slow too is swept by its markers once at a time.
func TestSweepsByMarkersDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		w.grant("db", "", "bob", "8h", time.Time{})
		d := w.watcher(sweeper.Sweeper{Broker: w.newBroker(), Holder: "one", MaxUnplanned: sweeper.DefaultMaxUnplanned})
		d.DriftInterval = 24 * time.Hour
		var slow atomic.Bool
		w.ledger.Call = func(string) error {
			if slow.Load() {
				time.Sleep(6 * time.Second)
			}
			return nil
		}
		var now, most atomic.Int64
		w.targets["db"].Call = func(what string) error {
			if what == "read" && slow.Load() {
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				time.Sleep(2 * time.Minute)
				now.Add(-1)
			}
			return nil
		}
		stop := run(t, d)
		time.Sleep(4 * time.Minute)
		slow.Store(true)
		time.Sleep(20 * time.Minute)
		if most.Load() != 1 {
			t.Errorf("%d reads of the scope at once, want 1", most.Load())
		}
		stop()
	})
}
