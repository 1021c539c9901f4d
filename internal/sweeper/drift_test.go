package sweeper_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// drifting returns a new sweeper with this setting for drift.
func (w *world) drifting(on jit.OnDrift, change ...func(*sweeper.Sweeper)) *sweeper.Sweeper {
	s := &sweeper.Sweeper{Broker: w.broker, Holder: "test", MaxUnplanned: sweeper.DefaultMaxUnplanned,
		OnDrift: map[string]jit.OnDrift{"db": on}}
	for _, c := range change {
		c(s)
	}
	return s
}

// A principal that somebody has made anew is another one: its grant is over, once and for all, and nothing fails after
// that.
func TestAPrincipalThatIsAnotherOneEndsTheGrant(t *testing.T) {
	for name, drift := range map[string]func([]jit.Observed) []jit.Observed{
		"missing": func([]jit.Observed) []jit.Observed { return nil },
		"there": func(o []jit.Observed) []jit.Observed {
			o = slices.Clone(o)
			o[0].Principal += " (another one)"
			return o
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Sweeper)
			g := w.grant(request("8h"))
			w.now = w.now.Add(time.Hour)
			w.platform.Another = map[string]bool{g.Principal: true}
			w.platform.Edit(g.Scope, drift)
			if report := w.drifting(jit.RepairDrift).Pass(t.Context()); report.Failed() != 1 ||
				!errors.Is(report.Results[0].Err, jit.ErrOver) {
				t.Errorf("the first pass: %+v", report.Results)
			}
			if r := w.recorded(g.ID); r.EndedAt.IsZero() || !strings.Contains(r.RevokeReason, "made anew") {
				t.Errorf("ended at %s: %q", r.EndedAt, r.RevokeReason)
			}
			w.platform.Edit(g.Scope, func(o []jit.Observed) []jit.Observed {
				if len(o) > 0 {
					t.Errorf("the platform holds %+v", o)
				}
				return o
			})
			if n := len(w.events(jit.EventDrift)); n != 1 {
				t.Errorf("the drift is recorded %d times", n)
			}
			w.now = w.now.Add(time.Hour)
			if report := w.drifting(jit.RepairDrift).Pass(t.Context()); len(report.Results)+len(report.Unread) > 0 {
				t.Errorf("a later pass: %+v", report)
			}
			if drift, err := w.broker.Observe(t.Context(), w.recorded(g.ID)); drift != "" || err != nil {
				t.Errorf("a later plan: %q, %v", drift, err)
			}
		})
	}
}

// events returns the events of some kinds.
func (w *world) events(kinds ...jit.EventKind) []jit.Event {
	w.t.Helper()
	var all []jit.Event
	for e, err := range jit.AllEvents(w.t.Context(), w.broker.Ledger) {
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

// A proper change of a grant during the reads of a pass is not drift, under any on_drift.
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
				done := broker.Revocation{Grant: g, Reason: "done"}
				if _, _, err := w.broker.Revoke(w.t.Context(), done); err != nil {
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
					t.Errorf("the pass: results %+v, held %+v, unread %v", report.Results, report.Held,
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

// A grant that another sweeper ends during a pass is not reported as back.
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
				if what == "read" && read && !ended { // the binding was observed, and now the record is read
					ended = true
					end := reconcile.Step{Kind: reconcile.End, Place: g.Place(), Grant: g}
					if err := w.broker.Execute(t.Context(), []reconcile.Step{end})[0]; err != nil {
						t.Error(err)
					}
				}
				return nil
			}
			report := w.drifting(on).Pass(t.Context())
			if !ended {
				t.Fatal("the other sweeper did not end the grant")
			}
			if len(report.Results) != 0 || len(report.Held) != 0 {
				t.Errorf("the pass: results %+v, held %+v", report.Results, report.Held)
			}
			for _, e := range w.events(jit.EventDrift) {
				t.Errorf("recorded: %v", e.Detail)
			}
		})
	}
}

// A sweeper dies or loses the ledger between the repair of drift and its record. The record has the finding, and the
// next pass completes it.
func TestWhatWasRepairedAndNotRecorded(t *testing.T) {
	gone := func([]jit.Observed) []jit.Observed { return nil }
	longer := func(o []jit.Observed) []jit.Observed {
		o = slices.Clone(o)
		o[0].End = o[0].End.Add(time.Hour)
		return o
	}
	for name, c := range map[string]struct {
		edit    func([]jit.Observed) []jit.Observed
		lost    int // the number of the failing write, of the two of a repair
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
				if what != "write" || !observed { // earlier writes claim due work
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
				t.Errorf("the platform was written to %d times, want a write: %v", after-before, c.acted)
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
