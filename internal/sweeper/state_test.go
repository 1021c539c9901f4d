package sweeper_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// leave puts expired bindings with our marker on the scope of a grant. No record explains them.
func (w *watched) leave(g jit.Grant, n int) {
	w.targets[g.Target].Edit(g.Scope, func(held []jit.Observed) []jit.Observed {
		for i := range n {
			o := held[0]
			o.Marker.ID = jit.NewID("jit", g.Binding, fmt.Sprint("lost ", i), 1)
			o.Marker.Window = jit.Window{Start: time.Now().Add(-2 * time.Hour), End: time.Now().Add(-time.Hour)}
			held = append(held, o)
		}
		return held
	})
}

// Steps held back on one target stay visible after a later visit of another.
func TestStateTellsTheDriftPassOfEveryTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db", "bastion")
		w.leave(w.grant("db", "a", "alice", "2h", time.Time{}), sweeper.DefaultMaxUnplanned+10)
		w.grant("bastion", "a", "bob", "2h", time.Time{})
		w.targets["bastion"].Call = func(string) error { time.Sleep(time.Second); return nil } // it finishes last
		watcher, stop := w.watch("a")
		defer stop()
		if before := watcher.State().Drift; !before["db"].At.IsZero() {
			t.Errorf("before the first pass: %+v", before)
		}
		time.Sleep(10 * time.Second)
		last := watcher.State().Drift
		if db, bastion := last["db"], last["bastion"]; len(last) != 2 || db.Held != 10 || bastion.Held != 0 ||
			db.At.IsZero() ||
			bastion.At.IsZero() {
			t.Errorf("the last passes: %+v", last)
		}
	})
}

// A watcher keeps its findings on a target until another watcher that checks it has had time to report its own.
func TestStateForgetsWhereAnotherLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db", "dark", "bastion")
		w.leave(w.grant("db", "a", "alice", "5h", time.Time{}), sweeper.DefaultMaxUnplanned+10)
		w.grant("dark", "a", "bob", "5h", time.Time{})
		w.targets["dark"].Call = func(string) error { return errors.New("no answer") }
		watcher, stop := w.watch("a")
		defer stop()
		listed := func() bool {
			s := watcher.State()
			return len(s.Found) > 0 && len(s.Unread) == 1 && s.Drift["db"].Held == 10 && !s.Drift["dark"].At.IsZero()
		}
		time.Sleep(sweeper.DefaultDriftInterval - time.Second)
		if !listed() {
			t.Errorf("after the first pass: %+v", watcher.State())
		}
		leases, now := w.ledger.Leases(), time.Now()
		for _, target := range []string{"db", "dark"} { // another watcher checks it from now on
			name := "drift/jit/" + target
			if err := leases.Renew(t.Context(), name, "a", 0, now); err != nil {
				t.Fatal(err)
			}
			_, ok, err := leases.Acquire(t.Context(), name, "b", now, now.Add(2*sweeper.DefaultDriftInterval))
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
		}
		time.Sleep(sweeper.DefaultDriftInterval)
		if !listed() {
			t.Errorf("during the other watcher's first check: %+v", watcher.State())
		}
		time.Sleep(time.Minute)
		s := watcher.State()
		if len(s.Found)+len(s.Unread) > 0 || s.Drift["db"] != (sweeper.Passed{}) ||
			s.Drift["dark"] != (sweeper.Passed{}) {
			t.Errorf("after the other watcher's check: %+v", s)
		}
		if since := time.Since(s.Drift["bastion"].At); since > sweeper.DefaultDriftInterval {
			t.Errorf("on a target without another watcher, the last pass is %s ago", since)
		}
	})
}

// Very many grants are stuck on one target. Those of another target are still counted.
func TestStateCountsWhatIsStuckOnEveryTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db", "bastion")
		for _, p := range w.targets {
			p.Call = func(what string) error { return map[string]error{"write": errors.New("503")}[what] }
		}
		watcher, stop := w.watch("a")
		defer stop()
		time.Sleep(time.Second) // the first check for drift
		end := time.Now().Add(2 * time.Second)
		var due []jit.Grant
		for n := range 1200 {
			due = append(due, dueGrant(n, "a", end))
		}
		late := dueGrant(len(due), "a", end.Add(time.Millisecond))
		late.Target = "bastion"
		w.record(append(due, late)...)
		time.Sleep(time.Until(late.End) + 100*time.Millisecond) // before any retry
		if s := watcher.State(); len(s.Stuck) != 1000 || s.StuckOn["db"] != 1200 || s.StuckOn["bastion"] != 1 {
			t.Errorf("%d are listed, the counts are %v", len(s.Stuck), s.StuckOn)
		}
	})
}
