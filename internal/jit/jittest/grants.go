package jittest

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Grants returns the records that f selects.
func (l *Ledger) Grants(ctx context.Context, f jit.Filter) iter.Seq2[jit.Grant, error] {
	return func(yield func(jit.Grant, error) bool) {
		var all []jit.Grant
		if err := l.locked(ctx, "read", func() { all = slices.Collect(maps.Values(l.grants)) }); err != nil {
			yield(jit.Grant{}, err)
			return
		}
		order := byEnd
		if !f.DueBy.IsZero() {
			order = byDue
		}
		slices.SortFunc(all, order)
		for _, g := range all {
			if selects(f, g) && inTime(f, g) && !yield(g, nil) {
				return
			}
		}
	}
}

// selects applies the parts of a filter that do not depend on time.
func selects(f jit.Filter, g jit.Grant) bool {
	same := func(want, is string) bool { return want == "" || want == is }
	return (!f.Unsigned || g.Unsigned()) && (!f.Waiting || g.Failed() && g.Awaits != "") &&
		same(f.Owner, g.Owner) && same(f.Target, g.Target) && same(f.Scope, g.Scope) &&
		same(f.Principal, g.Principal) && strings.HasPrefix(string(g.ID), f.IDPrefix) &&
		(len(f.IDs) == 0 || slices.Contains(f.IDs, g.ID))
}

// inTime applies the parts of a filter that depend on time.
func inTime(f jit.Filter, g jit.Grant) bool {
	return !g.End.Before(f.EndFrom) && (f.DueBy.IsZero() || dueBy(g, f.DueBy)) &&
		(f.LiveAt.IsZero() || g.Live(f.LiveAt)) && !(f.Open && g.DueAt().IsZero())
}

func byEnd(a, b jit.Grant) int { return cmp.Or(a.End.Compare(b.End), cmp.Compare(a.ID, b.ID)) }

func dueBy(g jit.Grant, now time.Time) bool {
	return g.Outstanding(now) || g.DueToStart(now) || g.CleanupOpen()
}

func byDue(a, b jit.Grant) int {
	return cmp.Or(cmp.Compare(a.Owner, b.Owner), a.DueAt().Compare(b.DueAt()), a.Place().Compare(b.Place()),
		cmp.Compare(a.ID, b.ID))
}

// AcquireDue leases due grants.
func (l *Ledger) AcquireDue(ctx context.Context, q jit.DueQuery) (due []jit.Grant, err error) {
	err = l.locked(ctx, "write", func() {
		for id, g := range l.grants {
			if asked(q, g) && dueBy(g, q.Now) && l.leases[id].free(q) {
				due = append(due, g)
			}
		}
		slices.SortFunc(due, byDue)
		due = due[:min(len(due), q.Limit)]
		for _, g := range due {
			l.leases[g.ID] = held{q.Holder, q.Now.Add(q.Lease)}
		}
	})
	return due, err
}

// asked reports whether a query includes a grant.
func asked(q jit.DueQuery, g jit.Grant) bool {
	return q.Owners.Include(g.Owner) && (len(q.Targets) == 0 || slices.Contains(q.Targets, g.Target)) &&
		(q.After == nil || byDue(g, *q.After) > 0) && !slices.Contains(q.Except, g.Place())
}

// free reports whether a query may take over a lease: its holder has it, or it has ended, or a wrong clock wrote it.
func (h held) free(q jit.DueQuery) bool {
	return h.holder == q.Holder && h.until.Before(q.Now.Add(q.Lease)) || !h.until.After(q.Now) ||
		h.until.After(q.Now.Add(jit.MaxLease))
}

// NextDue returns when a grant or a lease is next due.
func (l *Ledger) NextDue(ctx context.Context, owners jit.Owners, after time.Time) (next time.Time, err error) {
	err = l.locked(ctx, "read", func() {
		for id, g := range l.grants {
			at := g.DueAt()
			if !owners.Include(g.Owner) || at.IsZero() {
				continue
			}
			if !at.After(after) {
				at = l.leases[id].until
			}
			if at.After(after) && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	})
	return next, err
}

// Places lists the places of live grants.
func (l *Ledger) Places(ctx context.Context, owners jit.Owners, liveAt time.Time) ([]jit.Place, error) {
	places, err := collect(l.Grants(ctx, jit.Filter{LiveAt: liveAt}), owners, jit.Grant.Place)
	return slices.SortedFunc(maps.Keys(places), jit.Place.Compare), err
}

// Owners lists the owners of all grants.
func (l *Ledger) Owners(ctx context.Context) ([]string, error) {
	owners, err := collect(l.Grants(ctx, jit.Filter{}), nil, func(g jit.Grant) string { return g.Owner })
	return slices.Sorted(maps.Keys(owners)), err
}

// collect groups the grants of the owners by a key.
func collect[K comparable](
	all iter.Seq2[jit.Grant, error], owners jit.Owners, key func(jit.Grant) K,
) (map[K][]jit.Grant, error) {
	groups := map[K][]jit.Grant{}
	for g, err := range all {
		if err != nil {
			return nil, err
		}
		if owners.Include(g.Owner) {
			groups[key(g)] = append(groups[key(g)], g)
		}
	}
	return groups, nil
}

// Counts counts the grants of each owner on each target.
func (l *Ledger) Counts(ctx context.Context, owners jit.Owners, at time.Time) (all []jit.Count, err error) {
	groups, err := collect(l.Grants(ctx, jit.Filter{Open: true}), owners, func(g jit.Grant) jit.Count {
		return jit.Count{Target: g.Target, Owner: g.Owner}
	})
	for c, grants := range groups {
		for _, g := range grants {
			count(&c, g, at)
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b jit.Count) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Owner, b.Owner))
	})
	return all, err
}

// count adds a grant.
func count(c *jit.Count, g jit.Grant, at time.Time) {
	switch {
	case g.CleanupOpen():
		c.Cleanup++
	case g.Over(at) && g.ActualEnd().After(at.Add(-jit.OverdueAfter)):
		c.Due++
	case g.Over(at):
		c.Overdue++
	case at.Before(g.Start) || g.GrantedAt.IsZero():
		c.Waiting++
	default:
		c.Live++
	}
}
