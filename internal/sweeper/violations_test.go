package sweeper_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// Grants that today's policies do not permit are reported, or revoked up to the cap. Others stay.
func TestViolations(t *testing.T) {
	forbid := jit.Policy{Name: "freeze", Effect: jit.Forbid, Match: jit.Matches{{Principals: []string{"bad*"}}}}
	permit := jit.Policy{Name: "all", Effect: jit.Permit}
	setUp := func(t *testing.T, policies ...jit.Policy) (*world, jit.Grant) {
		w := newWorld(t, jit.Sweeper)
		for i := range 3 {
			r := request("8h")
			r.Binding.Principal = fmt.Sprint("bad ", i)
			r.Binding.Scope = fmt.Sprint("scope ", i)
			w.grant(r)
		}
		good := w.grant(request("8h"))
		for _, p := range policies {
			if err := w.broker.PutPolicy(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		return w, good
	}
	revoke := func(s *sweeper.Sweeper) { s.RevokeViolations = true }
	t.Run("no policy", func(t *testing.T) {
		w, _ := setUp(t)
		if report := w.drifting(jit.RepairDrift, revoke).Pass(t.Context()); len(report.Results) != 0 {
			t.Errorf("the results are %+v", report.Results)
		}
	})
	t.Run("reported once", func(t *testing.T) {
		w, _ := setUp(t, forbid, permit)
		for range 3 {
			report := w.drifting(jit.RevokeDrift).Pass(t.Context())
			if len(report.Results) != 3 {
				t.Errorf("%d steps, want 3", len(report.Results))
			}
			for _, r := range report.Results {
				if r.Kind != reconcile.Report || r.Drift != jit.DriftViolation || r.Severity != jit.Warning ||
					!strings.Contains(r.Reason, `"freeze"`) {
					t.Errorf("%+v", r)
				}
			}
		}
		if n := len(w.events(jit.EventDrift)); n != 3 {
			t.Errorf("%d events, want 3", n)
		}
		if _, writes := w.platform.Calls(); writes != 4 {
			t.Errorf("%d writes, want the 4 grants", writes)
		}
	})
	t.Run("revoked up to the cap", func(t *testing.T) {
		w, good := setUp(t, forbid, permit)
		report := w.drifting(jit.ReportDrift, revoke, func(s *sweeper.Sweeper) { s.MaxUnplanned = 2 }).Pass(t.Context())
		if len(report.Results) != 2 || report.Failed() != 0 || len(report.Held) != 1 {
			t.Errorf("results %+v, held %+v", report.Results, report.Held)
		}
		for _, r := range report.Results {
			g := w.recorded(r.Grant.ID)
			if g.EndedAt.IsZero() || !strings.Contains(g.RevokeReason, "policies") ||
				!strings.Contains(g.RevokeReason, `"freeze"`) {
				t.Errorf("ended at %s because of %q", g.EndedAt, g.RevokeReason)
			}
		}
		if g := w.recorded(good.ID); !g.RevokedAt.IsZero() {
			t.Error("a permitted grant was revoked")
		}
	})
	for name, most := range map[string]int{
		"too wide as well, revoked": 3, "too wide as well, held back and narrowed": 0,
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := setUp(t, forbid, permit)
			wide := make([]jit.ID, 3)
			for i := range wide {
				w.platform.Edit(fmt.Sprint("scope ", i), func(o []jit.Observed) []jit.Observed {
					o = slices.Clone(o)
					wide[i] = o[0].Marker.ID
					o[0].Role = "owner"
					return o
				})
			}
			report := w.drifting(jit.RepairDrift, revoke, func(s *sweeper.Sweeper) { s.MaxUnplanned = most }).
				Pass(t.Context())
			if len(report.Results) != 3 || report.Failed() != 0 || len(report.Held) != 3-most {
				t.Errorf("results %+v, held %+v", report.Results, report.Held)
			}
			for i, id := range wide {
				if g := w.recorded(id); g.EndedAt.IsZero() != (most == 0) || g.OpenDrift != "" {
					t.Errorf("grant %s: ended at %s, open drift %q", id, g.EndedAt, g.OpenDrift)
				}
				w.platform.Edit(fmt.Sprint("scope ", i), func(o []jit.Observed) []jit.Observed {
					if len(o) != 1-most/3 || len(o) == 1 && o[0].Role != "reader" {
						t.Errorf("on the platform: %+v", o)
					}
					return o
				})
			}
		})
	}
	t.Run("not put back first", func(t *testing.T) {
		w, _ := setUp(t, forbid, permit)
		for i := range 3 {
			w.platform.Edit(fmt.Sprint("scope ", i), func([]jit.Observed) []jit.Observed { return nil })
		}
		report := w.drifting(jit.RepairDrift, revoke).Pass(t.Context())
		if len(report.Results) != 3 {
			t.Errorf("%d steps, want 3", len(report.Results))
		}
		for _, r := range report.Results {
			if r.Kind != reconcile.Revoke {
				t.Errorf("%s for %s, want revoke", r.Kind, r.Drift)
			}
		}
		if n := len(w.events(jit.EventRepaired)); n != 0 {
			t.Errorf("%d grants that no policy permits were put back", n)
		}
	})
	t.Run("changed meanwhile", func(t *testing.T) {
		short := jit.Policy{Name: "short", Effect: jit.Permit, MaxTTL: 2 * time.Hour}
		w := newWorld(t, jit.Sweeper)
		g := w.grant(request("8h"))
		if err := w.broker.PutPolicy(t.Context(), short); err != nil {
			t.Fatal(err)
		}
		changed, read := false, false
		w.platform.Call = func(what string) error { read = read || what == "read"; return nil }
		w.ledger.Call = func(what string) error {
			if what == "read" && read && !changed { // the scope is read, and the policies are next
				changed = true
				if _, err := w.broker.Change(t.Context(), g, request("1h")); err != nil {
					t.Error(err)
				}
			}
			return nil
		}
		if report := w.drifting(jit.RepairDrift, revoke).
			Pass(t.Context()); len(report.Results) != 1 ||
			report.Failed() != 1 {
			t.Errorf("%+v, want an abandoned revocation", report.Results)
		}
		if g := w.recorded(g.ID); !changed || !g.RevokedAt.IsZero() {
			t.Errorf("the grant was revoked although it is permitted by now: %q", g.RevokeReason)
		}
	})
	t.Run("one read of the policies", func(t *testing.T) {
		w, _ := setUp(t, permit)
		counted := &policyReads{Ledger: w.ledger}
		w.broker.Ledger = counted
		w.drifting(jit.RepairDrift).Pass(t.Context())
		if counted.n != 1 {
			t.Errorf("the policies were read %d times for 4 scopes, want once", counted.n)
		}
	})
}

// policyReads counts how often the policies are read.
type policyReads struct {
	*jittest.Ledger
	mu sync.Mutex
	n  int
}

func (p *policyReads) Policies(ctx context.Context) ([]jit.Policy, error) {
	p.mu.Lock()
	p.n++
	p.mu.Unlock()
	return p.Ledger.Policies(ctx)
}
