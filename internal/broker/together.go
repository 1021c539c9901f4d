package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// together carries out one operation for many grants: per scope one call, then one write of all outcomes.
// allowed is asked before, outcome alters the record after success, failure makes the event
// that tells of an error.
func (b *Broker) together(ctx context.Context, grants []jit.Grant, op jit.Op, verb string,
	allowed func(jit.Grant) error, outcome func(g *jit.Grant, remains error) ([]jit.Event, bool), failure func(jit.Grant, error) jit.Event,
) []error {
	errs := make([]error, len(grants))
	scopes := map[jit.Place][]int{}
	for i, g := range grants {
		if errs[i] = allowed(g); errs[i] == nil {
			scopes[g.Place()] = append(scopes[g.Place()], i)
		}
	}
	for at, members := range scopes {
		for k, err := range b.applyAll(ctx, at, op, grants, members) {
			if err != nil {
				err = fmt.Errorf("%s grant %s (%s for %s on target %q): %w", verb, grants[members[k]].ID, grants[members[k]].Role, grants[members[k]].Principal, at.Target, err)
			}
			errs[members[k]] = err
		}
	}
	failpoint.Hit(verb + ".after-platform")
	b.recordAll(ctx, op, grants, errs, outcome, failure, allowed)
	failpoint.Hit(verb + ".after-outcome")
	return errs
}

// applyAll makes one call for the members of one scope.
func (b *Broker) applyAll(ctx context.Context, at jit.Place, op jit.Op, grants []jit.Grant, members []int) []error {
	p, err := b.Target(at.Target)
	if err != nil {
		errs := make([]error, len(members))
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	changes := make([]jit.Change, len(members))
	for k, i := range members {
		changes[k] = jit.Change{Op: op, Access: grants[i].Access(), Held: grants[i].Held()}
		if op == jit.Remove && changes[k].Access.NoStandingBefore {
			changes[k].Access.NoStandingBefore = !b.coveredByAnother(ctx, p, grants[i])
		}
	}
	return p.Apply(ctx, at.Scope, changes)
}

// coveredByAnother reports whether another grant gives the same access now, or may, and would narrow what
// somebody made of the two bindings: then that is left to it.
func (b *Broker) coveredByAnother(ctx context.Context, p jit.Platform, g jit.Grant) bool {
	now, left := b.Now(), strippedTo(p, g.Binding)
	for other, err := range b.Ledger.Grants(ctx, jit.Filter{Target: g.Target, Principal: g.Principal, LiveAt: now}) {
		if err != nil || other.ID != g.ID && other.Scope == g.Scope && other.Access().NoStandingBefore && other.Window.Contains(now) && strippedTo(p, other.Binding) == left {
			return true
		}
	}
	return false
}

// strippedTo is [jit.Traits].StrippedTo of a binding; empty of one that its platform does not know.
func strippedTo(p jit.Platform, binding jit.Binding) string {
	_, traits, err := p.Check(binding)
	if err != nil {
		return ""
	}
	return traits.StrippedTo
}

// recordAll writes the outcome of every grant that allowed let through, in one transaction; those whose record was
// changed meanwhile are done again one by one, and access that was given to one that was ended meanwhile
// is taken back. errs is brought up to date.
func (b *Broker) recordAll(ctx context.Context, op jit.Op, grants []jit.Grant, errs []error,
	outcome func(g *jit.Grant, remains error) ([]jit.Event, bool), failure func(jit.Grant, error) jit.Event, allowed func(jit.Grant) error,
) {
	var entries []jit.Entry
	var from []int
	for i, g := range grants {
		if errs[i] != nil && !errors.Is(errs[i], jit.ErrRemains) {
			if e := failure(g, errs[i]); allowed(g) == nil && b.failures.news(g.ID, e.Kind, b.Now()) {
				entries = append(entries, jit.Entry{Events: []jit.Event{e}})
				from = append(from, i)
			}
			continue
		}
		b.failures.over(g.ID)
		next := g
		if events, wanted := outcome(&next, errs[i]); wanted {
			entries = append(entries, jit.Rewrite(g, next, events...))
			from = append(from, i)
		}
	}
	if len(entries) == 0 {
		return
	}
	for k, err := range b.Ledger.Write(ctx, entries) {
		i := from[k]
		if err != nil && errs[i] != nil && !errors.Is(errs[i], jit.ErrRemains) {
			b.failures.over(grants[i].ID) // the record has not been told
		}
		if errors.Is(err, jit.ErrStale) {
			var g jit.Grant
			g, err = b.update(ctx, grants[i], func(g *jit.Grant) ([]jit.Event, bool) { return outcome(g, errs[i]) })
			if err == nil && op == jit.Ensure {
				_, err = b.settle(ctx, grants[i].Access(), g)
			}
		}
		if err != nil && errors.Is(errs[i], jit.ErrRemains) {
			errs[i] = nil // that access has ended is not on record
		}
		errs[i] = errors.Join(errs[i], err)
	}
}
