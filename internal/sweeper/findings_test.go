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

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// sideBySide is a platform that answers its first reads in pairs, so that two sweepers get the same answer.
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

// A binding is first only reported, and removed after on_drift changes. The removal is recorded.
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
		w.drifting(jit.ReportDrift), w.drifting(jit.ReportDrift), w.drifting(jit.RepairDrift, none),
		w.drifting(jit.RepairDrift, none), w.drifting(jit.RepairDrift),
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
				return // the binding is removed without the record
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

// A finding whose repair fails in every pass is recorded once, and the failure once an hour.
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
				lost.Marker.ID = "cccccccc-0000-8000-8000-000000000000"
				lost.Marker.Window.End = g.Start.Add(time.Second)
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

// asked counts the writes with a dedup key.
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

// A daemon records a finding at the next visit if it could not at this one.
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
		watcher := w.watcher(sweeper.Sweeper{
			Broker: w.newBroker(), Holder: "a", OnDrift: map[string]jit.OnDrift{"db": jit.ReportDrift},
		})
		stop := run(t, watcher)
		for _, c := range []struct {
			after time.Duration
			want  int
		}{{9 * time.Minute, 0}, {17 * time.Minute, 1}} {
			time.Sleep(time.Until(began.Add(c.after)))
			if n := w.events(g, jit.EventDrift); n != c.want {
				t.Errorf("after %s the finding is recorded %d times, want %d", c.after, n, c.want)
			}
		}
		stop()
	})
}

// A daemon asks the ledger about a persistent finding once an hour, not in every pass. It is recorded once a day.
func TestWatchAsksOnceAnHourAboutWhatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		if _, err := w.broker.Grant(t.Context(), request("24h")); err != nil {
			t.Fatal(err)
		}
		w.targets["db"].Edit("all", func([]jit.Observed) []jit.Observed { return nil })
		b, ledger := w.newBroker(), &asked{Ledger: w.ledger}
		b.Ledger = ledger
		watcher := w.watcher(sweeper.Sweeper{
			Broker: b, Holder: "a", OnDrift: map[string]jit.OnDrift{"db": jit.ReportDrift},
		})
		stop := run(t, watcher)
		time.Sleep(5*time.Hour + 30*time.Minute)
		stop()
		if n := ledger.n.Load(); n < 5 || n > 6 {
			t.Errorf("the ledger was asked %d times in five and a half hours, want once an hour", n)
		}
		found := 0
		for e, err := range jit.AllEvents(t.Context(), w.ledger) {
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
