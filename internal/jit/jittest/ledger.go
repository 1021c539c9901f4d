package jittest

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Ledger is a ledger in memory.
type Ledger struct {
	// Call, if set, is asked before every read and write ("read", "swept since", "write"), and after a
	// write took effect ("written"); its error fails the call.
	Call func(what string) error
	// Remote, if set, is the clock of the server that keeps the ledger.
	Remote func() time.Time

	mu       sync.Mutex
	grants   map[jit.ID]jit.Grant
	leases   map[jit.ID]held
	policies map[string]jit.Policy
	events   []jit.Event
	shared   map[string]shared
	altered  map[jit.ID]bool
	sweeps   []jit.Sweep
}

type held struct {
	holder string
	until  time.Time
}

var _ jit.Ledger = (*Ledger)(nil)

func (l *Ledger) call(ctx context.Context, what string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.Call == nil {
		return nil
	}
	return l.Call(what)
}

// Forget empties the ledger, as if it had been lost.
func (l *Ledger) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.grants, l.leases, l.policies, l.events, l.shared = nil, nil, nil, nil, nil
}

// ID returns an id once something is recorded.
func (l *Ledger) ID(context.Context) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) == 0 {
		return "", nil
	}
	return "1ed9e20a-0000-4000-8000-000000000001", nil
}

// Grants returns what matches f.
func (l *Ledger) Grants(ctx context.Context, f jit.Filter) iter.Seq2[jit.Grant, error] {
	return func(yield func(jit.Grant, error) bool) {
		if err := l.call(ctx, "read"); err != nil {
			yield(jit.Grant{}, err)
			return
		}
		l.mu.Lock()
		all := slices.Collect(maps.Values(l.grants))
		l.mu.Unlock()
		slices.SortFunc(all, byEnd)
		if !f.DueBy.IsZero() {
			slices.SortFunc(all, byDue)
		}
		for _, g := range all {
			if f.Owner != "" && g.Owner != f.Owner || f.Target != "" && g.Target != f.Target ||
				f.Principal != "" && g.Principal != f.Principal || len(f.IDs) > 0 && !slices.Contains(f.IDs, g.ID) ||
				!strings.HasPrefix(string(g.ID), f.IDPrefix) ||
				f.Scope != "" && g.Scope != f.Scope || g.End.Before(f.EndFrom) ||
				!f.DueBy.IsZero() && !dueBy(g, f.DueBy) ||
				!f.LiveAt.IsZero() && !g.Live(f.LiveAt) || f.Open && g.DueAt().IsZero() {
				continue
			}
			if !yield(g, nil) {
				return
			}
		}
	}
}

func byEnd(a, b jit.Grant) int { return cmp.Or(a.End.Compare(b.End), cmp.Compare(a.ID, b.ID)) }

func dueBy(g jit.Grant, now time.Time) bool {
	return g.Outstanding(now) || g.DueToStart(now) || g.CleanupOpen()
}

func byDue(a, b jit.Grant) int {
	return cmp.Or(cmp.Compare(a.Owner, b.Owner), a.DueAt().Compare(b.DueAt()), a.Place().Compare(b.Place()), cmp.Compare(a.ID, b.ID))
}

// Lookup returns one record.
func (l *Ledger) Lookup(ctx context.Context, id jit.ID) (jit.Grant, bool, error) {
	if err := l.call(ctx, "read"); err != nil {
		return jit.Grant{}, false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	g, ok := l.grants[id]
	return g, ok, nil
}

// Policies returns all policies.
func (l *Ledger) Policies(ctx context.Context) ([]jit.Policy, error) {
	if err := l.call(ctx, "read"); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []jit.Policy
	for _, name := range slices.Sorted(maps.Keys(l.policies)) {
		all = append(all, l.policies[name])
	}
	return all, nil
}

// Write records the entries.
func (l *Ledger) Write(ctx context.Context, entries []jit.Entry) []error {
	errs := make([]error, len(entries))
	fail := func(err error) []error {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	if err := l.call(ctx, "write"); err != nil {
		return fail(err)
	}
	l.record(entries, errs)
	if err := l.call(ctx, "written"); err != nil {
		return fail(err)
	}
	return errs
}

func (l *Ledger) record(entries []jit.Entry, errs []error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.grants == nil {
		l.grants, l.leases, l.policies = map[jit.ID]jit.Grant{}, map[jit.ID]held{}, map[string]jit.Policy{}
	}
	for i, e := range entries {
		errs[i] = l.write(e)
	}
}

func (l *Ledger) write(e jit.Entry) error {
	if o := e.Dedup; o.Name != "" {
		if e.Grant != nil || e.Policy != nil || e.DropPolicy != "" {
			return jit.ErrInvalid
		}
		if l.shared[o.Name].lasts(o.At, o.Until) {
			return jit.ErrDuplicate
		}
		l.put(o.Name, shared{held{until: o.Until}, 0})
	}
	if e.Grant != nil {
		g := *e.Grant
		before := l.grants[g.ID]
		if before.Version != g.Version {
			return jit.ErrStale
		}
		if !g.DueAt().Equal(before.DueAt()) {
			delete(l.leases, g.ID)
		}
		g.Version++
		l.grants[g.ID] = g
	}
	if e.Policy != nil {
		l.policies[e.Policy.Name] = *e.Policy
	}
	delete(l.policies, e.DropPolicy)
	for _, event := range e.Events {
		event.Seq = int64(len(l.events) + 1)
		if len(l.events) > 0 {
			event.Prev = l.events[len(l.events)-1].Hash
		}
		event.Hash = event.Sum()
		l.events = append(l.events, event)
	}
	if e.Grant != nil {
		l.check(l.grants[e.Grant.ID])
	}
	return nil
}

// AcquireDue leases due grants.
func (l *Ledger) AcquireDue(ctx context.Context, q jit.DueQuery) ([]jit.Grant, error) {
	if err := l.call(ctx, "write"); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var due []jit.Grant
	for id, g := range l.grants {
		h := l.leases[id]
		if q.Owners.Include(g.Owner) && (len(q.Targets) == 0 || slices.Contains(q.Targets, g.Target)) && (q.After == nil || byDue(g, *q.After) > 0) && !slices.Contains(q.Except, g.Place()) && dueBy(g, q.Now) && (h.holder == q.Holder && h.until.Before(q.Now.Add(q.Lease)) || !h.until.After(q.Now) || h.until.After(q.Now.Add(jit.MaxLease))) {
			due = append(due, g)
		}
	}
	slices.SortFunc(due, byDue)
	due = due[:min(len(due), q.Limit)]
	for _, g := range due {
		l.leases[g.ID] = held{q.Holder, q.Now.Add(q.Lease)}
	}
	return due, nil
}

// NextDue returns what comes next.
func (l *Ledger) NextDue(ctx context.Context, owners jit.Owners, after time.Time) (next time.Time, err error) {
	if err := l.call(ctx, "read"); err != nil {
		return time.Time{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	sooner := func(at time.Time) {
		if at.After(after) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	for id, g := range l.grants {
		switch due := g.DueAt(); {
		case !owners.Include(g.Owner) || due.IsZero():
		case due.After(after):
			sooner(due)
		default:
			sooner(l.leases[id].until)
		}
	}
	return next, nil
}

// Clock returns the time of Remote.
func (l *Ledger) Clock(ctx context.Context) (time.Time, error) {
	if err := l.call(ctx, "read"); err != nil || l.Remote == nil {
		return time.Time{}, err
	}
	return l.Remote(), nil
}

// Places lists where there are live grants.
func (l *Ledger) Places(ctx context.Context, owners jit.Owners, liveAt time.Time) ([]jit.Place, error) {
	there := map[jit.Place]bool{}
	for g, err := range l.Grants(ctx, jit.Filter{LiveAt: liveAt}) {
		if err != nil {
			return nil, err
		}
		if owners.Include(g.Owner) {
			there[g.Place()] = true
		}
	}
	return slices.SortedFunc(maps.Keys(there), jit.Place.Compare), nil
}

// Counts counts the grants of each owner on each target.
func (l *Ledger) Counts(ctx context.Context, owners jit.Owners, at time.Time) ([]jit.Count, error) {
	counts := map[[2]string]*jit.Count{}
	for g, err := range l.Grants(ctx, jit.Filter{Open: true}) {
		if err != nil {
			return nil, err
		}
		if !owners.Include(g.Owner) {
			continue
		}
		key := [2]string{g.Target, g.Owner}
		c, ok := counts[key]
		if !ok {
			c = &jit.Count{Target: g.Target, Owner: g.Owner}
			counts[key] = c
		}
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
	var all []jit.Count
	for _, c := range counts {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b jit.Count) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Owner, b.Owner))
	})
	return all, nil
}

// Owners lists who has grants.
func (l *Ledger) Owners(ctx context.Context) ([]string, error) {
	there := map[string]bool{}
	for g, err := range l.Grants(ctx, jit.Filter{}) {
		if err != nil {
			return nil, err
		}
		there[g.Owner] = true
	}
	return slices.Sorted(maps.Keys(there)), nil
}

// Swept notes a pass.
func (l *Ledger) Swept(ctx context.Context, s jit.Sweep) error {
	if err := l.call(ctx, "write"); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Remote != nil {
		s.At = l.Remote()
	}
	l.sweeps = append(l.sweeps, s)
	return nil
}

// Sweeps returns the passes that were noted.
func (l *Ledger) Sweeps() []jit.Sweep {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.sweeps)
}

// SweptSince tells of the last passes.
func (l *Ledger) SweptSince(ctx context.Context, owner string, now time.Time) (map[string]time.Duration, error) {
	if err := l.call(ctx, "swept since"); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Remote != nil {
		now = l.Remote()
	}
	since := map[string]time.Duration{}
	for _, s := range l.sweeps {
		for _, target := range s.Targets {
			if s.Owners.Include(owner) {
				since[target] = max(0, now.Sub(s.At))
			}
		}
	}
	return since, nil
}

// FirstEvent returns the first event since a time.
func (l *Ledger) FirstEvent(ctx context.Context, at time.Time) (int64, error) {
	if err := l.call(ctx, "read"); err != nil {
		return 1, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if !e.At.Before(at) {
			return e.Seq, nil
		}
	}
	return int64(len(l.events)) + 1, nil
}

// Events returns the events from first on.
func (l *Ledger) Events(ctx context.Context, first int64) iter.Seq2[jit.Event, error] {
	return func(yield func(jit.Event, error) bool) {
		if err := l.call(ctx, "read"); err != nil {
			yield(jit.Event{}, err)
			return
		}
		l.mu.Lock()
		all := slices.Clone(l.events)
		l.mu.Unlock()
		for _, e := range all {
			if e.Seq >= first && !yield(e, nil) {
				return
			}
		}
	}
}

// EventsOf returns the events about these grants.
func (l *Ledger) EventsOf(ctx context.Context, ids []jit.ID) iter.Seq2[jit.Event, error] {
	return func(yield func(jit.Event, error) bool) {
		for e, err := range l.Events(ctx, 1) {
			if (err != nil || slices.Contains(ids, e.Grant)) && !yield(e, err) {
				return
			}
		}
	}
}

// check panics if a record does not agree with its events: whatever writes one has to tell what it changes.
func (l *Ledger) check(g jit.Grant) {
	var told jit.Account
	for _, e := range l.events {
		if e.Grant == g.ID {
			told.Add(e)
		}
	}
	if wrong := told.Contradictions(g); told.Whole() && len(wrong) > 0 && !l.altered[g.ID] {
		panic(fmt.Sprintf("grant %s: %v", g.ID, wrong))
	}
}

// Alter changes a record behind the back of everybody, and tells no event.
func (l *Ledger) Alter(id jit.ID, change func(*jit.Grant)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.grants[id]
	change(&g)
	l.grants[id] = g
	if l.altered == nil {
		l.altered = map[jit.ID]bool{}
	}
	l.altered[id] = true
}

// Close does nothing.
func (l *Ledger) Close() error { return nil }
