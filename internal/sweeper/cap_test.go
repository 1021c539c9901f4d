package sweeper_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// lost returns n bindings without an end whose markers say that they are over and that no ledger knows.
func lost(now time.Time, n int, named, role string) (all []jit.Observed) {
	over := jit.Window{Start: now.Add(-9 * time.Hour), End: now.Add(-8 * time.Hour)}
	for i := range n {
		b := jit.Binding{Target: "db", Principal: fmt.Sprint(named, i), Role: role}
		m := jit.Marker{Owner: "jit", ID: jit.NewID("jit", b, named, int64(i+1)), Window: over}
		all = append(all, jit.Observed{Marker: m, Principal: b.Principal, Role: role})
	}
	return all
}

// put sets what a scope holds.
func put(p *jittest.Platform, scope string, held []jit.Observed) {
	p.Edit(scope, func([]jit.Observed) []jit.Observed { return held })
}

// The cap on removals is spent on what gives most, and then in turn on each scope that needs it.
func TestTheCapIsSharedByTheScopes(t *testing.T) {
	for name, c := range map[string]struct {
		scopes, decoys int
		role           string
		most           int
	}{
		"many decoys of the same role in a few scopes": {19, 50, "admin", 20},
		"a decoy of a small role in each of many":      {100, 1, "reader", 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, jit.Sweeper)
			for n := range c.scopes {
				put(w.platform, fmt.Sprint("decoys ", n), lost(w.now, c.decoys, fmt.Sprint(n, " decoy "), c.role))
			}
			put(w.platform, "late", lost(w.now, 1, "mallory ", "admin"))
			w.broker.Targets["db"] = &late{w.platform, time.Now().Add(10 * time.Second)}
			most := func(s *sweeper.Sweeper) { s.MaxUnplanned = c.most }
			report := w.drifting(jit.RepairDrift, most).Pass(t.Context())
			if w.platform.Allowed("late", "mallory 0", "admin") {
				t.Errorf("%s used up the cap", name)
			}
			if done := len(report.Results); done != c.most || len(report.Held) != c.scopes*c.decoys+1-c.most {
				t.Errorf("%s: %d removals were made and %d held back, want %d made", name, done, len(report.Held),
					c.most)
			}
		})
	}
}

// Grants that came back on many scopes do not use up the cap before one that gives more.
func TestWhatCameBackIsRemovedWorstFirst(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	var all []jit.Grant
	for n := range 40 {
		r := request("1h")
		if r.Binding.Scope = fmt.Sprint("scope ", n); n == 17 {
			r.Binding.Role = "admin"
		}
		all = append(all, w.grant(r))
	}
	w.now = w.now.Add(2 * time.Hour)
	w.sweep()
	for _, g := range all {
		put(w.platform, g.Scope, []jit.Observed{{Marker: g.Marker(), Principal: g.Principal, Role: g.Role}})
	}
	w.drifting(jit.RepairDrift, func(s *sweeper.Sweeper) { s.MaxUnplanned = 1 }).Pass(t.Context())
	if g := all[17]; w.platform.Allowed(g.Scope, g.Principal, g.Role) {
		t.Error("what gives little used up the cap before what gives much")
	}
}

// Decoys on one target do not use up the cap of another, which the daemon looks at in the same interval.
func TestEachTargetHasItsCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db", "bastion")
		put(w.targets["db"], "decoys", lost(time.Now(), 50, "decoy ", "admin"))
		w.targets["bastion"].Call = func(string) error { time.Sleep(time.Second); return nil } // it is looked at last
		put(w.targets["bastion"], "real", lost(time.Now(), 1, "mallory ", "reader"))
		_, stop := w.watch("a")
		defer stop()
		time.Sleep(time.Minute)
		if w.targets["bastion"].Allowed("real", "mallory 0", "reader") {
			t.Error("decoys on another target used up the cap")
		}
	})
}

// late is a platform whose scope "late" does not answer before a time.
type late struct {
	*jittest.Platform
	until time.Time
}

func (p *late) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	if scope == "late" {
		time.Sleep(time.Until(p.until))
	}
	return p.Platform.Read(ctx, scope)
}

// A scope that does not answer holds no removal on another up.
func TestAScopeThatHangsHoldsNoRemovalUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, jit.Sweeper)
		put(w.platform, "real", lost(w.now, 1, "mallory ", "admin"))
		put(w.platform, "late", lost(w.now, 1, "decoy ", "admin"))
		w.broker.Targets["db"] = &late{w.platform, time.Now().Add(time.Hour)}
		done := make(chan struct{})
		go func() { w.drifting(jit.RepairDrift).Pass(t.Context()); close(done) }()
		time.Sleep(time.Minute)
		if w.platform.Allowed("real", "mallory 0", "admin") {
			t.Error("the removal waits for another scope")
		}
		<-done
		if w.platform.Allowed("late", "decoy 0", "admin") {
			t.Error("the scope that answered late was left out")
		}
	})
}

// A binding that is explained before the cap is spent, because another scope hung, is left alone.
func TestWhatIsExplainedMeanwhileIsNotRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, jit.Sweeper)
		w.now = time.Now()
		held := lost(w.now, 1, "bob ", "reader")
		put(w.platform, "real", held)
		put(w.platform, "late", lost(w.now, 1, "decoy ", "admin"))
		w.broker.Targets["db"] = &late{w.platform, time.Now().Add(time.Hour)}
		done := make(chan struct{})
		go func() { w.drifting(jit.RepairDrift).Pass(t.Context()); close(done) }()
		time.Sleep(10 * time.Second)
		g := held[0].Marker.Grant(jit.Binding{Target: "db", Scope: "real", Principal: "bob 0", Role: "reader"})
		g.End, g.GrantedAt, g.Enforcement = w.now.Add(time.Hour), g.Start, jit.Sweeper
		for _, err := range w.ledger.Write(t.Context(), []jit.Entry{{Grant: &g}}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		<-done
		if !w.platform.Allowed("real", "bob 0", "reader") {
			t.Error("a grant was removed that the ledger knew before its removal")
		}
	})
}

// Thousands of decoys on many scopes do not fill the record either.
func TestDecoysOnManyScopesDoNotFillTheRecord(t *testing.T) {
	for name, c := range map[string]struct {
		window func(now time.Time) jit.Window
		ends   bool
	}{
		"live": {func(now time.Time) jit.Window {
			return jit.Window{Start: now.Add(-time.Hour), End: now.Add(2 * time.Hour)}
		}, true},
		"over, without an end": {func(now time.Time) jit.Window {
			return jit.Window{Start: now.Add(-2 * time.Hour), End: now.Add(-time.Hour)}
		}, false},
		"over and idle": {func(now time.Time) jit.Window {
			return jit.Window{Start: now.Add(-2 * time.Hour), End: now.Add(-time.Hour)}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Native)
			for n := range 50 {
				held := lost(w.now, 100, fmt.Sprint(n, " decoy "), "reader")
				for i := range held {
					held[i].Marker.Window = c.window(w.now)
					if c.ends {
						held[i].End = held[i].Marker.Window.End
					}
				}
				put(w.platform, fmt.Sprint("decoys ", n), held)
			}
			w.drifting(jit.RepairDrift).Pass(t.Context())
			if wrote := len(w.events(jit.EventDrift, jit.EventRepaired)); wrote == 0 || wrote > 1200 {
				t.Errorf("5,000 decoys wrote %d events", wrote)
			}
		})
	}
}

// stuck is a platform whose scope "stuck" refuses every change, and whose scope "hung" answers no read in time. It does
// nothing when the time is over.
type stuck struct{ *jittest.Platform }

func (p *stuck) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	if scope == "hung" {
		<-ctx.Done()
	}
	if err := ctx.Err(); err != nil {
		return jit.Snapshot{}, err
	}
	return p.Platform.Read(ctx, scope)
}

func (p *stuck) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	err := ctx.Err()
	if scope == "stuck" {
		err = errors.New("a finalizer holds it")
	}
	if err != nil {
		return slices.Repeat([]error{err}, len(changes))
	}
	return p.Platform.Apply(ctx, scope, changes)
}

// What cannot be removed does not use up the cap for what can, however much it gives.
func TestARemovalThatFailsHoldsNoneUp(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	put(w.platform, "stuck", lost(w.now, sweeper.DefaultMaxUnplanned, "decoy ", "admin"))
	put(w.platform, "real", lost(w.now, 1, "mallory ", "reader"))
	w.broker.Targets["db"] = &stuck{w.platform}
	report := w.drifting(jit.RepairDrift).Pass(t.Context())
	if w.platform.Allowed("real", "mallory 0", "reader") {
		t.Error("the removals that fail have used up the cap")
	}
	if n := report.Failed(); n != sweeper.DefaultMaxUnplanned {
		t.Errorf("%d removals failed, want %d", n, sweeper.DefaultMaxUnplanned)
	}
}

// A scope that hangs until the time of a pass is over does not use up the time for removals on other scopes.
func TestAHungScopeLeavesTimeForRemovals(t *testing.T) {
	for _, timeout := range []time.Duration{5 * time.Second, 25 * time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, jit.Sweeper)
			put(w.platform, "real", lost(w.now, 1, "mallory ", "admin"))
			put(w.platform, "hung", lost(w.now, 1, "decoy ", "admin"))
			w.broker.Targets["db"] = &stuck{w.platform}
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			r := w.drifting(jit.RepairDrift).Pass(ctx)
			if w.platform.Allowed("real", "mallory 0", "admin") {
				t.Errorf("%s: the removal on another scope was not made: %+v", timeout, r.Results)
			}
		})
	}
}

// slowScopes is a platform whose scopes that begin with "slow" take a while to read.
type slowScopes struct {
	*jittest.Platform
	found time.Time // when the scope "real" was read
}

func (p *slowScopes) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	if strings.HasPrefix(scope, "slow") {
		time.Sleep(10 * time.Second)
	} else if p.found.IsZero() {
		p.found = time.Now()
	}
	return p.Platform.Read(ctx, scope)
}

// Scopes that finish one after the other do not hold a removal up for the whole pass.
func TestRemovalsDoNotWaitForALongPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, jit.Sweeper)
		put(w.platform, "real", lost(w.now, 1, "mallory ", "admin"))
		for n := range 400 {
			held := lost(w.now, 1, fmt.Sprint(n), "reader")
			held[0].Marker.Window.End = w.now.Add(time.Hour)
			held[0].End = held[0].Marker.Window.End
			put(w.platform, fmt.Sprint("slow ", n), held)
		}
		p := &slowScopes{Platform: w.platform}
		w.broker.Targets["db"] = p
		removed := time.Duration(-1)
		w.platform.Call = func(what string) error {
			if what == "written" && removed < 0 {
				removed = time.Since(p.found)
			}
			return nil
		}
		began := time.Now()
		w.drifting(jit.RepairDrift).Pass(t.Context())
		if removed < 0 || removed > 150*time.Second || time.Since(began) < 400*time.Second {
			t.Errorf("the removal was made %s after it was found, in a pass of %s", removed, time.Since(began))
		}
	})
}
