package broker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func TestChangeMovesTheEndFromTheSameBeginning(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request())
	begun := w.now
	w.pass(time.Hour)
	for _, tt := range []struct {
		ttl  string
		want time.Time
	}{{"4h", begun.Add(4 * time.Hour)}, {"90m", begun.Add(90 * time.Minute)}, {"1h30m", begun.Add(90 * time.Minute)}} {
		g, err := w.Change(t.Context(), g, request(func(r *broker.Request) { r.TTL = jit.RecordedTTL(tt.ttl) }))
		if err != nil {
			t.Fatal(err)
		}
		if !g.End.Equal(tt.want) {
			t.Errorf("ttl %s ends at %s, want %s", tt.ttl, g.End, tt.want)
		}
	}
	_, err := w.Change(t.Context(), g, request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("25h") }))
	wantError(t, err, jit.ErrInvalid, "ttl", "1d1h", "1d")
	w.pass(30 * time.Minute)
	w.allowed(false)
	_, err = w.Change(t.Context(), g, request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("5h") }))
	wantError(t, err, jit.ErrOver, "renewal = 2")
	w.mustWrite(0, func() {
		if _, err := w.Change(t.Context(), g,
			request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("90m") })); err != nil {
			t.Errorf("a change that changes nothing: %v", err)
		}
	})
}

func TestDriftIsRepairedWithinTheWindow(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request())
	w.platform.Edit("all", func([]jit.Observed) []jit.Observed { return nil })
	w.pass(time.Hour)
	if drift, err := w.Observe(t.Context(), g); err != nil || drift != "missing" {
		t.Errorf("Observe = %q, %v", drift, err)
	}
	known := len(w.kinds())
	w.platform.Call = func(what string) error {
		if told := w.kinds()[known:]; what == "write" && !slices.Equal(told, []jit.EventKind{jit.EventDrift}) {
			t.Errorf("before the write to the platform the ledger has the events %v", told)
		}
		return nil
	}
	repaired, err := w.Change(t.Context(), g, request())
	w.platform.Call = nil
	if err != nil {
		t.Fatal(err)
	}
	if !repaired.Window.Equal(g.Window) || repaired.OpenDrift != "" {
		t.Errorf("repaired with window %v, want %v; open drift %q", repaired.Window, g.Window, repaired.OpenDrift)
	}
	if told := w.kinds()[known:]; !slices.Equal(told, []jit.EventKind{jit.EventDrift, jit.EventRepaired}) {
		t.Errorf("the ledger has the events %v", told)
	}
	w.mustWrite(0, func() {
		if _, err := w.Change(t.Context(), g, request()); err != nil {
			t.Errorf("a change with nothing to repair: %v", err)
		}
	})
	w.allowed(true)
	w.pass(time.Hour)
	w.allowed(false)
	if drift, err := w.Observe(t.Context(), repaired); err != nil || drift != "" {
		t.Errorf("after the end, Observe = %q, %v", drift, err)
	}
}
