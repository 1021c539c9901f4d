package sweeper_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// newStrippable returns a world whose platform loses a binding's marker together with its end.
func newStrippable(t *testing.T) *world {
	w := newWorld(t, jit.Native)
	w.platform.Traits.StrippedTo = "reader"
	return w
}

// A tool that drops conditions makes temporary access permanent. The next sweep restores the windows of live grants and
// ends the expired ones.
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
	w.platform.Strip("all") // one grant is live, one has ended
	w.sweep()
	w.allowed(true)
	w.now = long.End
	w.allowed(false)
	if g := w.recorded(ended.ID); g.EndedAt.IsZero() {
		t.Error("the end of the expired grant is not recorded")
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

// Access from before the grant or from after its recorded end does not count as its stripped binding.
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
	t.Run("after the end, which another write carried out", func(t *testing.T) {
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
	t.Run("tidying does not end a live grant", func(t *testing.T) {
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

func refuseWrites(what string) error {
	if what == "write" {
		return errors.New("no permission")
	}
	return nil
}

// own is the access of request, given by hand.
var own = jit.Standing{Principal: "bob", Role: "reader", Detail: "by hand"}

// A failed grant leaves no binding that could become permanent. Access given by hand after the failure stays.
func TestAccessByHandAfterAFailedGrantStays(t *testing.T) {
	w := newStrippable(t)
	w.platform.Call = refuseWrites
	if _, err := w.broker.Grant(t.Context(), request("1h")); err == nil {
		t.Fatal("the grant was made")
	}
	w.platform.Call = nil
	w.platform.AddStanding("all", own)
	if report := w.sweep(); len(report.Results) != 0 {
		t.Errorf("the sweep did %+v", report.Results)
	}
	w.now = w.now.Add(2 * time.Hour)
	w.sweep()
	w.allowed(true)
}

// Somebody gives the access by hand between the read of the scope and the first write. The write changes nothing.
func TestAccessByHandBesideANewGrantStays(t *testing.T) {
	w := newStrippable(t)
	w.duringNextWrite(func() { w.platform.AddStanding("all", own) })
	g := w.grant(request("1h"))
	w.now = g.End
	w.allowed(true)
}

// A stripped binding of one grant stays for another grant only if that grant narrows it.
func TestOnlyAGrantThatNarrowsItKeepsWhatLostItsCondition(t *testing.T) {
	for name, another := range map[string]func(w *world, r broker.Request){
		"requested after the stripping": func(w *world, r broker.Request) {
			w.platform.Strip("all")
			w.grant(r)
		},
		"begins later": func(w *world, r broker.Request) {
			w.platform.Traits.NativeStart = true
			r.StartsAt = w.now.Add(3 * time.Hour)
			w.grant(r)
			w.platform.Strip("all")
		},
		"failed": func(w *world, r broker.Request) {
			w.platform.Call = refuseWrites
			if _, err := w.broker.Grant(t.Context(), r); err == nil {
				t.Fatal("the other grant was made")
			}
			w.platform.Call = nil
			w.platform.Strip("all")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newStrippable(t)
			short, long := w.grant(request("1h")), request("8h")
			long.Reason = "INC-2"
			another(w, long)
			w.now = short.End
			w.sweep()
			w.allowed(name == "requested after the stripping")
			w.now = w.now.Add(10 * time.Hour)
			w.sweep()
			w.allowed(false)
		})
	}
}

// Ending an expired grant also ends its binding if that has become permanent.
func TestRevokingWhatLostItsConditionEndsIt(t *testing.T) {
	w := newStrippable(t)
	g := w.grant(request("1h"))
	w.platform.Strip("all")
	w.now = g.End
	w.allowed(true)
	if _, _, err := w.broker.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "destroyed"}); err != nil {
		t.Fatal(err)
	}
	w.allowed(false)
}
