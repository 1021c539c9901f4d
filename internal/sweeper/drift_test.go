package sweeper_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// drifting makes a sweeper of its own with this setting for drift.
func (w *world) drifting(on jit.OnDrift, change ...func(*sweeper.Sweeper)) *sweeper.Sweeper {
	s := &sweeper.Sweeper{Broker: w.broker, Holder: "test", MaxUnplanned: sweeper.DefaultMaxUnplanned,
		OnDrift: map[string]jit.OnDrift{"db": on}}
	for _, c := range change {
		c(s)
	}
	return s
}

// events returns the events of some kinds.
func (w *world) events(kinds ...jit.EventKind) []jit.Event {
	w.t.Helper()
	var all []jit.Event
	for e, err := range w.broker.Ledger.Events(w.t.Context(), 1) {
		if err != nil {
			w.t.Fatal(err)
		}
		if slices.Contains(kinds, e.Kind) {
			all = append(all, e)
		}
	}
	return all
}

var everyWay = []jit.OnDrift{jit.RepairDrift, jit.RevokeDrift, jit.ReportDrift}

// A change that somebody makes in the right way while a pass reads is not drift, whatever the setting for drift is.
func TestWhatIsChangedDuringAPassIsNoDrift(t *testing.T) {
	for _, on := range everyWay {
		for name, change := range map[string]func(*world, jit.Grant){
			"longer": func(w *world, g jit.Grant) {
				if _, err := w.broker.Change(w.t.Context(), g, request("10h")); err != nil {
					w.t.Error(err)
				}
			},
			"shorter": func(w *world, g jit.Grant) {
				if _, err := w.broker.Change(w.t.Context(), g, request("7h")); err != nil {
					w.t.Error(err)
				}
			},
			"revoked": func(w *world, g jit.Grant) {
				if _, _, err := w.broker.Revoke(w.t.Context(), broker.Revocation{Grant: g, Reason: "done"}); err != nil {
					w.t.Error(err)
				}
			},
		} {
			t.Run(string(on)+" "+name, func(t *testing.T) {
				w := newWorld(t, jit.Native)
				g := w.grant(request("8h"))
				once := sync.OnceFunc(func() { change(w, g) })
				inside := false
				w.platform.Call = func(what string) error {
					if what == "read" && !inside {
						inside = true
						once()
					}
					return nil
				}
				report := w.drifting(on).Pass(t.Context())
				if len(report.Results) != 0 || len(report.Held) != 0 || len(report.Unread) != 0 {
					t.Errorf("the pass did %+v, held %+v, could not read %v", report.Results, report.Held,
						report.Unread)
				}
				for _, e := range w.events(jit.EventDrift, jit.EventRepaired) {
					t.Errorf("recorded: %s %v", e.Kind, e.Detail)
				}
				w.allowed(name != "revoked")
			})
		}
	}
}

// A grant that another sweeper ends during a pass is not reported as having come back.
func TestWhatAnotherSweeperEndsDuringAPassDidNotComeBack(t *testing.T) {
	for _, on := range everyWay {
		t.Run(string(on), func(t *testing.T) {
			w := newWorld(t, jit.Sweeper)
			g := w.grant(request("1h"))
			w.now = g.End
			if _, err := w.ledger.AcquireDue(t.Context(), jit.DueQuery{Owners: jit.Owners{"jit"}, Now: w.now,
				Holder: "another", Lease: time.Minute, Limit: 1}); err != nil {
				t.Fatal(err)
			}
			read, ended := false, false
			w.platform.Call = func(what string) error {
				read = read || what == "read"
				return nil
			}
			w.ledger.Call = func(what string) error {
				if what == "read" && read && !ended { // it was observed, and is now looked up
					ended = true
					if err := w.broker.Execute(t.Context(), []reconcile.Step{{Kind: reconcile.End, Place: g.Place(), Grant: g}})[0]; err != nil {
						t.Error(err)
					}
				}
				return nil
			}
			report := w.drifting(on).Pass(t.Context())
			if !ended {
				t.Fatal("nothing was ended meanwhile")
			}
			if len(report.Results) != 0 || len(report.Held) != 0 {
				t.Errorf("the pass did %+v, held %+v", report.Results, report.Held)
			}
			for _, e := range w.events(jit.EventDrift) {
				t.Errorf("recorded: %v", e.Detail)
			}
		})
	}
}

// sideBySide is a platform that answers its first reads in pairs, so that two sweepers see the same.
type sideBySide struct {
	*jittest.Platform
	mu      sync.Mutex
	arrived int
	pairs   []chan struct{}
}

func newSideBySide(p *jittest.Platform, pairs int) *sideBySide {
	s := &sideBySide{Platform: p, pairs: make([]chan struct{}, pairs)}
	for i := range s.pairs {
		s.pairs[i] = make(chan struct{})
	}
	return s
}

func (s *sideBySide) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	snapshot, err := s.Platform.Read(ctx, scope)
	s.mu.Lock()
	pair, second := s.arrived/2, s.arrived%2 == 1
	s.arrived++
	s.mu.Unlock()
	switch {
	case pair >= len(s.pairs):
	case second:
		close(s.pairs[pair])
	default:
		<-s.pairs[pair]
	}
	return snapshot, err
}

// Two sweepers that find the same drift, in turn or at once, record it once.
func TestTwoSweepersRecordOnce(t *testing.T) {
	gone := func([]jit.Observed) []jit.Observed { return nil }
	cases := map[string]struct {
		on    jit.OnDrift
		drift func(*world, jit.Grant)
		want  map[jit.EventKind]int
		done  string
	}{
		"repaired": {jit.RepairDrift, func(w *world, _ jit.Grant) { w.platform.Edit("all", gone) },
			map[jit.EventKind]int{jit.EventDrift: 1, jit.EventRepaired: 1}, ""},
		"revoked": {jit.RevokeDrift, func(w *world, _ jit.Grant) { w.platform.Edit("all", gone) },
			map[jit.EventKind]int{jit.EventDrift: 1, jit.EventRevokeAsked: 1, jit.EventRevoked: 1}, ""},
		"reported": {jit.ReportDrift, func(w *world, _ jit.Grant) { w.platform.Edit("all", gone) },
			map[jit.EventKind]int{jit.EventDrift: 1}, "nothing"},
		"removed": {jit.RepairDrift, func(w *world, g jit.Grant) {
			var was []jit.Observed
			w.platform.Edit("all", func(o []jit.Observed) []jit.Observed { was = slices.Clone(o); return o })
			w.now = g.End
			w.sweep()
			w.platform.Edit("all", func([]jit.Observed) []jit.Observed { return was })
		}, map[jit.EventKind]int{jit.EventDrift: 1, jit.EventRepaired: 1, jit.EventExpired: 1}, "to be removed"},
	}
	for name, c := range cases {
		for store, open := range map[string]func(*testing.T) jit.Ledger{
			"memory": func(*testing.T) jit.Ledger { return &jittest.Ledger{} },
			"sqlite": func(t *testing.T) jit.Ledger {
				l, err := ledger.Open(t.Context(), ledger.Config{URL: "sqlite://" + t.TempDir() + "/ledger.db"})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := l.Close(); err != nil {
						t.Error(err)
					}
				})
				return l
			},
		} {
			for _, atOnce := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, at once %t", name, store, atOnce), func(t *testing.T) {
					w := newWorld(t, jit.Sweeper)
					w.broker.Ledger = open(t)
					g := w.grant(request("1h"))
					c.drift(w, g)
					one, two := w.drifting(c.on), w.drifting(c.on, func(s *sweeper.Sweeper) { s.Holder = "two" })
					reports := make([]sweeper.Report, 2)
					if atOnce {
						w.broker.Targets["db"] = newSideBySide(w.platform, 2)
						var wg sync.WaitGroup
						wg.Go(func() { reports[0] = one.Pass(t.Context()) })
						wg.Go(func() { reports[1] = two.Pass(t.Context()) })
						wg.Wait()
					} else {
						reports[0], reports[1] = one.Pass(t.Context()), two.Pass(t.Context())
					}
					for _, r := range reports {
						if r.Failed() != 0 || len(r.Unread) != 0 {
							t.Errorf("%+v, could not read %v", r.Results, r.Unread)
						}
					}
					for kind, want := range c.want {
						events := w.events(kind)
						if len(events) != want {
							t.Errorf("%d events of the kind %s, want %d", len(events), kind, want)
						}
						for _, e := range events {
							if kind == jit.EventDrift &&
								(e.Detail["kind"] == "" || e.Detail["severity"] == "" || e.Detail["done"] != c.done) {
								t.Errorf("recorded %v, want a kind, a severity and done = %q", e.Detail, c.done)
							}
						}
					}
				})
			}
		}
	}
}

// A binding that was only reported, and is removed after the setting changes, is recorded as removed.
func TestWhatWasReportedAndIsRemovedIsRecorded(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	g := w.grant(request("1h"))
	var was []jit.Observed
	w.platform.Edit("all", func(o []jit.Observed) []jit.Observed { was = slices.Clone(o); return o })
	w.now = g.End
	w.sweep()
	w.platform.Edit("all", func([]jit.Observed) []jit.Observed { return was })
	none := func(s *sweeper.Sweeper) { s.MaxUnplanned = 0 }
	var done []string
	for _, s := range []*sweeper.Sweeper{
		w.drifting(jit.ReportDrift), w.drifting(jit.ReportDrift), w.drifting(jit.RepairDrift, none), w.drifting(jit.RepairDrift, none), w.drifting(jit.RepairDrift),
	} {
		w.now = w.now.Add(5 * time.Minute)
		s.Pass(t.Context())
	}
	for _, e := range w.events(jit.EventDrift) {
		done = append(done, e.Detail["done"])
	}
	for _, e := range w.events(jit.EventRepaired) {
		done = append(done, e.Detail["done"])
	}
	if want := []string{"nothing", "held back", "to be removed", "removed"}; !slices.Equal(done, want) {
		t.Errorf("recorded as %q, want %q", done, want)
	}
	w.allowed(false)
}

// A sweeper dies, or loses the ledger, after it repaired drift and before it recorded the repair. The record has the
// finding, and the next pass completes it.
func TestWhatWasRepairedAndNotRecorded(t *testing.T) {
	gone := func([]jit.Observed) []jit.Observed { return nil }
	longer := func(o []jit.Observed) []jit.Observed {
		o = slices.Clone(o)
		o[0].End = o[0].End.Add(time.Hour)
		return o
	}
	for name, c := range map[string]struct {
		edit    func([]jit.Observed) []jit.Observed
		lost    int // which of the two writes of a repair fails, the first or the second
		acted   bool
		settled bool
	}{
		"missing, the intent":      {gone, 1, false, false},
		"missing, the outcome":     {gone, 2, true, true},
		"a later end, the intent":  {longer, 1, true, false},
		"a later end, the outcome": {longer, 2, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Native)
			w.grant(request("8h"))
			w.platform.Edit("all", c.edit)
			s := w.drifting(jit.RepairDrift)
			observed, writes := false, 0
			w.platform.Call = func(string) error {
				observed = true
				return nil
			}
			w.ledger.Call = func(what string) error {
				if what != "write" || !observed { // before it, what is due is claimed
					return nil
				}
				if writes++; writes == c.lost {
					return errors.New("the ledger is gone")
				}
				return nil
			}
			_, before := w.platform.Calls()
			if report := s.Pass(t.Context()); report.Failed() != 1 {
				t.Errorf("%+v, want one that failed", report.Results)
			}
			if _, after := w.platform.Calls(); (after > before) != c.acted {
				t.Errorf("the platform was written to %d times, want it = %v", after-before, c.acted)
			}
			for range 3 {
				w.now = w.now.Add(5 * time.Minute)
				if report := s.Pass(t.Context()); report.Failed() != 0 || len(report.Unread) != 0 {
					t.Errorf("%+v, could not read %v", report.Results, report.Unread)
				}
			}
			found, repaired := w.events(jit.EventDrift), w.events(jit.EventRepaired)
			if len(found) != 1 || len(repaired) != 1 || (repaired[0].Detail["note"] != "") != c.settled {
				t.Errorf("recorded as found %v, as repaired %v, want one of each", found, repaired)
			}
		})
	}
}

// A finding that could not be recorded is recorded by the next pass of any sweeper.
func TestWhatCouldNotBeRecordedIsRecordedLater(t *testing.T) {
	for _, on := range []jit.OnDrift{jit.ReportDrift, jit.RepairDrift} {
		t.Run(string(on), func(t *testing.T) {
			w := newWorld(t, jit.Sweeper)
			g := w.grant(request("8h"))
			w.platform.Edit("all", func(o []jit.Observed) []jit.Observed {
				o = slices.Clone(o)
				lost := o[0]
				lost.Marker.ID, lost.Marker.Window.End = "cccccccc-0000-8000-8000-000000000000", g.Start.Add(
					time.Second)
				return append(o, lost)
			})
			w.now = w.now.Add(time.Minute)
			w.platform.Call = func(what string) error {
				if what == "read" {
					w.ledger.Call = func(what string) error {
						if what == "write" {
							return errors.New("the ledger is gone")
						}
						return nil
					}
				}
				return nil
			}
			if report := w.drifting(on).Pass(t.Context()); report.Failed() != 1 {
				t.Errorf("%+v, want one that failed", report.Results)
			}
			w.platform.Call, w.ledger.Call = nil, nil
			if on == jit.RepairDrift {
				return // it is off, whoever could not tell
			}
			for _, holder := range []string{"two", "test"} {
				w.now = w.now.Add(time.Second)
				w.drifting(on, func(s *sweeper.Sweeper) { s.Holder = holder }).Pass(t.Context())
			}
			if found := w.events(jit.EventDrift); len(found) != 1 {
				t.Errorf("recorded as found %v, want it once", found)
			}
		})
	}
}

// A finding whose repair fails at every pass is recorded once, and its failure once an hour.
func TestWhatCannotBeDoneIsRecordedOnceAnHour(t *testing.T) {
	for name, c := range map[string]struct {
		failure jit.EventKind
		drift   func(*world, jit.Grant)
	}{
		"missing": {jit.EventRepairFailed, func(w *world, _ jit.Grant) {
			w.platform.Edit("all", func([]jit.Observed) []jit.Observed { return nil })
		}},
		"orphan_over": {jit.EventRevokeFailed, func(w *world, g jit.Grant) {
			w.platform.Edit("all", func(o []jit.Observed) []jit.Observed {
				o = slices.Clone(o)
				lost := o[0]
				lost.Marker.ID, lost.Marker.Window.End = "cccccccc-0000-8000-8000-000000000000", g.Start.Add(time.Second)
				return append(o, lost)
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Sweeper)
			c.drift(w, w.grant(request("8h")))
			w.platform.Call = func(what string) error {
				if what == "write" {
					return errors.New("read only")
				}
				return nil
			}
			s := w.drifting(jit.RepairDrift)
			for range 13 { // a bit more than an hour
				w.now = w.now.Add(5 * time.Minute)
				if report := s.Pass(t.Context()); report.Failed() != 1 {
					t.Errorf("%+v, want one that failed", report.Results)
				}
			}
			found, failures := w.events(jit.EventDrift), w.events(c.failure)
			if len(found) != 1 || len(failures) != 2 {
				t.Errorf("%d findings and %d failures, want 1 and 2", len(found), len(failures))
			}
			for _, e := range slices.Concat(found, failures) {
				if e.Detail["kind"] != name || e.Detail["severity"] == "" ||
					strings.Contains(e.Detail["error"], "read only") != (e.Kind == c.failure) {
					t.Errorf("recorded: %s %v", e.Kind, e.Detail)
				}
			}
		})
	}
}

// Grants that today's policies do not permit are reported, or ended as far as the cap allows. Others stay.
func TestViolations(t *testing.T) {
	forbid := jit.Policy{Name: "freeze", Effect: jit.Forbid, Match: jit.Match{Principals: []string{"bad*"}}}
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
			t.Errorf("the pass did %+v", report.Results)
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
			t.Errorf("did %+v, held %+v", report.Results, report.Held)
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
	for name, most := range map[string]int{"too wide as well, revoked": 3, "too wide as well, held back and narrowed": 0} {
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
				t.Errorf("did %+v, held %+v", report.Results, report.Held)
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
			t.Errorf("%d grants were put back that no policy permits", n)
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
			if what == "read" && read && !changed { // the policies are read, after the scope
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
			t.Errorf("%+v, want a revocation that was not done", report.Results)
		}
		if g := w.recorded(g.ID); !changed || !g.RevokedAt.IsZero() {
			t.Errorf("the grant, which is permitted by now, was revoked: %q", g.RevokeReason)
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

// asked counts how often the ledger is asked to record a finding that it may have.
type asked struct {
	*jittest.Ledger
	n atomic.Int64
}

func (a *asked) Write(ctx context.Context, entries []jit.Entry) []error {
	for _, e := range entries {
		if e.Dedup.Name != "" {
			a.n.Add(1)
		}
	}
	return a.Ledger.Write(ctx, entries)
}

// A daemon records at the next visit what it could not record at this one.
func TestWatchRecordsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		g, err := w.broker.Grant(t.Context(), request("24h"))
		if err != nil {
			t.Fatal(err)
		}
		w.targets["db"].Edit("all", func([]jit.Observed) []jit.Observed { return nil })
		began := time.Now()
		w.ledger.Call = func(what string) error {
			if since := time.Since(began); what == "write" && since > time.Minute && since < 10*time.Minute {
				return errors.New("the ledger is gone")
			}
			return nil
		}
		time.Sleep(59 * time.Second)
		w.targets["db"].Call = func(string) error { time.Sleep(2 * time.Second); return nil }
		watcher := &sweeper.Watcher{Sweeper: sweeper.Sweeper{
			Broker: w.newBroker(), Holder: "a", OnDrift: map[string]jit.OnDrift{"db": jit.ReportDrift},
		}, Leases: w.ledger.Leases()}
		stop := run(t, watcher)
		for _, c := range []struct {
			after time.Duration
			want  int
		}{{9 * time.Minute, 0}, {17 * time.Minute, 1}} {
			time.Sleep(time.Until(began.Add(c.after)))
			if n := w.events(g, jit.EventDrift); n != c.want {
				t.Errorf("after %s it is recorded %d times, want %d", c.after, n, c.want)
			}
		}
		stop()
	})
}

// A daemon asks the ledger about a persistent finding once an hour, not at every pass. It is recorded once a day.
func TestWatchAsksOnceAnHourAboutWhatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		if _, err := w.broker.Grant(t.Context(), request("24h")); err != nil {
			t.Fatal(err)
		}
		w.targets["db"].Edit("all", func([]jit.Observed) []jit.Observed { return nil })
		b, ledger := w.newBroker(), &asked{Ledger: w.ledger}
		b.Ledger = ledger
		watcher := &sweeper.Watcher{Sweeper: sweeper.Sweeper{
			Broker: b, Holder: "a", OnDrift: map[string]jit.OnDrift{"db": jit.ReportDrift},
		}, Leases: w.ledger.Leases()}
		stop := run(t, watcher)
		time.Sleep(5*time.Hour + 30*time.Minute)
		stop()
		if n := ledger.n.Load(); n < 5 || n > 6 {
			t.Errorf("asked %d times in five and a half hours, want once an hour", n)
		}
		found := 0
		for e, err := range w.ledger.Events(t.Context(), 1) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == jit.EventDrift {
				found++
			}
		}
		if found != 1 {
			t.Errorf("recorded %d times, want once", found)
		}
	})
}
