package sweeper_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// as returns a broker of another owner on the same ledger and targets.
func (w *world) as(owner string) *world {
	other := *w
	other.broker = &broker.Broker{Ledger: w.ledger, Targets: w.broker.Targets, Owner: owner,
		MaxTTL: w.broker.MaxTTL, Actor: w.broker.Actor, Now: w.broker.Now}
	return &other
}

// sweepFor makes a pass of a sweeper that serves these owners, on these targets.
func (w *world) sweepFor(owners jit.Owners, targets ...string) sweeper.Report {
	b := &broker.Broker{Ledger: w.ledger, Targets: map[string]jit.Platform{}, Owner: "jit", AnyOwner: true,
		MaxTTL: w.broker.MaxTTL, Actor: w.broker.Actor, Now: w.broker.Now}
	for _, name := range targets {
		b.Targets[name] = w.broker.Targets[name]
	}
	s := &sweeper.Sweeper{Broker: b, Holder: "test " + owners.String() + strings.Join(targets, ","),
		MaxUnplanned: sweeper.DefaultMaxUnplanned}
	serve(s, owners)
	return s.Pass(w.t.Context())
}

// everyOwner is the setting for all owners.
var everyOwner = jit.Owners{jit.AllOwners}

// serve sets the owners that a sweeper serves; nil names none.
func serve(s *sweeper.Sweeper, owners jit.Owners) {
	if s.EveryOwner = slices.Equal(owners, everyOwner); !s.EveryOwner {
		s.Owners = owners
	}
}

// A sweeper without an owners setting ends the expired grants of other owners that it sees. It does not start, repair
// or judge them. It never records the end of a grant that it does not see: the other owner's target with the same name
// may be another system.
func TestATargetOfTheSameNameMayBeAnotherSystem(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	theirs := w.as("payments")
	waiting := request("8h")
	waiting.StartsAt = w.now.Add(time.Hour)
	starts := theirs.grant(waiting)
	live := theirs.grant(
		broker.Request{Binding: jit.Binding{Target: "db", Principal: "ann", Role: "reader"}, Reason: "INC-2",
			Renewal: 1, TTL: jit.RecordedTTL("8h")},
	)
	over := theirs.grant(
		broker.Request{Binding: jit.Binding{Target: "db", Principal: "eve", Role: "reader"}, Reason: "INC-3",
			Renewal: 1, TTL: jit.RecordedTTL("2h")},
	)
	w.now = w.now.Add(2*time.Hour + time.Second)
	system := w.broker.Targets["db"]
	w.broker.Targets["db"] = &jittest.Platform{Traits: jit.Traits{Enforcement: jit.Sweeper}, Now: w.broker.Now}
	if report := w.sweepFor(nil, "db"); len(report.Results)+len(report.Unread) > 0 ||
		len(report.Elsewhere)+len(report.OutOfReach) > 0 {
		t.Errorf("on another system: %+v", report)
	}
	w.now = w.now.Add(time.Hour)
	report := w.sweepFor(nil, "db")
	if len(report.Results)+len(report.Unread)+len(report.Elsewhere) > 0 || len(report.OutOfReach) != 1 ||
		!strings.Contains(report.OutOfReach[0].Reason, "may be another system") {
		t.Errorf("on another system, after the grace: %+v", report)
	}
	for _, g := range []jit.Grant{starts, live, over} {
		if now := w.recorded(g.ID); now.Version != g.Version {
			t.Errorf("the record of %s was changed: %+v", g.Principal, now)
		}
	}
	w.broker.Targets["db"] = system
	if report := w.sweepFor(nil, "db"); len(report.Results) != 1 || report.Results[0].Grant.ID != over.ID ||
		report.Failed()+len(report.OutOfReach) > 0 || w.recorded(over.ID).EndedAt.IsZero() {
		t.Errorf("on the same system: %+v", report)
	}
	// no lease delays the next sweeper
	if report := w.sweepFor(everyOwner, "db"); len(report.Results) != 1 || report.Results[0].Kind != reconcile.Start ||
		report.Failed() > 0 {
		t.Errorf("for every owner: %+v", report)
	}
}

// A grant whose owner has no sweeper ends: one sweeper ends the grants of every owner of its ledger.
func TestASweeperServesEveryOwner(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	w.as("nosweep").grant(request("1m"))
	w.allowed(true)
	w.now = w.now.Add(2 * time.Minute)
	report := w.sweepFor(nil, "db")
	w.allowed(false)
	if len(report.Results) != 1 || report.Failed() > 0 ||
		len(report.Unread)+len(report.OutOfReach)+len(report.Elsewhere) > 0 {
		t.Errorf("the sweep's results are %+v", report)
	}
	if again := w.sweepFor(nil, "db"); len(again.Results) > 0 {
		t.Errorf("another pass has the results %+v", again.Results)
	}
}

// A sweeper reports an overdue grant that it cannot end and does not lease it, so that others can end it.
func TestWhatIsOutOfReachIsReported(t *testing.T) {
	for name, c := range map[string]struct {
		owners  jit.Owners
		targets []string
		why     string
	}{
		"the owner is not served": {
			jit.Owners{"ads"}, []string{"db"}, `does not serve the owner "nosweep"; it serves ads`,
		},
		"the target is missing": {nil, []string{"other"}, `this sweeper has no target "db"`},
		"there are no targets":  {nil, nil, `this sweeper has no target "db"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Sweeper)
			w.broker.Targets["other"] = &jittest.Platform{Traits: jit.Traits{Enforcement: jit.Sweeper},
				Now: w.broker.Now}
			g := w.as("nosweep").grant(request("1m"))
			w.now = w.now.Add(time.Minute + 9*time.Minute + 30*time.Second)
			if report := w.sweepFor(c.owners,
				c.targets...); len(
				report.OutOfReach,
			)+len(report.Results)+len(report.Unread) > 0 {
				t.Errorf("before the grant is overdue: %+v", report)
			}
			w.now = w.now.Add(time.Minute)
			for _, dry := range []bool{false, true} {
				b := w.as("jit").broker
				b.Targets, b.AnyOwner = map[string]jit.Platform{}, true
				for _, target := range c.targets {
					b.Targets[target] = w.broker.Targets[target]
				}
				s := &sweeper.Sweeper{Broker: b, Owners: c.owners, Holder: "short arms", DryRun: dry}
				report := s.Pass(t.Context())
				if len(report.OutOfReach) != 1 || report.OutOfReach[0].Grant.ID != g.ID ||
					!strings.Contains(report.OutOfReach[0].Reason, c.why) ||
					len(report.Results)+len(report.Unread) > 0 {
					t.Errorf("dry run %t: %+v", dry, report)
				}
			}
			w.allowed(true)
			// no lease delays the next sweeper
			if report := w.sweepFor(nil, "db"); len(report.Results) != 1 || report.Failed() > 0 {
				t.Errorf("the results of a capable sweeper are %+v", report)
			}
			w.allowed(false)
		})
	}
}

// A pass reports bindings of another ledger's owner and records no event about them.
func TestWhatIsForeignIsNoEvent(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	w.grant(
		broker.Request{Binding: jit.Binding{Target: "db", Principal: "ann", Role: "reader"}, Reason: "INC-2",
			Renewal: 1, TTL: jit.RecordedTTL("8h")},
	)
	elsewhere := w.as("payments")
	elsewhere.ledger = &jittest.Ledger{}
	elsewhere.broker.Ledger = elsewhere.ledger
	elsewhere.grant(request("8h"))
	before := len(w.events(jit.EventDrift))
	report := w.sweepFor(nil, "db")
	if len(report.Results) != 1 || !report.Results[0].Foreign || report.Failed() > 0 {
		t.Errorf("the pass reported %+v", report)
	}
	if after := w.events(jit.EventDrift); len(after) != before {
		t.Errorf("it recorded %+v", after[before:])
	}
}

// A grant out of reach is not a failure if the target itself ends access.
func TestWhatATargetEndedIsNotLeft(t *testing.T) {
	for enforcement, left := range map[jit.Enforcement]int{jit.Native: 0, jit.Sweeper: 1} {
		w := newWorld(t, enforcement)
		w.as("nosweep").grant(request("1m"))
		w.now = w.now.Add(time.Hour)
		if report := w.sweepFor(jit.Owners{"ads"}, "db"); len(report.OutOfReach) != 1 || report.Unended() != left {
			t.Errorf("%s: %+v", enforcement, report)
		}
	}
}

// Drift is repaired for live grants of served owners only.
func TestDriftOfEveryOwner(t *testing.T) {
	for _, c := range []struct {
		owners jit.Owners
		back   bool
	}{{everyOwner, true}, {nil, false}, {jit.Owners{"payments"}, true}, {jit.Owners{"jit", "ads"}, false}} {
		w := newWorld(t, jit.Sweeper)
		g := w.as("payments").grant(request("8h"))
		w.platform.Apply(t.Context(), g.Scope, []jit.Change{{Op: jit.Remove, Access: g.Access()}})
		w.allowed(false)
		w.sweepFor(c.owners, "db")
		w.allowed(c.back)
	}
	w := newWorld(t, jit.Sweeper)
	g := w.as("payments").grant(request("8h"))
	w.platform.Apply(t.Context(), g.Scope, []jit.Change{{Op: jit.Remove, Access: g.Access()}})
	b := w.as("jit").broker
	b.AnyOwner = true
	s := &sweeper.Sweeper{Broker: b, EveryOwner: true, Holder: "test", MaxUnplanned: 1,
		OnDrift: map[string]jit.OnDrift{"db": jit.RevokeDrift}}
	if report := s.Pass(t.Context()); len(report.Results) != 1 || report.Results[0].Kind != reconcile.Revoke ||
		report.Failed() > 0 || w.recorded(g.ID).RevokedAt.IsZero() {
		t.Errorf("on_drift = revoke for another owner: %+v", report)
	}
}

// A binding with a marker unknown to the ledger is removed only if its owner is served. A sweeper for all owners serves
// those that the ledger knows.
func TestStraysOfOtherOwners(t *testing.T) {
	for _, c := range []struct {
		name     string
		owners   jit.Owners
		recorded bool // the ledger has another grant of the stray's owner
		markers  bool // without the ledger
		removed  bool
	}{
		{"none is named", nil, true, false, false},
		{"all owners, and the ledger knows it", everyOwner, true, false, true},
		{"all owners, and the ledger does not know it", everyOwner, false, false, false},
		{"named", jit.Owners{"payments"}, false, false, true},
		{"others are named", jit.Owners{"jit", "ads"}, true, false, false},
		{"all owners, by the markers alone", everyOwner, true, true, false},
		{"named, by the markers alone", jit.Owners{"payments"}, false, true, true},
	} {
		w := newWorld(t, jit.Sweeper)
		ann := request("8h")
		ann.Binding.Principal, ann.Reason = "ann", "INC-2"
		w.grant(ann)
		if c.recorded {
			ann.Binding.Role = "writer"
			w.as("payments").grant(ann)
		}
		elsewhere := w.as("payments")
		elsewhere.ledger = &jittest.Ledger{}
		elsewhere.broker.Ledger = elsewhere.ledger
		elsewhere.grant(request("1m"))
		w.now = w.now.Add(time.Hour)
		b := w.as("jit").broker
		b.AnyOwner = true
		s := &sweeper.Sweeper{Broker: b, Holder: "test", MaxUnplanned: 10, MarkersOnly: c.markers}
		serve(s, c.owners)
		s.Pass(t.Context())
		if left := w.platform.Allowed("all", "bob", "reader"); left == c.removed {
			t.Errorf("%s: the stray remains: %t, want %t", c.name, left, !c.removed)
		}
	}
}

// A pass is recorded, and a daemon records its work regularly. Dry runs and passes by markers are not recorded.
func TestPassesAreRecorded(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	for _, c := range []struct {
		s    sweeper.Sweeper
		want int
	}{
		{sweeper.Sweeper{DryRun: true}, 0},
		{sweeper.Sweeper{MarkersOnly: true}, 0},
		{sweeper.Sweeper{DueOnly: true, Owners: jit.Owners{"jit"}}, 1},
	} {
		c.s.Broker, c.s.Holder = w.broker, "test"
		c.s.Pass(t.Context())
		if got := w.ledger.Sweeps(); len(got) != c.want ||
			c.want > 0 && (!slices.Equal(got[0].Targets, []string{"db"}) || got[0].Owners.String() != "jit") {
			t.Errorf("%+v: recorded %+v, want %d", c.s, got, c.want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		_, stop := w.watch("a")
		time.Sleep(time.Hour)
		stop()
		if n := len(w.ledger.Sweeps()); n < 15 || n > 21 { // at most every three minutes, and at least every ten
			t.Errorf("a daemon recorded %d passes in an hour", n)
		}
	})
}

// A daemon ends the grants of every owner on its targets within a second.
func TestADaemonServesEveryOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db", "other")
		b := w.newBroker()
		delete(b.Targets, "other")
		b.AnyOwner = true
		watcher := w.watcher(sweeper.Sweeper{Broker: b, Holder: "a", MaxUnplanned: 10})
		stop := run(t, watcher)
		defer stop()
		w.broker.Owner = "nosweep"
		mine, elsewhere := w.grant("db", "all", "bob", "1m", time.Time{}), w.grant("other", "all", "bob", "1m",
			time.Time{})
		time.Sleep(time.Until(mine.End) + time.Second)
		synctest.Wait()
		w.want(mine, false, "a second after its end")
		w.want(elsewhere, true, "on a target missing from the daemon's settings")
		time.Sleep(5 * time.Minute)
		if s := watcher.State(); len(s.Stuck)+len(s.Unread) > 0 || s.LedgerError != nil {
			t.Errorf("the daemon has problems: %+v", s)
		}
		if why := watcher.OutOfReach("nosweep", "other"); why == "" {
			t.Error("a grant that the daemon cannot end counts as within its reach")
		}
	})
}
