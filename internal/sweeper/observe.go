package sweeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Observation is the state read from the targets. Making one writes nothing.
type Observation struct {
	Snapshots map[jit.Place]jit.Snapshot
	// Live are the recorded grants of every owner that are not over.
	Live []jit.Grant
	// Records explain the markers of the snapshots.
	Records jit.Records
	// Unread are the errors of reading the ledger, targets and scopes.
	Unread []error
	// Targets says what was read on each target that is wanted, ordered by name.
	Targets []Coverage
}

// Coverage lists the scopes read on one target.
type Coverage struct {
	Target string
	// Read are the scopes that were read, in order.
	Read []string
	// Unread are the places that could not be read, in order.
	Unread []*ReadError
	// Unseen are notes about things that the scopes that were read do not show, in the order of the scopes.
	Unseen []Note
}

// Complete reports whether everything on the target was read.
func (c Coverage) Complete() bool { return len(c.Unread)+len(c.Unseen) == 0 }

// ReadError is the error of a place that could not be read or, without a scope, of a target whose scopes could not be
// listed.
type ReadError struct {
	jit.Place
	Err error
}

// Error names the place.
func (e *ReadError) Error() string {
	if e.Scope == "" {
		return fmt.Sprintf("list the scopes of target %q: %v", e.Target, e.Err)
	}
	return fmt.Sprintf("read %s of target %q: %v", e.Scope, e.Target, e.Err)
}

// Unwrap returns the cause.
func (e *ReadError) Unwrap() error { return e.Err }

// Observe reads every scope that holds live grants or may hold a binding of ours, on the targets that are wanted.
func (s *Sweeper) Observe(ctx context.Context, wanted func(target string) bool) Observation {
	e := s.singlePass(ctx)
	now := s.Broker.Now()
	targets := slices.DeleteFunc(s.targets(), func(name string) bool { return !wanted(name) })
	places, errs := e.scopes(targets)
	o := Observation{Snapshots: map[jit.Place]jit.Snapshot{}, Unread: errs}
	live, unread := collect(s.Broker.Ledger.Grants(ctx, jit.Filter{LiveAt: now}))
	o.Live = live
	for _, g := range live {
		if slices.Contains(targets, g.Target) {
			places[g.Place()] = true
		}
	}
	var mu sync.Mutex
	e.visitAll(maps.Keys(places), func(ctx context.Context, v *visit) {
		snapshot, ok := v.read(ctx)
		mu.Lock()
		defer mu.Unlock()
		if o.Unread = append(o.Unread, v.unread...); ok {
			o.Snapshots[v.at] = snapshot
		}
	})
	for _, name := range targets {
		o.Targets = append(o.Targets, o.coverage(name))
	}
	o.Records = s.Broker.Records(ctx, slices.Collect(maps.Values(o.Snapshots))...)
	if o.Records.Unread = cmp.Or(o.Records.Unread, unread); o.Records.Unread != nil {
		o.Unread = append(o.Unread, fmt.Errorf("read the ledger: %w", cmp.Or(unread, o.Records.Unread)))
	}
	return o
}

// Complete reports whether everything was read.
func (o Observation) Complete() bool {
	return len(o.Unread) == 0 && !slices.ContainsFunc(o.Targets, func(c Coverage) bool { return !c.Complete() })
}

// coverage returns the scopes read on a target.
func (o *Observation) coverage(target string) Coverage {
	c := Coverage{Target: target}
	for at, s := range o.Snapshots {
		if at.Target != target {
			continue
		}
		c.Read = append(c.Read, at.Scope)
		for _, text := range s.Unseen {
			c.Unseen = append(c.Unseen, Note{at, jit.Note{Text: text}})
		}
	}
	for _, err := range o.Unread {
		var failed *ReadError
		if errors.As(err, &failed) && failed.Target == target {
			c.Unread = append(c.Unread, failed)
		}
	}
	slices.Sort(c.Read)
	slices.SortFunc(c.Unread, func(a, b *ReadError) int { return cmp.Compare(a.Scope, b.Scope) })
	slices.SortStableFunc(c.Unseen, func(a, b Note) int { return cmp.Compare(a.Scope, b.Scope) })
	return c
}
