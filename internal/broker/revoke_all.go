package broker

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// maxRevocations caps how many grants of one call of [Broker.RevokeAll] are revoked one by one at the same time.
const maxRevocations = 1000

// RevokeAll ends grants of one scope as [Broker.Revoke] ends each, and returns its error for each. The live ones share
// one write of their intents, one call on the target and one write of their outcomes, so their Grant must be the record
// as the ledger returned it. A grant whose record has changed since is revoked by itself. If the ledger does not accept
// an intent, access ends all the same, and the error is [ErrUnrecorded].
func (b *Broker) RevokeAll(ctx context.Context, all []Revocation) []error {
	errs := make([]error, len(all))
	together, apart := b.separate(all)
	var group errgroup.Group
	group.Go(func() error {
		b.revokeEach(ctx, all, apart, errs)
		return nil
	})
	b.revokeEach(ctx, all, b.revokeTogether(ctx, all, together, errs), errs)
	_ = group.Wait() // errs has every error
	return errs
}

// separate returns the positions of the revocations that can share their calls, and of the others.
func (b *Broker) separate(all []Revocation) (together, apart []int) {
	now, seen := b.Now(), make(map[jit.ID]bool, len(all))
	for i, r := range all {
		g := r.Grant
		if recorded := g.Version > 0; recorded && r.Holder == 0 && g.Live(now) && b.owns(g) == nil && !seen[g.ID] {
			together = append(together, i)
		} else {
			apart = append(apart, i)
		}
		seen[g.ID] = true
	}
	return together, apart
}

// revokeEach revokes the grants at these positions one by one, many at the same time, and sets their errors.
func (b *Broker) revokeEach(ctx context.Context, all []Revocation, which []int, errs []error) {
	var group errgroup.Group
	group.SetLimit(maxRevocations)
	for _, i := range which {
		group.Go(func() error {
			_, _, errs[i] = b.Revoke(ctx, all[i])
			return nil
		})
	}
	_ = group.Wait() // errs has every error
}

// revokeTogether ends the live grants at these positions and sets their errors. It returns the positions of those whose
// record has changed: nothing has been done for them.
func (b *Broker) revokeTogether(ctx context.Context, all []Revocation, which []int, errs []error) (changed []int) {
	if len(which) == 0 {
		return nil
	}
	entries := b.intents(all, which)
	failpoint.Hit("revoke.before-intent")
	var unrecorded errgroup.Group
	unrecorded.SetLimit(maxRevocations)
	var recorded []int
	var steps []reconcile.Step
	for n, err := range b.Ledger.Write(ctx, entries) {
		i := which[n]
		switch {
		case errors.Is(err, jit.ErrStale):
			changed = append(changed, i)
		case err != nil: // a ledger that does not answer costs its longest wait, so it is not asked again
			unrecorded.Go(func() error {
				errs[i] = b.endUnrecorded(ctx, all[i], err)
				return nil
			})
		default:
			g := *entries[n].Grant
			g.Version++
			recorded = append(recorded, i)
			steps = append(steps, reconcile.Step{Kind: reconcile.End, Place: g.Place(), Grant: g})
		}
	}
	for n, err := range b.Execute(ctx, steps) {
		errs[recorded[n]] = err
	}
	_ = unrecorded.Wait() // errs has every error
	return changed
}

// intents returns the entries that record the revocations at these positions.
func (b *Broker) intents(all []Revocation, which []int) []jit.Entry {
	now, entries := b.Now(), make([]jit.Entry, len(which))
	for n, i := range which {
		g := all[i].Grant
		g.TerminateSessions = g.TerminateSessions || all[i].TerminateSessions
		asked := b.revoked(&g, now, all[i].Reason)
		entries[n] = jit.Rewrite(all[i].Grant, g, asked)
	}
	return entries
}
