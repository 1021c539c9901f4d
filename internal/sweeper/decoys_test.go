package sweeper_test

import (
	"fmt"
	"testing"
	"time"

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
