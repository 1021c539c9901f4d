package sweeper_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// A pass ends the grants of the ledger despite any number of decoys on any scopes.
func TestDecoysHoldNothingUp(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	g := w.grant(request("1h"))
	w.now = g.End.Add(time.Hour)
	w.drifting(jit.RepairDrift).Pass(t.Context())
	w.allowed(false)
	long := jit.Window{Start: g.Start.Add(-1000 * time.Hour), End: g.Start.Add(-999 * time.Hour)}
	decoy := func(n int) jit.Observed {
		id := jit.ID(fmt.Sprintf("00000000-0000-8000-8000-%012d", n))
		return jit.Observed{Marker: jit.Marker{Owner: g.Owner, ID: id, Window: long},
			Principal: fmt.Sprintf("decoy%d", n), Role: "admin"}
	}
	w.platform.Edit(g.Scope, func(all []jit.Observed) []jit.Observed {
		for n := range 10 {
			all = append(all, decoy(n))
		}
		return append(all, jit.Observed{Marker: g.Marker(), Principal: g.Principal, Role: g.Role})
	})
	for scope := range 5 {
		w.platform.Edit(fmt.Sprintf("decoys%d", scope), func([]jit.Observed) (all []jit.Observed) {
			for n := range 10 {
				all = append(all, decoy(100*scope+100+n))
			}
			return all
		})
	}
	w.allowed(true)
	report := w.drifting(jit.RepairDrift, func(s *sweeper.Sweeper) { s.MaxUnplanned = 3 }).Pass(t.Context())
	w.allowed(false)
	if len(report.Held) != 60-3 {
		t.Errorf("%d removals are held back, want all but three of the decoys", len(report.Held))
	}
}

// Thousands of decoys, which anyone who can write to a scope can make, fill neither the record nor the report.
func TestDecoysDoNotFillTheRecord(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request("8h"))
	hour := func(n int) time.Time { return w.now.Add(time.Duration(n) * time.Hour) }
	for name, window := range map[string]jit.Window{
		"live": {Start: hour(-1), End: hour(2)}, "over and idle": {Start: hour(-2), End: hour(-1)},
	} {
		t.Run(name, func(t *testing.T) {
			w.platform.Edit("decoys", func([]jit.Observed) (all []jit.Observed) {
				for n := range 2000 {
					id := jit.ID(fmt.Sprintf("00000000-0000-8000-8000-%012d", n))
					all = append(all, jit.Observed{Marker: jit.Marker{Owner: g.Owner, ID: id, Window: window},
						Principal: fmt.Sprintf("decoy%d", n), Role: "reader", End: window.End})
				}
				return all
			})
			before := len(w.events(jit.EventDrift, jit.EventRepaired))
			w.drifting(jit.RepairDrift).Pass(t.Context())
			if wrote := len(w.events(jit.EventDrift, jit.EventRepaired)) - before; wrote > 1001 {
				t.Errorf("the decoys wrote %d events", wrote)
			}
		})
	}
}

// Copies of known markers in other scopes hold up nothing that came back.
func TestCopiesHoldNothingUp(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	live, g := w.grant(request("8h")), w.grant(func() broker.Request {
		r := request("1h")
		r.Reason, r.Binding.Role = "INC-2", "admin"
		return r
	}())
	w.now = g.End.Add(time.Hour)
	w.drifting(jit.RepairDrift).Pass(t.Context())
	for scope := range 40 {
		w.platform.Edit(fmt.Sprintf("copies%d", scope), func([]jit.Observed) []jit.Observed {
			return []jit.Observed{{Marker: live.Marker(), Principal: "mallory", Role: "reader"}}
		})
	}
	w.platform.Edit(g.Scope, func(all []jit.Observed) []jit.Observed {
		return append(all, jit.Observed{Marker: g.Marker(), Principal: g.Principal, Role: g.Role})
	})
	w.drifting(jit.RepairDrift, func(s *sweeper.Sweeper) { s.MaxUnplanned = 1 }).Pass(t.Context())
	if w.platform.Allowed(g.Scope, g.Principal, g.Role) {
		t.Error("a copy used up the cap before a binding that came back")
	}
}
