package sweeper

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// agreedNow returns the time by which work is due: now, or the ledger server's time if that is earlier and the two
// disagree, so that a wrong clock ends no access early. skew says how they disagree; nothing may begin then.
func (s *Sweeper) agreedNow(ctx context.Context, now time.Time) (agreed time.Time, skew, err error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	remote, err := s.Broker.Ledger.Clock(ctx)
	if err != nil {
		return now, nil, err
	}
	if now, skew = jit.EarlierTime(now, remote); skew != nil {
		skew = fmt.Errorf("the ledger's clock: %w", skew)
	}
	return now, skew, nil
}

// clockAt returns what another clock showed at now, if it showed clock at some time between before and after.
func clockAt(now, clock, before, after time.Time) time.Time {
	switch {
	case clock.IsZero():
		return clock
	case clock.Before(before):
		return now.Add(clock.Sub(before))
	case clock.After(after):
		return now.Add(clock.Sub(after))
	}
	return now
}

// checkClock reads the target's clock if this machine's is in doubt. It returns an error for each end that has not come
// by the target's clock, and for each start while the two disagree.
func (v *visit) checkClock(ctx context.Context, steps []reconcile.Step) []error {
	errs := make([]error, len(steps))
	if !v.doubt.Load() || !slices.ContainsFunc(steps, planned) {
		return errs
	}
	snapshot, ok := v.read(ctx, v.now)
	if !ok {
		return errs // a target that cannot be read cannot be changed either
	}
	skew := jit.CheckSkew(v.now, snapshot.Clock)
	if skew == nil {
		return errs
	}
	for i, s := range steps {
		early := s.Kind == reconcile.End && s.Grant.RevokedAt.IsZero() && s.Grant.End.After(snapshot.Clock)
		if s.Kind == reconcile.Start || early {
			errs[i] = fmt.Errorf("%s grant %s: target %q: %w", s.Kind, s.Grant.ID, s.Target, skew)
		}
	}
	return errs
}

// planned reports whether a step ends or starts a grant by its window.
func planned(s reconcile.Step) bool { return s.Kind == reconcile.End || s.Kind == reconcile.Start }

// clockJumps detects that the clock moved differently from time itself.
type clockJumps struct {
	wall time.Time
	real time.Time // with a monotonic reading
}

// jumped reports whether the clock, which shows wall now, jumped since the last call.
func (c *clockJumps) jumped(wall time.Time) bool {
	wall = wall.Round(0) // without its monotonic reading
	now := time.Now()
	jumped := !c.wall.IsZero() && (wall.Sub(c.wall)-now.Sub(c.real)).Abs() > jit.MaxSkew
	c.wall, c.real = wall, now
	return jumped
}
