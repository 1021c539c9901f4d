package sweeper_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// This machine's clock jumps by an hour, forward and back. Nothing ends or begins early, and everything is done once
// the clock is right again. Either the ledger's server has its own clock, or only the targets do.
func TestWatchClockStepped(t *testing.T) {
	for name, remote := range map[string]bool{"the ledger has a clock": true, "only the targets have clocks": false} {
		for _, step := range []time.Duration{time.Hour, -time.Hour} {
			t.Run(name+", stepped by "+step.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { clockStepped(t, remote, step) })
			})
		}
	}
}

func clockStepped(t *testing.T, remote bool, step time.Duration) {
	w := newWatched(t, "db")
	if remote {
		w.ledger.Remote = time.Now
	}
	var offset atomic.Int64
	b := w.newBroker()
	b.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	soon, later := w.grant("db", "a", "alice", "10m", time.Time{}), w.grant("db", "a", "bob", "30m", time.Time{})
	begins := w.grant("db", "a", "carol", "30m", time.Now().Add(40*time.Minute))
	revoked := w.grant("db", "a", "dave", "8h", time.Time{})
	watcher := w.watcher(sweeper.Sweeper{Broker: b, Holder: "a", MaxUnplanned: 20})
	defer run(t, watcher)()

	time.Sleep(time.Minute)
	offset.Store(int64(step))
	time.Sleep(2 * time.Minute)
	for _, g := range []jit.Grant{soon, later} {
		w.want(g, true, "after the step")
	}
	w.want(begins, false, "after the step")
	// A revocation by a person is carried out under any clocks.
	g, _, err := w.ledger.Lookup(t.Context(), revoked.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.revoke(g, b.Now())
	time.Sleep(2 * time.Minute)
	w.want(revoked, false, "after the revocation")
	time.Sleep(time.Until(soon.End) + 6*time.Minute)
	if step > 0 {
		w.want(soon, false, "after its end by every clock")
	}
	w.want(later, true, "before its end")
	w.want(begins, false, "before its beginning")
	if s := watcher.State(); remote && step > 0 && s.ClockError != nil && !errors.Is(s.ClockError, jit.ErrSkew) {
		t.Errorf("the state has %v", s.ClockError)
	}

	offset.Store(0)
	time.Sleep(2*time.Minute + time.Second)
	w.want(soon, false, "after the clock is right again")
	time.Sleep(time.Until(later.End) + time.Minute)
	w.want(later, false, "after its end")
	time.Sleep(time.Until(begins.Start) + 2*time.Minute)
	w.want(begins, true, "after its beginning")
	for _, g := range []jit.Grant{soon, later, revoked} {
		if n := w.events(g, jit.EventExpired) + w.events(g, jit.EventRevoked); n != 1 {
			t.Errorf("%d events record the end of %s, want 1", n, g.Principal)
		}
	}
}

// A start was carried out but not recorded, and then this machine's clock jumps ahead. The grant does not end before
// its end by the ledger's clock. The target has no clock.
func TestWatchAStartInHandAndAWrongClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		w.targets["db"].Now = func() time.Time { return time.Time{} }
		w.ledger.Remote = time.Now
		g := w.grant("db", "a", "alice", "30m", time.Now().Add(time.Minute))
		gone := w.mayBeGone()
		var offset atomic.Int64
		w.targets["db"].Call = func(what string) error {
			if what == "write" && offset.Load() == 0 {
				gone.Store(true)
			}
			return nil
		}
		b := w.newBroker()
		b.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
		watcher := w.watcher(sweeper.Sweeper{Broker: b, Holder: "a", MaxUnplanned: 20})
		defer run(t, watcher)()
		time.Sleep(time.Until(g.Start) + 5*time.Second)
		offset.Store(int64(time.Hour))
		gone.Store(false)
		time.Sleep(time.Until(g.End) - time.Second)
		w.want(g, true, "a second before its end")
		time.Sleep(time.Minute)
		w.want(g, false, "after its end")
	})
}

// By a slow clock, an expired grant looks live. The target has no clock. Drift is not repaired, and no ended grant
// comes back.
func TestDriftByAClockThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		w.targets["db"].Now = func() time.Time { return time.Time{} }
		w.ledger.Remote = time.Now
		live := w.grant("db", "a", "bob", "8h", time.Time{})
		time.Sleep(30 * time.Minute)
		g := w.grant("db", "a", "alice", "10m", time.Time{})
		time.Sleep(10 * time.Minute)
		(&sweeper.Sweeper{Broker: w.newBroker(), Holder: "right", MaxUnplanned: 20}).Pass(t.Context())
		w.want(g, false, "after its end")
		w.targets["db"].Edit("a", func([]jit.Observed) []jit.Observed { return nil })
		b := w.newBroker()
		b.Now = func() time.Time { return time.Now().Add(-20 * time.Minute) }
		s := sweeper.Sweeper{Broker: b, Holder: "wrong", MaxUnplanned: 20}
		if report := s.Pass(t.Context()); !errors.Is(errors.Join(report.Unread...), jit.ErrSkew) {
			t.Errorf("the pass reports %v, want disagreeing clocks", report.Unread)
		}
		w.want(live, false, "after a pass with a slow clock")
		var offset atomic.Int64
		offset.Store(int64(-20 * time.Minute))
		b.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
		watcher := w.watcher(s)
		defer run(t, watcher)()
		time.Sleep(15 * time.Minute)
		w.want(g, false, "watched with a slow clock")
		w.want(live, false, "watched with a slow clock")
		if u := watcher.State().Unread; len(u) != 1 || !errors.Is(u[0].Err, jit.ErrSkew) || u[0].Target != "db" {
			t.Errorf("the state has %+v, want disagreeing clocks", u)
		}
		offset.Store(0)
		time.Sleep(2 * time.Minute)
		w.want(live, true, "watched with a right clock")
		w.want(g, false, "watched with a right clock")
		if u := watcher.State().Unread; len(u) != 0 {
			t.Errorf("the state has %+v", u)
		}
	})
}

// One of two watchers has a wrong clock, and the target has a clock. The other watcher checks for drift.
func TestWatchDriftBesideAWrongClock(t *testing.T) {
	for _, wrong := range []time.Duration{time.Hour, -time.Hour, 9 * time.Minute, -9 * time.Minute} {
		t.Run(wrong.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatched(t, "db")
				w.ledger.Remote = time.Now
				g := w.grant("db", "a", "alice", "8h", time.Time{})
				b := w.newBroker()
				b.Now = func() time.Time { return time.Now().Add(wrong) }
				watcher := w.watcher(sweeper.Sweeper{Broker: b, Holder: "wrong", MaxUnplanned: 20})
				defer run(t, watcher)()
				time.Sleep(time.Minute)
				_, stop := w.watch("right")
				defer stop()
				for range 5 {
					time.Sleep(sweeper.DefaultDriftInterval)
					w.targets["db"].Edit("a", func([]jit.Observed) []jit.Observed { return nil })
					time.Sleep(2 * sweeper.DefaultDriftInterval)
					w.want(g, true, "two intervals after its removal")
				}
			})
		})
	}
}

// A slow target makes a pass long. No clock counts as wrong, and a grant made meanwhile is not drift.
func TestALongPassIsNoWrongClock(t *testing.T) {
	for name, markersOnly := range map[string]bool{"a pass": false, "a pass by markers": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatched(t, "db", "slow")
				w.grant("slow", "a", "alice", "10m", time.Time{})
				live := w.grant("db", "a", "bob", "4h", time.Time{})
				var meanwhile jit.Grant
				w.targets["slow"].Call = func(what string) error {
					time.Sleep(40 * time.Second)
					if what == "write" {
						// Another machine makes this grant after the beginning of the pass, and has not recorded it
						// yet.
						meanwhile = dueGrant(1, "b", time.Now().Add(time.Hour))
						meanwhile.GrantedAt = time.Time{}
						w.record(meanwhile)
						w.targets["db"].Apply(t.Context(), "b",
							[]jit.Change{{Op: jit.Ensure, Access: meanwhile.Access()}})
					}
					return nil
				}
				time.Sleep(10 * time.Minute)
				s := sweeper.Sweeper{Broker: w.newBroker(), Holder: "a", MarkersOnly: markersOnly, MaxUnplanned: 20}
				began := time.Now()
				report := s.Pass(t.Context())
				if took := time.Since(began); took < jit.MaxSkew {
					t.Fatalf("the pass took %s", took)
				}
				if report.Failed() != 0 || len(report.Unread) != 0 {
					t.Errorf("%+v, could not read %v", report.Results, report.Unread)
				}
				w.want(live, true, "after the pass")
				w.want(meanwhile, true, "after the pass")
			})
		})
	}
}

// Without the ledger, grants end by their markers. A clock that is an hour fast ends nothing early, because the target
// has a clock.
func TestMarkersWithAWrongClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		soon, later := w.grant("db", "a", "alice", "10m", time.Time{}), w.grant("db", "a", "bob", "4h", time.Time{})
		b := w.newBroker()
		b.Now = func() time.Time { return time.Now().Add(time.Hour) }
		pass := func() sweeper.Report {
			s := sweeper.Sweeper{Broker: b, Holder: "a", MarkersOnly: true, MaxUnplanned: 20}
			return s.Pass(t.Context())
		}
		report := pass()
		w.want(soon, true, "before its end")
		if err := errors.Join(report.Unread...); !errors.Is(err, jit.ErrSkew) {
			t.Errorf("the pass reports %v, want disagreeing clocks", err)
		}
		time.Sleep(10 * time.Minute)
		pass()
		w.want(soon, false, "after its end")
		w.want(later, true, "inside its window")
	})
}
