package sweeper_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// newStrippable is a world whose platform loses a binding's marker with its end.
func newStrippable(t *testing.T) *world {
	w := newWorld(t, jit.Native)
	w.platform.Traits.StrippedTo = "reader"
	return w
}

// A tool that drops conditions makes temporary access permanent. The next sweep narrows live grants to their windows
// again and ends those that are over.
func TestWhatLostItsConditionIsNarrowedOrEnded(t *testing.T) {
	w := newStrippable(t)
	long, short := w.grant(request("8h")), request("1h")
	short.Reason = "INC-2"
	ended := w.grant(short)
	w.now = w.now.Add(30 * time.Minute)
	w.platform.Strip("all")

	report := w.sweep()
	for _, r := range report.Results {
		if r.Err != nil || r.Kind != reconcile.Repair || !strings.HasPrefix(r.Reason, jit.Stripped) {
			t.Errorf("%s: %s, %v", r.Kind, r.Reason, r.Err)
		}
	}
	if len(report.Results) != 2 {
		t.Errorf("%d steps, want two repairs", len(report.Results))
	}
	w.now = ended.End.Add(time.Second)
	w.allowed(true)
	w.platform.Strip("all") // one grant is live, one is over
	w.sweep()
	w.allowed(true)
	w.now = long.End
	w.allowed(false)
	if g := w.recorded(ended.ID); g.EndedAt.IsZero() {
		t.Error("the end of what was over is not recorded")
	}

	w.now = w.now.Add(time.Hour)
	again := request("1h")
	again.Renewal = 2
	w.grant(again)
	w.now = w.now.Add(time.Hour)
	w.platform.Strip("all")
	w.allowed(true)
	w.sweep()
	w.allowed(false)
}

// Access from before the grant, or from after its recorded end, is not taken for a stripped binding of it.
func TestStandingAccessIsNotTakenForWhatLostItsCondition(t *testing.T) {
	own := jit.Standing{Principal: "bob", Role: "reader", Detail: "by hand"}
	t.Run("before", func(t *testing.T) {
		w := newStrippable(t)
		w.platform.AddStanding("all", own)
		g := w.grant(request("1h"))
		w.platform.Edit("all", func([]jit.Observed) []jit.Observed { return nil })
		w.sweep()
		w.allowed(true)
		w.now = g.End
		w.sweep()
		w.allowed(true)
		if g := w.recorded(g.ID); g.EndedAt.IsZero() {
			t.Error("the end is not recorded")
		}
	})
	t.Run("after the end, which went with another write", func(t *testing.T) {
		w := newStrippable(t)
		g := w.grant(request("1h"))
		w.now = g.End
		w.platform.Edit("all", func([]jit.Observed) []jit.Observed { return nil })
		if err := w.broker.Tidied(t.Context(), []jit.Marker{g.Marker(), {Owner: "another", ID: g.ID}}); err != nil {
			t.Fatal(err)
		}
		w.platform.AddStanding("all", own)
		w.sweep()
		w.allowed(true)
	})
	t.Run("what is live is not ended by being tidied", func(t *testing.T) {
		w := newStrippable(t)
		g := w.grant(request("1h"))
		if err := w.broker.Tidied(t.Context(), []jit.Marker{g.Marker()}); err != nil {
			t.Fatal(err)
		}
		if !w.recorded(g.ID).EndedAt.IsZero() {
			t.Error("a live grant is recorded as ended")
		}
	})
}
