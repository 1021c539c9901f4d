package sweeper

import (
	"context"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
)

const (
	// pollEvery is how often the ledger is asked what comes due next. A timer runs for what is known.
	pollEvery = time.Second
	// recordSweepEvery is how often a watcher records that it is at work; see [broker.SweptWithin].
	recordSweepEvery = 3 * time.Minute
	// unservedEvery is how often, at most, a watcher looks for grants that it may end of owners it does not serve.
	unservedEvery = 5 * time.Second
)

// watchDue claims what is due when it is due and puts it into its lanes, until ctx ends.
func (w *Watcher) watchDue(ctx context.Context) {
	var next, lastClaim, again, lastMarkers, lastUnserved time.Time
	var clock clockJumps
	var took time.Duration
	for failures := 0; ctx.Err() == nil; {
		now := w.Broker.Now()
		if clock.jumped(now) {
			w.doubt.Store(true)
		}
		var err error
		if lastClaim.IsZero() || !next.IsZero() && !now.Before(next) || now.Sub(lastClaim).Abs() >= w.Interval ||
			!again.IsZero() && !time.Now().Before(again) {
			began := time.Now()
			if err = w.claimDue(ctx, now); err == nil {
				lastClaim, again = now, time.Time{}
			}
			took = time.Since(began)
		}
		if err == nil && lastUnserved.Before(lastClaim) && now.Sub(lastUnserved).Abs() >= unservedEvery {
			lastUnserved = now
			w.work.Go(func() { w.endUnserved(now) })
		}
		if err == nil {
			// From the last claim on, not from now: somebody may have revoked a grant in between.
			next, err = w.nextDue(ctx, lastClaim)
		}
		if ctx.Err() != nil {
			return
		}
		w.recordPoll(ctx, now, err)
		pause := pollEvery
		if err == nil {
			failures = 0
			if !next.IsZero() {
				pause = min(pause, max(0, next.Sub(w.Broker.Now())))
			}
			if !again.IsZero() {
				pause = min(pause, max(0, time.Until(again)))
			}
		} else {
			next = time.Time{}
			if now.Sub(lastMarkers).Abs() >= w.Interval {
				lastMarkers = now
				w.work.Go(func() { w.sweepMarkers(now, err) })
			}
			pause = backoff.Pause(failures, pollEvery, 10*pollEvery)
			failures++
		}
		if w.roomWithin(ctx, pause) {
			again = time.Now().Add(took) // claims then use at most half of the time
		}
	}
}

// claimDue claims all that is due at now, by the clocks that agree.
func (w *Watcher) claimDue(ctx context.Context, now time.Time) error {
	began := time.Now()
	now, skew, err := w.agreedNow(ctx, now)
	if err != nil {
		return err
	}
	tasks, _, err := w.claim(ctx, now, skew)
	done := Passed{At: now, Took: time.Since(began), Steps: tasks}
	w.mu.Lock()
	if w.state.ClockError = skew; err == nil {
		w.state.Due = done
	}
	w.mu.Unlock()
	if err == nil && w.Observer != nil {
		w.Observer.Passed("due", done)
	}
	return err
}

// roomWithin waits for a while and returns true early when tasks left in the ledger can be claimed.
func (w *Watcher) roomWithin(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-w.room:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func (w *Watcher) nextDue(ctx context.Context, after time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	return w.Broker.Ledger.NextDue(ctx, w.Owners, after)
}

// recordPoll notes that the ledger was asked what is due, and now and then records that the watcher is at work. If that
// fails, the state shows it.
func (w *Watcher) recordPoll(ctx context.Context, now time.Time, err error) {
	if err == nil && (w.lastSwept.IsZero() || now.Sub(w.lastSwept).Abs() >= recordSweepEvery) {
		bounded, cancel := context.WithTimeout(ctx, ledgerTimeout)
		defer cancel()
		if err = w.recordSweep(bounded); err == nil {
			w.lastSwept = now
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state.LastPoll, w.state.LedgerError = now, err
}
