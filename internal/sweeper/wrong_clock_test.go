package sweeper_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// clockCase is a process whose clock is wrong, beside a ledger and a target that tell the time or do not.
type clockCase struct {
	wrong          time.Duration
	ledger, target bool
}

// noticed reports whether the process can know that its clock is wrong: a clock that is behind is also noticed by the
// events of a ledger without a clock.
func (c clockCase) noticed() bool { return c.ledger || c.target || c.wrong < 0 }

// told reports whether another clock tells the time.
func (c clockCase) told() bool { return c.ledger || c.target }

func underWrongClocks(t *testing.T, test func(t *testing.T, c clockCase, w *watched, wrong *broker.Broker)) {
	for _, wrong := range []time.Duration{24 * time.Hour, -24 * time.Hour, 5 * time.Minute, -5 * time.Minute} {
		for _, told := range [][2]bool{{true, true}, {true, false}, {false, true}, {false, false}} {
			c := clockCase{wrong, told[0], told[1]}
			t.Run(fmt.Sprintf("off by %s, ledger has a clock %t, target %t", wrong, c.ledger, c.target),
				func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := newWatched(t, "db")
						if c.ledger {
							w.ledger.Remote = time.Now
						}
						if !c.target {
							w.targets["db"].Now = func() time.Time { return time.Time{} }
						}
						b := w.newBroker()
						b.Now = func() time.Time { return time.Now().Add(wrong) }
						test(t, c, w, b)
					})
				})
		}
	}
}

// A process with a wrong clock grants, changes and begins nothing, if anything can tell it that its clock is wrong.
func TestNothingBeginsByAWrongClock(t *testing.T) {
	underWrongClocks(t, func(t *testing.T, c clockCase, w *watched, b *broker.Broker) {
		live := w.grant("db", "a", "alice", "2h", time.Time{})
		if !c.noticed() {
			return
		}
		refused := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, jit.ErrSkew) {
				t.Errorf("%s by a clock that is off by %s: %v, want disagreeing clocks", what, c.wrong, err)
			}
		}
		ask := broker.Request{
			Binding: jit.Binding{Target: "db", Principal: "bob", Role: "reader", Scope: "a"},
			Reason:  "INC-2: look", Renewal: 1, TTL: jit.RecordedTTL("2h"),
		}
		_, err := b.Grant(t.Context(), ask)
		refused("a grant", err)
		ask.StartsAt = time.Now().Add(time.Hour)
		if c.wrong < time.Hour {
			_, err = b.Grant(t.Context(), ask)
			refused("a grant for later", err)
		}
		ask.Binding, ask.Reason, ask.StartsAt = live.Binding, live.Reason, time.Time{}
		for _, ttl := range []string{"3h", "1h"} {
			ask.TTL = jit.RecordedTTL(ttl)
			g, err := b.Change(t.Context(), live, ask)
			if !live.Over(b.Now()) { // otherwise nothing changes
				refused("a change", err)
			}
			if !g.End.Equal(live.End) || !g.RevokedAt.IsZero() {
				t.Errorf("the change leads to %+v", g)
			}
		}
		w.targets["db"].Edit("a", func([]jit.Observed) []jit.Observed { return nil })
		(&sweeper.Sweeper{Broker: b, Holder: "wrong", MaxUnplanned: 20}).Pass(t.Context())
		w.want(live, false, "after a repair by a wrong clock")
		var all []jit.Grant
		for g, err := range w.ledger.Grants(t.Context(), jit.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, g)
		}
		if len(all) != 1 {
			t.Errorf("the ledger has %d grants, want one: %+v", len(all), all)
		}
	})
}

// One sweep, or a daemon that was started with a wrong clock, ends a grant at its end and not before, and begins none
// early.
func TestASweepByAWrongClockEndsNothingEarlyOrLate(t *testing.T) {
	for _, daemon := range []bool{false, true} {
		t.Run(fmt.Sprintf("daemon %t", daemon), func(t *testing.T) {
			underWrongClocks(t, func(t *testing.T, c clockCase, w *watched, b *broker.Broker) {
				live := w.grant("db", "a", "alice", "2h", time.Time{})
				later := w.grant("db", "b", "bob", "2h", time.Now().Add(time.Hour))
				s := sweeper.Sweeper{Broker: b, Holder: "wrong", MaxUnplanned: 20}
				var failed error
				if daemon {
					defer run(t, w.watcher(s))()
				}
				pass := func() {
					if daemon {
						time.Sleep(sweeper.DefaultDriftInterval + time.Minute)
						return
					}
					report := s.Pass(t.Context())
					failed = errors.Join(failed, errors.Join(report.Unread...))
				}
				pass()
				if c.noticed() {
					w.want(live, true, "inside its window")
					w.want(later, false, "before its beginning")
				}
				time.Sleep(time.Until(live.End) + time.Second)
				s.DueOnly = c.ledger // nothing but the ledger then says what is due
				pass()
				if c.told() || c.wrong > 0 {
					w.want(live, false, "after its end")
				}
				if c.told() && w.events(live, jit.EventExpired) != 1 {
					t.Errorf("%d events record its end", w.events(live, jit.EventExpired))
				}
				if !daemon && c.noticed() && !errors.Is(failed, jit.ErrSkew) {
					t.Errorf("the pass reports %v, want disagreeing clocks", failed)
				}
			})
		})
	}
}

// Access that a machine whose clock was ahead has granted works before its window. A sweep by a right clock ends it as
// critical drift, and it does not come back.
func TestAccessThatWorksBeforeItsBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		w.targets["db"].Now = func() time.Time { return time.Time{} }
		old := &jittest.Ledger{Remote: func() time.Time { return time.Now().Add(24 * time.Hour) }}
		ahead := w.newBroker()
		ahead.Ledger, ahead.Now = old, old.Remote // as if nothing had compared the clocks
		w.ledger = old
		w.broker = ahead
		g := w.grant("db", "a", "alice", "2h", time.Time{})
		w.want(g, true, "granted by a clock that is ahead")
		old.Remote = time.Now
		s := sweeper.Sweeper{Broker: w.newBroker(), Holder: "right", MaxUnplanned: 20}
		report := s.Pass(t.Context())
		w.want(g, false, "after a sweep")
		if len(report.Results) != 1 || report.Results[0].Severity != jit.Critical || report.Failed() > 0 {
			t.Errorf("the pass did %+v, want the end of critical drift", report.Results)
		}
		time.Sleep(25 * time.Hour)
		s.Pass(t.Context())
		w.want(g, false, "in the window that the wrong clock wrote")
	})
}

// Beside a ledger in a file, nothing begins while the clock is before the newest event.
func TestAFileKnowsThatTheClockIsBehind(t *testing.T) {
	b := newBureau(t)
	b.grant(request("8h"))
	ask := request("2h")
	ask.Reason = "INC-2"
	right := b.now
	b.now = right.Add(-time.Hour)
	if _, err := b.broker.Grant(t.Context(), ask); !errors.Is(err, jit.ErrSkew) {
		t.Errorf("an hour before the newest event: %v, want disagreeing clocks", err)
	}
	b.now = right.Add(time.Second)
	b.grant(ask)
}
