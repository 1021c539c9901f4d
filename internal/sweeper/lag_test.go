package sweeper_test

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// behind returns a world whose target shows each read what it held five seconds before, and another process on it.
func behind(t *testing.T) (w *world, other *broker.Broker) {
	w = newWorld(t, jit.Native)
	w.platform.Stale = 5 * time.Second
	process := func() *broker.Broker {
		return &broker.Broker{
			Ledger: w.ledger, Targets: map[string]jit.Platform{"db": batch.Share(w.platform, 0, w.broker.Now)},
			Owner: "jit", AnyOwner: true, MaxTTL: w.broker.MaxTTL, Now: w.broker.Now,
			Actor: jit.Actor{Name: "ci", Source: jit.FromSweeper},
		}
	}
	w.broker = process()
	return w, process()
}

// A read that misses what another process has just written is no drift, under any on_drift, neither in a sweep nor in a
// plan.
func TestWhatAnotherProcessHasJustWrittenIsNoDrift(t *testing.T) {
	for name, c := range map[string]struct {
		write func(*testing.T, *broker.Broker, jit.Grant)
		there bool
	}{
		"granted": {func(*testing.T, *broker.Broker, jit.Grant) {}, true},
		"longer": {func(t *testing.T, b *broker.Broker, g jit.Grant) {
			if _, err := b.Change(t.Context(), g, request("9h")); err != nil {
				t.Fatal(err)
			}
		}, true},
		"shorter": {func(t *testing.T, b *broker.Broker, g jit.Grant) {
			if _, err := b.Change(t.Context(), g, request("2h")); err != nil {
				t.Fatal(err)
			}
		}, true},
		"destroyed": {func(t *testing.T, b *broker.Broker, g jit.Grant) {
			r := broker.Revocation{Grant: g, Reason: broker.Destroyed, Destroys: true}
			if _, _, err := b.Revoke(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		for _, on := range everyWay {
			t.Run(name+"/"+string(on), func(t *testing.T) {
				w, other := behind(t)
				g := w.grant(request("8h"))
				if name != "granted" {
					w.now = w.now.Add(time.Hour)
					c.write(t, w.broker, g)
				}
				_, before := w.platform.Calls()
				for _, later := range []time.Duration{time.Second, 2 * time.Second, 10 * time.Second, time.Hour / 2} {
					w.now = w.now.Add(later)
					s := w.drifting(on, func(s *sweeper.Sweeper) { s.Broker = other })
					if report := s.Pass(t.Context()); len(report.Results)+len(report.Unread) > 0 {
						t.Errorf("%s after the write a sweep says %+v, %v", later, report.Results, report.Unread)
					}
					if drift, err := other.Observe(t.Context(), w.recorded(g.ID)); drift != "" || err != nil {
						t.Errorf("%s after the write a plan says %q, %v", later, drift, err)
					}
					w.allowed(c.there)
				}
				if _, after := w.platform.Calls(); after != before {
					t.Errorf("%d writes on the platform, want none", after-before)
				}
				if found := w.events(jit.EventDrift, jit.EventRepaired); len(found) > 0 {
					t.Errorf("the record says %+v", found)
				}
			})
		}
	}
}

// What others do on the target is found once the lag of our own last write is over, and access without an end at once.
func TestDriftIsFoundOnceTheWritesAreSettled(t *testing.T) {
	gone := func([]jit.Observed) []jit.Observed { return nil }
	endless := func(all []jit.Observed) []jit.Observed {
		all[0].End = time.Time{}
		return all
	}
	for name, c := range map[string]struct {
		edit        func([]jit.Observed) []jit.Observed
		early, late jit.DriftKind
	}{
		"deleted":     {gone, "", jit.DriftMissing},
		"without end": {endless, jit.DriftEndGone, jit.DriftEndGone},
	} {
		t.Run(name, func(t *testing.T) {
			w, other := behind(t)
			w.grant(request("8h"))
			w.platform.Edit("all", c.edit)
			s := w.drifting(jit.ReportDrift, func(s *sweeper.Sweeper) { s.Broker = other })
			for _, at := range []struct {
				later time.Duration
				want  jit.DriftKind
			}{{10 * time.Second, c.early}, {time.Minute, c.late}} {
				w.now = w.now.Add(at.later)
				var found jit.DriftKind
				for _, r := range s.Pass(t.Context()).Results {
					found = r.Drift
				}
				if found != at.want {
					t.Errorf("after %s a sweep finds %q, want %q", at.later, found, at.want)
				}
			}
		})
	}
}
