package sweeper_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// own is the access of request, given by hand.
var own = jit.Standing{Principal: "bob", Role: "reader", Detail: "by hand"}

// A failed grant leaves nothing that somebody could have made permanent. Access that is given by hand after the
// failure stays.
func TestAccessByHandAfterAFailedGrantStays(t *testing.T) {
	w := newStrippable(t)
	w.platform.Call = func(what string) error { return map[string]error{"write": errors.New("no permission")}[what] }
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

// Somebody gives the access by hand between the read of the scope and the first write. That write adds nothing and
// takes nothing away.
func TestAccessByHandBesideANewGrantStays(t *testing.T) {
	w := newStrippable(t)
	w.duringNextWrite(func() { w.platform.AddStanding("all", own) })
	g := w.grant(request("1h"))
	w.now = g.End
	w.allowed(true)
}

// A stripped binding of one grant is left to another grant only if that grant narrows it.
func TestOnlyAGrantThatNarrowsItKeepsWhatLostItsCondition(t *testing.T) {
	for name, another := range map[string]func(w *world, r broker.Request){
		"asked for after it was stripped": func(w *world, r broker.Request) {
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
			w.platform.Call = func(what string) error { return map[string]error{"write": errors.New("no permission")}[what] }
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
			w.allowed(name == "asked for after it was stripped")
			w.now = w.now.Add(10 * time.Hour)
			w.sweep()
			w.allowed(false)
		})
	}
}

// Ending a grant that is over also ends its binding if that was made permanent before.
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
