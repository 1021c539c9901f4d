package broker

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// ledgerClockKept is how long one answer of the ledger serves the checks before access begins.
	ledgerClockKept = 5 * time.Second
	// clockKept is how long a reading of another clock tells its time: longer than the usual time between two looks for
	// drift.
	clockKept = 10 * time.Minute
	// clockJump is how far a clock may move from real time before it counts as set anew.
	clockJump = 2 * time.Second
)

// clocks remembers what other clocks showed last. The zero value is ready for use.
type clocks struct {
	mu      sync.Mutex
	ledger  reading
	targets map[string]reading
}

// reading is what another clock showed.
type reading struct {
	// wall is this machine's clock at the reading, and real the same moment with a monotonic reading.
	wall, real time.Time
	// clock is what the other clock showed; zero if it tells no time.
	clock time.Time
	// notBefore is the time of the newest event of a ledger that tells no time; behind says that this machine's clock is
	// before it, so it cannot be right.
	notBefore time.Time
	behind    error
}

// newReading returns what another clock showed at some time between before and now.
func newReading(clock, before, now time.Time) reading {
	now = now.Round(0) // without its monotonic reading
	clock = jit.ClockAfter(clock, before, now)
	return reading{wall: now, real: time.Now(), clock: clock}
}

// current reports whether a reading serves for keep. It does not if this machine's clock, which shows now, has been set
// since.
func (r reading) current(now time.Time, keep time.Duration) bool {
	passed := time.Since(r.real)
	return !r.wall.IsZero() && passed < keep && (now.Round(0).Sub(r.wall)-passed).Abs() < clockJump
}

// at returns the time of the other clock while this machine's shows now; zero if it tells none.
func (r reading) at(now time.Time) time.Time {
	if r.clock.IsZero() {
		return r.clock
	}
	return r.clock.Add(now.Sub(r.wall))
}

// skew says how the other clock and this machine's, which shows now, disagree.
func (r reading) skew(now time.Time) error { return cmp.Or(r.behind, jit.CheckSkew(now, r.at(now))) }

// decides reports whether the other clock and this machine's, which shows now, agree: two clocks outvote a third.
func (r reading) decides(now time.Time) bool { return !r.clock.IsZero() && r.skew(now) == nil }

// SawClock notes what the clock of a target showed at some time between before and now; zero if it tells none.
func (b *Broker) SawClock(target string, clock, before time.Time) {
	r := newReading(clock, before, b.Now())
	b.clocks.mu.Lock()
	defer b.clocks.mu.Unlock()
	if b.clocks.targets == nil {
		b.clocks.targets = map[string]reading{}
	}
	b.clocks.targets[target] = r
}

// known returns the readings that tell the time of a target and of the ledger.
func (c *clocks) known(target string, now time.Time) (ofTarget, ofLedger reading) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.targets[target]; r.current(now, clockKept) {
		ofTarget = r
	}
	if c.ledger.current(now, clockKept) {
		ofLedger = c.ledger
	}
	return ofTarget, ofLedger
}

// readLedgerClock returns what the ledger's clock shows, or showed at most keep ago.
func (b *Broker) readLedgerClock(ctx context.Context, keep time.Duration) (reading, error) {
	before := b.Now()
	if _, r := b.clocks.known("", before); r.current(before, keep) {
		return r, nil
	}
	clock, notBefore, err := b.Ledger.Clock(ctx)
	if err != nil {
		return reading{}, err
	}
	r := newReading(clock, before, b.Now())
	r.notBefore, r.behind = notBefore, jit.CheckNotBefore(r.wall, notBefore)
	b.clocks.mu.Lock()
	defer b.clocks.mu.Unlock()
	b.clocks.ledger = r
	return r, nil
}

// KnowsLedgerTime reports whether the ledger has told its time lately, or that it has none.
func (b *Broker) KnowsLedgerTime() bool {
	_, r := b.clocks.known("", b.Now())
	return !r.real.IsZero()
}

// LedgerTime returns the time by which grants are due: that of the ledger's clock, which all processes share, if it
// disagrees with this machine's. skew says how they disagree; nothing may begin then.
func (b *Broker) LedgerTime(ctx context.Context) (now time.Time, skew, err error) {
	r, err := b.readLedgerClock(ctx, 0)
	if now = b.Now(); err != nil {
		return now, nil, err
	}
	if skew = r.skew(now); skew == nil {
		return now, nil, nil
	}
	if clock := r.at(now); !clock.IsZero() {
		now = clock
	}
	return now, fmt.Errorf("the ledger's clock: %w", skew), nil
}

// TimeOn returns the time that decides what is over on a target. Where the clocks disagree, which skew says, it is that
// of the target's clock or else of the ledger's; zero if neither tells the time. Nothing may begin then. Where the
// ledger's clock and this machine's agree against the target's, they decide: access must not outlive its end because
// the clock of one target is held back. A ledger in a file has no clock of its own, and the target's decides.
func (b *Broker) TimeOn(ctx context.Context, target string) (now time.Time, skew, err error) {
	if _, err = b.readLedgerClock(ctx, ledgerClockKept); err != nil {
		return b.Now(), nil, err
	}
	now, skew = b.KnownTime(target)
	return now, skew, nil
}

// KnownTime is [Broker.TimeOn] by what is known of the other clocks.
func (b *Broker) KnownTime(target string) (now time.Time, skew error) {
	now = b.Now()
	ofTarget, ofLedger := b.clocks.known(target, now)
	if skew = ofTarget.skew(now); skew != nil {
		skew = fmt.Errorf("the clock of target %q: %w", target, skew)
	} else if skew = ofLedger.skew(now); skew != nil {
		skew = fmt.Errorf("the ledger's clock: %w", skew)
	}
	if ofLedger.decides(now) {
		return now, skew
	}
	for _, r := range []reading{ofTarget, ofLedger} {
		clock := r.at(now)
		switch {
		case clock.IsZero():
		case r.skew(now) == nil:
			return now, skew
		default:
			return clock, skew
		}
	}
	if skew != nil {
		return time.Time{}, skew
	}
	return now, nil
}

// ledgerDecides reports whether the ledger's clock is known and agrees with this machine's: then no target's clock
// changes what [Broker.KnownTime] says is over.
func (b *Broker) ledgerDecides() bool {
	now := b.Now()
	_, ofLedger := b.clocks.known("", now)
	return ofLedger.decides(now)
}

// LatestTime returns the latest time on a target that no two clocks contradict. What has begun by it may be as it is.
func (b *Broker) LatestTime(target string) time.Time {
	latest := b.Now()
	ofTarget, ofLedger := b.clocks.known(target, latest)
	there, shared := ofTarget.at(latest), ofLedger.at(latest)
	if !there.IsZero() && !shared.IsZero() && jit.CheckSkew(there, shared) == nil {
		return there
	}
	for _, clock := range []time.Time{there, shared} {
		if clock.After(latest) {
			latest = clock
		}
	}
	return latest
}

// sharedTime is [Broker.KnownTime], or the time of this machine if no other clock tells one.
func (b *Broker) sharedTime(target string) time.Time {
	if now, _ := b.KnownTime(target); !now.IsZero() {
		return now
	}
	return b.Now()
}

// recordTime returns the time to record for an event on a target: that of the ledger's clock, or this machine's if the
// two agree. Beside a ledger in a file, a target's clock that is ahead must not date an event, because nothing begins
// before the newest event: this is the earlier of its clock and this machine's that is not before the newest event.
func (b *Broker) recordTime(target string) time.Time {
	now := b.Now()
	ofTarget, ofLedger := b.clocks.known(target, now)
	if !ofLedger.clock.IsZero() {
		return b.sharedTime("")
	}
	there := ofTarget.at(now)
	right := func(t time.Time) bool { return jit.CheckNotBefore(t, ofLedger.notBefore) == nil }
	if !there.IsZero() && jit.CheckSkew(now, there) != nil && right(there) && (there.Before(now) || !right(now)) {
		return there
	}
	return now
}

// mayBegin refuses to let access begin or change on a place, or to repair it, while the clocks disagree.
func (b *Broker) mayBegin(ctx context.Context, at jit.Place) error {
	if err := b.askClock(ctx, at); err != nil {
		return err
	}
	_, skew, err := b.TimeOn(ctx, at.Target)
	if err == nil && skew != nil {
		return fmt.Errorf("nothing begins on target %q: %w", at.Target, skew)
	}
	return err
}

// askClock reads the clock of a place's target, unless it is known.
func (b *Broker) askClock(ctx context.Context, at jit.Place) error {
	if ofTarget, _ := b.clocks.known(at.Target, b.Now()); !ofTarget.wall.IsZero() {
		return nil
	}
	_, err := b.readPlace(ctx, at)
	return err
}
