package broker

import (
	"context"
	"errors"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

const (
	// maxScopes caps on how many scopes grants are revoked at the same time.
	maxScopes = 64
	// minGroup and maxGroup bound how many grants of one scope are revoked together.
	minGroup, maxGroup = 100, 1000
	// groupsAtOnce is how many groups of one scope are revoked at the same time: the target ends the access of one while
	// the ledger records the other.
	groupsAtOnce = 2
)

// RevokeAll ends grants as [Broker.Revoke] ends each, and returns its error for each: those of several scopes at the
// same time, and those of one scope in groups. As soon as a grant has been dealt with, told gets its position and error,
// from any goroutine; told may be nil. A Grant should be the record as the ledger returned it: then it shares the calls
// of its group.
func (b *Broker) RevokeAll(ctx context.Context, all []Revocation, told func(i int, err error)) []error {
	errs, scopes := make([]error, len(all)), map[jit.Place][]int{}
	for i, r := range all {
		scopes[r.Grant.Place()] = append(scopes[r.Grant.Place()], i)
	}
	each(maxScopes, slices.Collect(maps.Values(scopes)), func(of []int) {
		size := min(max((len(of)+groupsAtOnce-1)/groupsAtOnce, minGroup), maxGroup)
		each(groupsAtOnce, slices.Collect(slices.Chunk(of, size)), func(group []int) {
			some := make([]Revocation, len(group))
			for n, i := range group {
				some[n] = all[i]
			}
			for n, err := range b.revokeGroup(ctx, some) {
				errs[group[n]] = err
				if told != nil {
					told(group[n], err)
				}
			}
		})
	})
	return errs
}

// each calls do for all items, at most so many at the same time.
func each[T any](most int, items []T, do func(T)) {
	var group errgroup.Group
	group.SetLimit(most)
	for _, item := range items {
		group.Go(func() error {
			do(item)
			return nil
		})
	}
	_ = group.Wait() // do returns no error
}

// revokeGroup ends grants of one scope. The live ones share one write of their intents, one call on the target and one
// write of their outcomes. A grant whose record has changed since it was read is revoked by itself. If the ledger does
// not accept an intent, access ends all the same, and the error is [ErrUnrecorded].
func (b *Broker) revokeGroup(ctx context.Context, all []Revocation) []error {
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
	each(maxGroup, which, func(i int) { _, _, errs[i] = b.Revoke(ctx, all[i]) })
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
	unrecorded.SetLimit(maxGroup)
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
