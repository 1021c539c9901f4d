package sweeper

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// pollEvery is how often the ledger is asked what comes due next. A timer runs for what is known.
	pollEvery = time.Second
	// recordSweepEvery is how often a watcher records that it is at work; see [broker.SweptWithin].
	recordSweepEvery = 3 * time.Minute
	// unservedEvery is how often, at most, a watcher looks for grants that it may end of owners it does not serve.
	unservedEvery = 5 * time.Second
)

// schedule says when a watcher claims due work. Times are of [broker.Broker.Now], unless they say otherwise.
type schedule struct {
	// next is when the next grant comes due; zero if none is known.
	next time.Time
	// again is when the work is claimed that was left in the ledger, by real time; zero if none was. took is how long
	// the last claim took.
	again time.Time
	took  time.Duration

	lastClaim, lastUnserved time.Time
	// failures counts the polls that have failed in a row.
	failures int
}

// reached reports whether a time is set and has come.
func reached(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

// claimNow reports whether due work is to be claimed now.
func (s *schedule) claimNow(now time.Time, interval time.Duration) bool {
	return now.Sub(s.lastClaim).Abs() >= interval || reached(s.next, now) || reached(s.again, time.Now())
}

// pause returns how long to wait after a poll.
func (s *schedule) pause(now time.Time) time.Duration {
	pause := pollEvery
	if !s.next.IsZero() {
		pause = min(pause, max(0, s.next.Sub(now)))
	}
	if !s.again.IsZero() {
		pause = min(pause, max(0, time.Until(s.again)))
	}
	return pause
}

// watchDue claims each grant when it is due and puts it into its lane, until ctx ends.
func (w *Watcher) watchDue(ctx context.Context) {
	var s schedule
	for ctx.Err() == nil {
		now := w.Broker.Now()
		answered := make(chan struct{})
		w.work.Go(func() { w.whilePolling(answered) })
		err := w.poll(ctx, now, &s)
		close(answered)
		if ctx.Err() != nil {
			return
		}
		w.recordPoll(ctx, now, err)
		var pause time.Duration
		if err != nil {
			pause = w.pollFailed(now, &s, err)
		} else {
			pause, s.failures = s.pause(w.Broker.Now()), 0
		}
		if w.wait(w.room, pause) {
			s.again = time.Now().Add(s.took) // claims then take at most half of the time
		}
	}
}

// errSlowLedger is why a watcher sweeps by the markers while it waits for the ledger.
var errSlowLedger = errors.New("the ledger is slow")

// whilePolling sweeps by the markers at the interval as long as a slow ledger has not answered a poll: each of its calls
// has a timeout of its own, and an end must not wait for all of them. It waits for what the ledger's clock shows: by
// this machine's alone, which may be wrong, nothing ends while the ledger can tell.
func (w *Watcher) whilePolling(answered <-chan struct{}) {
	for pause := slow; !w.wait(answered, pause) && w.open.Err() == nil; pause = time.Second {
		if now := w.Broker.Now(); w.Broker.KnowsLedgerTime() && w.markersDue(now) {
			w.sweepMarkers(errSlowLedger)
		}
	}
}

// markersDue reports whether the interval since the last sweep by the markers is over, and takes the turn.
func (w *Watcher) markersDue(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Sub(w.lastMarkers).Abs() < w.Interval {
		return false
	}
	w.lastMarkers = now
	return true
}

// poll claims due work if it is time to, and asks the ledger what comes due next.
func (w *Watcher) poll(ctx context.Context, now time.Time, s *schedule) (err error) {
	if s.claimNow(now, w.Interval) {
		began := time.Now()
		err := w.claimDue(ctx)
		s.took = time.Since(began)
		if err != nil {
			return err
		}
		s.lastClaim, s.again = now, time.Time{}
	}
	if s.lastUnserved.Before(s.lastClaim) && now.Sub(s.lastUnserved).Abs() >= unservedEvery {
		s.lastUnserved = now
		w.work.Go(w.endUnserved)
	}
	// From the last claim on, not from now: somebody may have revoked a grant in between.
	s.next, err = w.nextDue(ctx, s.lastClaim)
	return err
}

// pollFailed sweeps by the markers at the interval while polls fail, and returns how long to wait for the next poll.
func (w *Watcher) pollFailed(now time.Time, s *schedule, err error) time.Duration {
	s.next = time.Time{}
	if w.markersDue(now) {
		w.work.Go(func() { w.sweepMarkers(err) })
	}
	if s.failures++; errors.As(err, new(*jit.PartialError)) {
		return pollEvery // the grants of the other owners still end on time
	}
	return backoff.Pause(s.failures-1, pollEvery, 10*pollEvery)
}

// claimDue claims all that is due.
func (w *Watcher) claimDue(ctx context.Context) error {
	began := time.Now()
	now, skew, err := w.agreedNow(ctx)
	if err != nil {
		return err
	}
	tasks, _, err := w.claim(ctx, now, skew)
	done := Passed{At: now, Took: time.Since(began), Steps: tasks}
	w.mu.Lock()
	if w.state.ClockError, w.state.Behind = skew, nil; errors.Is(skew, jit.ErrBehind) {
		w.state.ClockError, w.state.Behind = nil, skew
	}
	if err == nil {
		w.state.Due = done
	}
	w.mu.Unlock()
	if err == nil {
		w.Observer.Passed("due", done)
	}
	return err
}

func (w *Watcher) nextDue(ctx context.Context, after time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	return w.Broker.Ledger.NextDue(ctx, w.Owners, after)
}

// recordPoll notes that the ledger was asked, and now and then records that the watcher is at work, and which requests
// lapsed. If that fails, the state shows it.
func (w *Watcher) recordPoll(ctx context.Context, now time.Time, err error) {
	if err == nil && now.Sub(w.lastSwept).Abs() >= recordSweepEvery {
		bounded, cancel := context.WithTimeout(ctx, ledgerTimeout)
		defer cancel()
		if err = w.recordSweep(bounded); err == nil {
			w.lastSwept = now
		}
	}
	w.mu.Lock()
	skew := cmp.Or(w.state.ClockError, w.state.Behind)
	w.mu.Unlock()
	if err == nil && now.Sub(w.lastLapsed).Abs() >= w.Interval {
		if err = w.lapse(ctx, now, skew); err == nil {
			w.lastLapsed = now
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state.LastPoll, w.state.LedgerError = now, err
}
