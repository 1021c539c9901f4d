package jittest

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Ledger is a ledger in memory. It refuses stale writes, and panics if a record differs from its events.
type Ledger struct {
	// Call, if set, is called before every read and write ("read", "clock", "swept since", "write"), and after a write took
	// effect ("written"); its error fails the call.
	Call func(what string) error
	// Identity replaces the id of the ledger.
	Identity string
	// Remote, if set, is the clock of the ledger's server.
	Remote func() time.Time
	// Behind, if set, says that the ledger has gone back in time.
	Behind error

	mu       sync.Mutex
	grants   map[jit.ID]jit.Grant
	leases   map[jit.ID]held
	policies map[string]jit.Policy
	persons  map[string]jit.Person
	events   []jit.Event // those of all chains, in the order of the writes
	tips     map[string]jit.Tip
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
	if err := ctx.Err(); err != nil || l.Call == nil {
		return err
	}
	return l.Call(what)
}

// locked calls do with the lock, unless the call fails.
func (l *Ledger) locked(ctx context.Context, what string, do func()) error {
	if err := l.call(ctx, what); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	do()
	return nil
}

// Forget empties the ledger, as if it had been lost.
func (l *Ledger) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.grants, l.leases, l.policies, l.persons, l.events, l.tips, l.shared = nil, nil, nil, nil, nil, nil, nil
}

// Alter changes a record without an event, as somebody would from outside.
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

// ID returns an id once something is recorded.
func (l *Ledger) ID(context.Context) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) == 0 {
		return "", nil
	}
	return cmp.Or(l.Identity, "1ed9e20a-0000-4000-8000-000000000001"), nil
}

// Lookup returns one record.
func (l *Ledger) Lookup(ctx context.Context, id jit.ID) (g jit.Grant, ok bool, err error) {
	err = l.locked(ctx, "read", func() { g, ok = l.grants[id] })
	return g, ok, err
}

// Policies returns all policies.
func (l *Ledger) Policies(ctx context.Context) (all []jit.Policy, err error) {
	err = l.locked(ctx, "read", func() { all = slices.Collect(maps.Values(l.policies)) })
	slices.SortFunc(all, func(a, b jit.Policy) int { return cmp.Compare(a.Name, b.Name) })
	return all, err
}

// Persons returns all persons.
func (l *Ledger) Persons(ctx context.Context) (all []jit.Person, err error) {
	err = l.locked(ctx, "read", func() { all = slices.Collect(maps.Values(l.persons)) })
	slices.SortFunc(all, func(a, b jit.Person) int { return cmp.Compare(a.Name, b.Name) })
	return all, err
}

// Clock returns the time of Remote, or else that of the newest event since the last acceptance.
func (l *Ledger) Clock(ctx context.Context) (now, notBefore time.Time, err error) {
	err = l.locked(ctx, "clock", func() {
		if l.Remote != nil {
			now = l.Remote()
			return
		}
		for _, e := range l.events {
			if e.At.After(notBefore) || e.Kind == jit.EventLedgerRestored {
				notBefore = e.At
			}
		}
	})
	return now, notBefore, err
}

// Heads returns no heads.
func (l *Ledger) Heads(string) []jit.Head { return nil }

// Recall returns Behind.
func (l *Ledger) Recall(ctx context.Context, _ ...jit.Head) error {
	return cmp.Or(l.call(ctx, "read"), l.Behind)
}

// Restores returns the events about restores.
func (l *Ledger) Restores(ctx context.Context) (all []jit.Event, err error) {
	err = l.locked(ctx, "read", func() {
		for _, e := range l.events {
			if e.Kind == jit.EventLedgerBehind || e.Kind == jit.EventLedgerRestored {
				all = append(all, e)
			}
		}
	})
	return all, err
}

// Close does nothing.
func (l *Ledger) Close() error { return nil }

// Write records the entries.
func (l *Ledger) Write(ctx context.Context, entries []jit.Entry) []error {
	errs := make([]error, len(entries))
	err := l.locked(ctx, "write", func() {
		if l.grants == nil {
			l.grants, l.leases = map[jit.ID]jit.Grant{}, map[jit.ID]held{}
			l.policies, l.persons = map[string]jit.Policy{}, map[string]jit.Person{}
		}
		for i, e := range entries {
			errs[i] = l.write(e)
		}
	})
	if err == nil {
		err = l.call(ctx, "written")
	}
	if err != nil {
		return slices.Repeat([]error{err}, len(entries))
	}
	return errs
}

func (l *Ledger) write(e jit.Entry) error {
	if e.Dedup.Name != "" {
		if err := l.claim(e); err != nil {
			return err
		}
	}
	if e.Grant != nil {
		if e.OnlyUnsigned && l.unsigned(*e.Grant) {
			return jit.ErrStale
		}
		if err := l.put(*e.Grant); err != nil {
			return err
		}
	}
	if e.Policy != nil {
		l.policies[e.Policy.Name] = *e.Policy
	}
	delete(l.policies, e.DropPolicy)
	if e.Person != nil {
		l.persons[e.Person.Name] = *e.Person
	}
	delete(l.persons, e.DropPerson)
	for _, event := range e.Events {
		l.append(l.chain(e, event), event)
	}
	if e.Grant != nil {
		l.check(l.grants[e.Grant.ID])
	}
	return nil
}

// unsigned reports whether another grant of the same requester is unsigned.
func (l *Ledger) unsigned(g jit.Grant) bool {
	for id, other := range l.grants {
		if id != g.ID && other.Unsigned() && jit.SameName(other.Requester, g.Requester) {
			return true
		}
	}
	return false
}

// claim takes the deduplication key of an entry.
func (l *Ledger) claim(e jit.Entry) error {
	if e.Grant != nil || e.Policy != nil || e.DropPolicy != "" || e.Person != nil || e.DropPerson != "" {
		return jit.ErrInvalid
	}
	key := e.Dedup
	if l.shared[key.Name].lasts(key.At, key.Until) {
		return jit.ErrDuplicate
	}
	l.share(key.Name, shared{held{until: key.Until}, 0})
	return nil
}

// put writes a record.
func (l *Ledger) put(g jit.Grant) error {
	before := l.grants[g.ID]
	if before.YieldsTo(g) {
		before = jit.Grant{}
	}
	if before.Version != g.Version || before.Version > 0 && before.Owner != g.Owner {
		return jit.ErrStale
	}
	if !g.DueAt().Equal(before.DueAt()) {
		delete(l.leases, g.ID)
	}
	g.Version++
	l.grants[g.ID] = g
	return nil
}

// chain returns the chain of an event of an entry.
func (l *Ledger) chain(e jit.Entry, event jit.Event) string {
	g, known := l.grants[event.Grant]
	switch {
	case e.Grant != nil:
		return jit.ChainOf(e.Grant.Owner)
	case known && !g.ReasonLost():
		return jit.ChainOf(g.Owner)
	case event.Grant != "":
		return jit.ChainOf(cmp.Or(e.Owner, g.Owner))
	}
	return jit.AllChain
}

// append adds an event to a chain.
func (l *Ledger) append(chain string, e jit.Event) {
	last := l.tips[chain]
	e.Chain, e.Seq, e.Prev = chain, last.Seq+1, cmp.Or(last.Hash, jit.Genesis(l.Identity, chain))
	if chain != jit.AllChain {
		e.After = l.tips[jit.AllChain].Seq
	}
	e.Hash = e.Sum()
	l.events = append(l.events, e)
	if l.tips == nil {
		l.tips = map[string]jit.Tip{}
	}
	l.tips[chain] = jit.Tip{Chain: chain, Seq: e.Seq, Hash: e.Hash}
}

// Chains returns the last event of each chain.
func (l *Ledger) Chains(ctx context.Context) (all []jit.Tip, err error) {
	err = l.locked(ctx, "read", func() { all = slices.Collect(maps.Values(l.tips)) })
	slices.SortFunc(all, func(a, b jit.Tip) int { return cmp.Compare(a.Chain, b.Chain) })
	return all, err
}

// check panics if a record differs from its events.
func (l *Ledger) check(g jit.Grant) {
	var account jit.Account
	for _, e := range l.events {
		if e.Grant == g.ID {
			account.Add(e)
		}
	}
	if wrong := account.Contradictions(g); account.Whole() && len(wrong) > 0 && !l.altered[g.ID] {
		panic(fmt.Sprintf("grant %s: %v", g.ID, wrong))
	}
}

// FirstEvent returns the first event of a chain since a time.
func (l *Ledger) FirstEvent(ctx context.Context, chain string, at time.Time) (first int64, err error) {
	first = 1
	err = l.locked(ctx, "read", func() {
		first = l.tips[chain].Seq + 1
		since := func(e jit.Event) bool { return e.Chain == chain && !e.At.Before(at) }
		if i := slices.IndexFunc(l.events, since); i >= 0 {
			first = l.events[i].Seq
		}
	})
	return first, err
}

// Events returns the events of a chain from first on.
func (l *Ledger) Events(ctx context.Context, chain string, first int64) iter.Seq2[jit.Event, error] {
	return l.chosen(ctx, func(e jit.Event) bool { return e.Chain == chain && e.Seq >= first })
}

// chosen returns the events that are wanted, in the order of the writes.
func (l *Ledger) chosen(ctx context.Context, wanted func(jit.Event) bool) iter.Seq2[jit.Event, error] {
	return func(yield func(jit.Event, error) bool) {
		var all []jit.Event
		if err := l.locked(ctx, "read", func() { all = slices.Clone(l.events) }); err != nil {
			yield(jit.Event{}, err)
			return
		}
		for _, e := range all {
			if wanted(e) && !yield(e, nil) {
				return
			}
		}
	}
}

// EventsOf returns the events about these grants.
func (l *Ledger) EventsOf(ctx context.Context, ids []jit.ID) iter.Seq2[jit.Event, error] {
	return l.chosen(ctx, func(e jit.Event) bool { return slices.Contains(ids, e.Grant) })
}

// Rules returns the events that change policies and persons.
func (l *Ledger) Rules(ctx context.Context, first int64) iter.Seq2[jit.Event, error] {
	return l.chosen(ctx, func(e jit.Event) bool { return e.Chain == jit.AllChain && e.Seq >= first && e.ChangesRules() })
}

// ChangedRules reports whether a run has changed policies or persons.
func (l *Ledger) ChangedRules(ctx context.Context, run string) (changed bool, err error) {
	err = l.locked(ctx, "read", func() {
		changed = slices.ContainsFunc(l.events, func(e jit.Event) bool { return run != "" && e.Run() == run })
	})
	return changed, err
}

// Swept records a pass.
func (l *Ledger) Swept(ctx context.Context, s jit.Sweep) error {
	return l.locked(ctx, "write", func() {
		if l.Remote != nil {
			s.At = l.Remote()
		}
		l.sweeps = append(l.sweeps, s)
	})
}

// Sweeps returns the recorded passes.
func (l *Ledger) Sweeps() []jit.Sweep {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.sweeps)
}

// SweptSince returns the time since the last passes.
func (l *Ledger) SweptSince(
	ctx context.Context, owner string, now time.Time,
) (since map[string]time.Duration, err error) {
	err = l.locked(ctx, "swept since", func() {
		if l.Remote != nil {
			now = l.Remote()
		}
		since = map[string]time.Duration{}
		for _, s := range l.sweeps {
			for _, target := range s.Targets {
				if s.Owners.Include(owner) {
					since[target] = max(0, now.Sub(s.At))
				}
			}
		}
	})
	return since, err
}
