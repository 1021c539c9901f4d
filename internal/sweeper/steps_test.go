package sweeper_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// A copy of a marker on another target does not close the record of remaining access.
func TestCopiedMarkerDoesNotEndTheRecord(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	other := &jittest.Platform{Traits: jit.Traits{Enforcement: jit.Sweeper}, Now: w.broker.Now}
	w.broker.Targets["db2"] = other
	g := w.grant(request("1h"))
	seen, err := w.platform.Read(t.Context(), "all")
	if err != nil {
		t.Fatal(err)
	}
	other.Edit("all", func(o []jit.Observed) []jit.Observed { return append(o, seen.Ours...) })
	w.platform.Call = func(string) error { return errors.New("unreachable") }
	w.now = g.End.Add(2 * time.Minute)
	w.sweep()
	if ended := w.recorded(g.ID).EndedAt; !ended.IsZero() {
		t.Errorf("ended_at is %s while the target is unreachable", ended)
	}
	if other.Allowed("all", "bob", "reader") {
		t.Error("the copy remains")
	}
	w.platform.Call = nil
	w.allowed(true)
	w.now = w.now.Add(5 * time.Minute)
	w.sweep()
	w.allowed(false)
	if w.recorded(g.ID).EndedAt.IsZero() {
		t.Error("the end is not recorded")
	}
}
