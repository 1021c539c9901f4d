package broker

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// maxReads caps how many reads of the ledger about the grants of one call run at the same time.
const maxReads = 32

// apply makes one change for each grant on a place, with one call.
func (b *Broker) apply(ctx context.Context, at jit.Place, op jit.Op, grants []jit.Grant) []error {
	p, err := b.Target(at.Target)
	if err != nil {
		return slices.Repeat([]error{err}, len(grants))
	}
	changes := make([]jit.Change, len(grants))
	var reads errgroup.Group
	reads.SetLimit(maxReads)
	for i, g := range grants {
		changes[i] = jit.Change{Op: op, Access: g.Access(), Held: g.Held(), GrantedAt: g.GrantedAt}
		if op == jit.Remove && changes[i].Access.NoStandingBefore {
			reads.Go(func() error {
				changes[i].Access.NoStandingBefore = !b.coveredByAnother(ctx, p, g)
				return nil
			})
		}
		if op == jit.Remove {
			changes[i].Sole = func() bool { return b.sole(ctx, g) }
		}
	}
	_ = reads.Wait() // changes has every answer
	return p.Apply(ctx, at.Scope, changes)
}

// remove takes a grant off its platform.
func (b *Broker) remove(ctx context.Context, g jit.Grant) error {
	return b.apply(ctx, g.Place(), jit.Remove, []jit.Grant{g})[0]
}

// coveredByAnother reports whether another grant gives the same access now, or may. If somebody stripped the bindings
// of both, the other grant must remove the result.
func (b *Broker) coveredByAnother(ctx context.Context, p jit.Platform, g jit.Grant) bool {
	now, left := b.Now(), strippedTo(p, g.Binding)
	covers := func(other jit.Grant) bool {
		return other.ID != g.ID && other.Scope == g.Scope && other.Access().NoStandingBefore &&
			other.Window.Contains(now) && strippedTo(p, other.Binding) == left
	}
	for other, err := range b.Ledger.Grants(ctx, jit.Filter{Target: g.Target, Principal: g.Principal, LiveAt: now}) {
		if err != nil || covers(other) {
			return true
		}
	}
	return false
}

// strippedTo is [jit.Traits].StrippedTo of a binding; empty if its platform refuses the binding.
func strippedTo(p jit.Platform, binding jit.Binding) string {
	_, traits, err := p.Check(binding)
	if err != nil {
		return ""
	}
	return traits.StrippedTo
}

// end removes a grant that is over from its platform and records that.
func (b *Broker) end(ctx context.Context, g jit.Grant) error {
	return b.Execute(ctx, []reconcile.Step{{Kind: reconcile.End, Place: g.Place(), Grant: g}})[0]
}
