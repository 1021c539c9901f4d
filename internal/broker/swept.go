package broker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// SweptWithin is the age of a sweeper's last pass up to which a plan relies on the sweeper.
const SweptWithin = 10 * time.Minute

// sweepsFor is how long the ledger's answer about sweepers is kept, so that one query serves a plan.
const sweepsFor = time.Minute

// sweeps keeps the ledger's answer about the sweepers of one owner. The zero value is ready.
type sweeps struct {
	mu    sync.Mutex
	at    time.Time
	since map[string]time.Duration
	err   error
}

// read returns, for each target, the time since a sweeper that serves owner last passed there.
func (s *sweeps) read(
	ctx context.Context, ledger jit.Ledger, owner string, now time.Time,
) (map[string]time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.IsZero() || now.Sub(s.at).Abs() >= sweepsFor {
		s.since, s.err = ledger.SweptSince(ctx, owner, now)
		s.at = now
	}
	return s.since, s.err
}

// warnUnswept warns of a grant that a sweeper must end, or begin, if no sweeper that serves it has passed recently.
func (b *Broker) warnUnswept(ctx context.Context, g jit.Grant, end, begin bool) []Warning {
	if !end && !begin {
		return nil
	}
	last := b.lastSweep(ctx, g)
	if last == "" {
		return nil
	}
	attribute, cannot, then := sweeperDuty(end, begin)
	return []Warning{{attribute, "No sweeper is at work", fmt.Sprintf(
		"Target %q cannot %s access by itself, and %s. %s Run `jit sweep --watch`, or `jit sweep` every minute, "+
			"on this ledger and target.", g.Target, cannot, last, then)}}
}

// sweeperDuty says what a sweeper must do for a grant, and what happens without one.
func sweeperDuty(end, begin bool) (attribute, cannot, then string) {
	switch {
	case begin && end:
		return "target", "begin or end", "The access begins late, and stays until a sweep removes it."
	case begin:
		return "starts_at", "begin",
			"The access begins with the first sweep after starts_at; a late start does not move the end."
	}
	return "target", "end", "The access stays until a sweep removes it."
}

// lastSweep says when a sweeper that serves the grant last passed; empty if recently.
func (b *Broker) lastSweep(ctx context.Context, g jit.Grant) string {
	all, err := b.sweeps.read(ctx, b.Ledger, g.Owner, b.Now())
	since, known := all[g.Target]
	switch {
	case err != nil:
		return fmt.Sprintf("whether a `jit sweep` passes is not known: %v", err)
	case !known:
		return fmt.Sprintf("no `jit sweep` that serves owner %q there is on record", g.Owner)
	case since > SweptWithin:
		return fmt.Sprintf("the last `jit sweep` that serves owner %q there passed %s ago",
			g.Owner, jit.FormatDuration(since.Truncate(time.Second)))
	}
	return ""
}
