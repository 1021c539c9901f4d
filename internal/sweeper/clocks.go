package sweeper

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// soundNow returns the time by which something is due: ours, or that of the ledger's server where it is earlier and the two disagree. Nobody
// loses access early because one clock is wrong. skew says how they disagree; then nothing is to begin.
func (s *Sweeper) soundNow(ctx context.Context, now time.Time) (sound time.Time, skew, err error) {
	remote, err := s.Broker.Ledger.Clock(ctx)
	if err != nil {
		return now, nil, err
	}
	if now, skew = jit.EarlierTime(now, remote); skew != nil {
		skew = fmt.Errorf("the ledger's clock: %w", skew)
	}
	return now, skew, nil
}

// clockAt returns what another clock showed at now, by what it showed some time between before and after; zero if it does not tell.
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

// withoutStarts leaves out what begins.
func withoutStarts(steps []reconcile.Step) []reconcile.Step {
	return slices.DeleteFunc(steps, func(s reconcile.Step) bool { return s.Kind == reconcile.Start })
}

// early reports whether a step would end a window that is not over by a clock.
func early(s reconcile.Step, clock time.Time) bool {
	return s.Kind == reconcile.End && s.Grant.RevokedAt.IsZero() && !clock.IsZero() && s.Grant.End.After(clock)
}

// notYet asks the target for its time, where there is reason to doubt our own, and returns an error for each end that has not come by it,
// and for each start while they disagree.
func (p *pass) notYet(ctx context.Context, steps []reconcile.Step) []error {
	errs := make([]error, len(steps))
	if !p.doubt || !slices.ContainsFunc(steps, func(s reconcile.Step) bool {
		return s.Kind == reconcile.End || s.Kind == reconcile.Start
	}) {
		return errs
	}
	snapshot, read := p.readOne(ctx, steps[0].Place, p.now)
	if !read {
		return errs // it does not tell, and what cannot be read will not be changed either
	}
	for i, s := range steps {
		if skew := jit.CheckSkew(p.now, snapshot.Clock); skew != nil && (s.Kind == reconcile.Start || early(s, snapshot.Clock)) {
			errs[i] = fmt.Errorf("%s grant %s: target %q: %w", s.Kind, s.Grant.ID, s.Target, skew)
		}
	}
	return errs
}
