package sweeper_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// leave puts bindings with our mark on the scope of a grant that are over and that no record explains.
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

// What the cap holds back on one target shows whatever is found on another one later.
func TestStateTellsTheDriftPassOfEveryTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db", "bastion")
		w.leave(w.grant("db", "a", "alice", "2h", time.Time{}), sweeper.DefaultMaxUnplanned+10)
		w.grant("bastion", "a", "bob", "2h", time.Time{})
		w.targets["bastion"].Call = func(string) error { time.Sleep(time.Second); return nil } // it is done last
		watcher, stop := w.watch("a")
		defer stop()
		if before := watcher.State().Drift; !before["db"].At.IsZero() {
			t.Errorf("before the first pass: %+v", before)
		}
		time.Sleep(10 * time.Second)
		last := watcher.State().Drift
		if db, bastion := last["db"], last["bastion"]; len(last) != 2 || db.Held != 10 || bastion.Held != 0 || db.At.IsZero() || bastion.At.IsZero() {
			t.Errorf("the last passes: %+v", last)
		}
	})
}
