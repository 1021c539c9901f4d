package sweeper_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// cluttered is a platform that ends access but cannot clean up, like PostgreSQL when somebody has granted a privilege
// to our role.
type cluttered struct {
	*jittest.Platform
	clean atomic.Bool
}

func (c *cluttered) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	errs := c.Platform.Apply(ctx, scope, changes)
	for i, change := range changes {
		if errs[i] == nil && change.Op == jit.Remove && !c.clean.Load() {
			errs[i] = &jit.Error{Problem: "access has ended, but its role cannot be dropped",
				Hint: "drop what depends on it", Err: jit.ErrRemains}
		}
	}
	return errs
}

// Ended access with remains on its target is not a failure. It is recorded as ended, cleaned up when possible, and
// counted separately until then.
func TestEndedWithRemains(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	target := &cluttered{Platform: w.platform}
	w.broker.Targets["db"] = target
	g := w.grant(request("1h"))
	w.now = w.now.Add(2 * time.Hour)
	for pass := range 3 {
		report := w.sweep()
		if len(report.Results) != 1 || report.Failed() > 0 || !report.Results[0].Remains() ||
			len(report.Unread)+len(report.Elsewhere)+len(report.OutOfReach) > 0 {
			t.Fatalf("pass %d: %+v", pass, report)
		}
		w.allowed(false)
		if is := w.recorded(g.ID); is.EndedAt.IsZero() || !is.CleanupOpen() ||
			!strings.Contains(is.Remains, "cannot be dropped") || is.Outstanding(w.now) ||
			is.State(w.now) != jit.StateExpired {
			t.Fatalf("pass %d: recorded %+v", pass, is)
		}
		counts, err := w.ledger.Counts(t.Context(), nil, w.now)
		if err != nil || len(counts) != 1 || counts[0] != (jit.Count{Target: "db", Owner: "jit", Cleanup: 1}) {
			t.Errorf("pass %d: counted %+v, %v", pass, counts, err)
		}
		w.now = w.now.Add(time.Hour)
	}
	if n := len(w.events(jit.EventExpired)); n != 1 {
		t.Errorf("the end is recorded %d times", n)
	}
	if n := len(w.events(jit.EventRevokeFailed)); n != 0 {
		t.Errorf("%d failed revocations are recorded", n)
	}
	target.clean.Store(true)
	if report := w.sweep(); len(report.Results) != 1 || report.Results[0].Err != nil {
		t.Fatalf("once the clean-up works: %+v", report)
	}
	if is := w.recorded(g.ID); is.CleanupOpen() || !is.DueAt().IsZero() || len(w.events(jit.EventCleanedUp)) != 1 {
		t.Errorf("cleaned up: recorded %+v", is)
	}
	if report := w.sweep(); len(report.Results) > 0 {
		t.Errorf("afterwards: %+v", report.Results)
	}
}

// A revocation by a person ends access, names the remains, and is recorded. An unrecorded revocation is an error.
func TestRevokedWithRemains(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	w.broker.Targets["db"] = &cluttered{Platform: w.platform}
	g, _, err := w.broker.Revoke(t.Context(), broker.Revocation{Grant: w.grant(request("8h")), Reason: "INC-2: done"})
	if !errors.Is(err, jit.ErrRemains) || g.EndedAt.IsZero() || !g.CleanupOpen() {
		t.Errorf("revoked: %v, %+v", err, g)
	}
	w.allowed(false)
	if _, _, err := w.broker.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "INC-2: again"}); err != nil {
		t.Errorf("revoked again: %v", err)
	}

	r := request("1h")
	r.Reason = "INC-3: another"
	w.grant(r)
	w.now = w.now.Add(2 * time.Hour)
	writes := 0
	w.ledger.Call = func(what string) error {
		if what == "write" {
			if writes++; writes > 1 { // the first write is the claim
				return errors.New("disk full")
			}
		}
		return nil
	}
	if report := w.sweep(); report.Failed() == 0 {
		t.Errorf("an end that could not be recorded: %+v", report)
	}
}

// A daemon retries a clean-up with growing pauses and does not list the grant as stuck.
func TestWatcherCleansUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		target := &cluttered{Platform: w.targets["db"]}
		b := w.newBroker()
		b.Targets["db"] = target
		watcher := w.watcher(sweeper.Sweeper{Broker: b, Holder: "a", MaxUnplanned: 10})
		stop := run(t, watcher)
		defer stop()
		g := w.grant("db", "all", "bob", "1m", time.Time{})
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		s := watcher.State()
		w.mu.Lock()
		tries, lags := len(w.steps), len(w.lags)
		w.mu.Unlock()
		if len(s.Stuck)+len(s.StuckOn) > 0 || tries < 20 || tries > 80 || lags != 1 || w.lags[0] > time.Second {
			t.Errorf("after two hours: %d tries, %d lags %v, stuck %v", tries, lags,
				w.lags, s.StuckOn)
		}
		target.clean.Store(true)
		time.Sleep(6 * time.Minute)
		if is, _, err := w.ledger.Lookup(t.Context(), g.ID); err != nil || is.CleanupOpen() ||
			is.EndedAt.Sub(g.End) > time.Second {
			t.Errorf("cleaned up: %+v, %v", is, err)
		}
	})
}
