package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Lapse records the requests of the owners that waited for approval in vain, each once: those that may no longer begin
// at now, and those that have waited longer than an approval would be valid. They gave nothing, and may be asked for
// again.
func (b *Broker) Lapse(ctx context.Context, owners jit.Owners, now time.Time) error {
	var waiting []jit.Grant
	for g, err := range b.Ledger.Grants(ctx, jit.Filter{Waiting: true}) {
		if jit.Partial(err, owners) {
			break
		}
		if err != nil {
			return err
		}
		if owners.Include(g.Owner) {
			waiting = append(waiting, g)
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	policies, err := b.Ledger.Policies(ctx)
	if err != nil {
		return err
	}
	patience := map[string]time.Duration{}
	for _, p := range policies {
		for _, r := range p.Approval {
			patience[p.Name] = max(patience[p.Name], r.ValidFor)
		}
	}
	var errs []error
	for _, g := range waiting {
		if why := lapsed(g, patience[g.Policy], now); why != "" {
			errs = append(errs, b.lapse(ctx, g, why))
		}
	}
	return errors.Join(errs...)
}

// lapsed says why a waiting request waits no longer; empty if it does. patience is the longest valid_for of its policy;
// zero if there is none.
func lapsed(g jit.Grant, patience time.Duration, now time.Time) string {
	switch {
	case !g.Lapsed(now) && (patience == 0 || !now.After(g.FailedAt.Add(patience))):
		return ""
	case !g.StartBy.IsZero() && now.After(g.StartBy):
		return "it had to begin by " + jit.FormatTime(g.StartBy)
	case g.Lapsed(now):
		return "it would have ended at " + jit.FormatTime(g.End)
	}
	return fmt.Sprintf("nobody decided within valid_for, %s; the next apply asks again", jit.FormatDuration(patience))
}

// lapse records that a request waited in vain. Another process may have recorded that, or a decision, meanwhile.
func (b *Broker) lapse(ctx context.Context, g jit.Grant, why string) error {
	next := g
	closeWaiting(&next, "it lapsed: "+why)
	err := b.write(ctx, jit.Rewrite(g, next, b.event(jit.EventLapsed, g,
		"awaits", g.Awaits, "requester", g.Requester, "why", why)))
	if errors.Is(err, jit.ErrStale) {
		return nil
	}
	return err
}

// meetLapsed records that a request has lapsed which a run met, if the run failed with cause, and returns the cause.
func (b *Broker) meetLapsed(ctx context.Context, g jit.Grant, cause error) error {
	if why := lapsed(g, 0, b.Now()); cause != nil && why != "" {
		return errors.Join(cause, b.lapse(ctx, g, why))
	}
	return cause
}
