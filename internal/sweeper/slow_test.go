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
