package broker

import (
	"context"
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Unsettled returns those of the grants to which this or another process may have written so recently, by the events,
// that a read of the target may miss it. It asks the ledger only if the target's reads lag.
func (b *Broker) Unsettled(ctx context.Context, target string, ids []jit.ID) (map[jit.ID]bool, error) {
	p, err := b.Target(target)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	lag := failpoint.Lag(jit.Lag(p))
	if lag == 0 {
		return nil, nil
	}
	now, unsettled := b.Now(), map[jit.ID]bool{}
	for e, err := range b.Ledger.EventsOf(ctx, ids) {
		if err != nil {
			return nil, fmt.Errorf("read the events of the grants: %w", err)
		}
		if e.Kind.Wrote() && now.Sub(e.At).Abs() < lag {
			unsettled[e.Grant] = true
		}
	}
	return unsettled, nil
}

// settled returns the difference, or none if a read that misses recent writes can explain it.
func (b *Broker) settled(ctx context.Context, g jit.Grant, d jit.Difference) (jit.Difference, error) {
	if !d.Kind.Staleable() {
		return d, nil
	}
	unsettled, err := b.Unsettled(ctx, g.Target, []jit.ID{g.ID})
	if err != nil || unsettled[g.ID] {
		return jit.Difference{}, err
	}
	return d, nil
}

// sole is [jit.Change].Sole. A grant whose end is recorded to be before this one began shared nothing with it.
func (b *Broker) sole(ctx context.Context, g jit.Grant) bool {
	shares := func(other jit.Grant) bool {
		return other.ID != g.ID && !other.Failed() && (other.EndedAt.IsZero() || !other.EndedAt.Before(g.Start))
	}
	for other, err := range b.Ledger.Grants(ctx, jit.Filter{Principal: g.Principal, Scope: g.Scope}) {
		if err != nil || shares(other) {
			return false
		}
	}
	return true
}
