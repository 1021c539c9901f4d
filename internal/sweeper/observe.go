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

// Observation is what one look at the targets found. Nothing is written for it.
type Observation struct {
	Snapshots map[jit.Place]jit.Snapshot
	// Live are the recorded grants of every owner that are not over.
	Live []jit.Grant
	// Records explain the markers of the snapshots.
	Records jit.Records
	// Unread are the errors of all that could not be read: the ledger, targets and scopes.
	Unread []error
	// Targets says of each wanted target what was looked at, in the order of their names.
	Targets []Looked
}

// Looked is what was looked at on one target.
type Looked struct {
	Target string
	// Read are the scopes that were read, in order.
	Read []string
	// Unread are the places that could not be read, in order.
	Unread []*ReadError
	// Unseen is what could not be looked at on scopes that were read, in the order of the scopes.
	Unseen []Note
}

// Complete reports whether everything on the target was looked at.
func (l Looked) Complete() bool { return len(l.Unread)+len(l.Unseen) == 0 }

// ReadError says that a place could not be read, or with an empty scope that the scopes of the target could not be listed.
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
		snapshot, ok := v.read(ctx, now)
		mu.Lock()
		defer mu.Unlock()
		if o.Unread = append(o.Unread, v.unread...); ok {
			o.Snapshots[v.at] = snapshot
		}
	})
	o.Records = s.Broker.Records(ctx, slices.Collect(maps.Values(o.Snapshots))...)
	o.Records.Unread = cmp.Or(o.Records.Unread, unread)
	if err := o.Records.Unread; err != nil {
		o.Unread = append(o.Unread, fmt.Errorf("read the ledger: %w", cmp.Or(unread, err)))
	}
	o.addCoverage(targets)
	return o
}

// Complete reports whether everything could be read and looked at.
func (o Observation) Complete() bool {
	return len(o.Unread) == 0 && !slices.ContainsFunc(o.Targets, func(l Looked) bool { return !l.Complete() })
}

// addCoverage sorts what was read and what was not by target.
func (o *Observation) addCoverage(targets []string) {
	for _, name := range targets {
		l := Looked{Target: name}
		for at, s := range o.Snapshots {
			if at.Target != name {
				continue
			}
			l.Read = append(l.Read, at.Scope)
			for _, text := range s.Unseen {
				l.Unseen = append(l.Unseen, Note{at, jit.Note{Text: text}})
			}
		}
		for _, err := range o.Unread {
			var failed *ReadError
			if errors.As(err, &failed) && failed.Target == name {
				l.Unread = append(l.Unread, failed)
			}
		}
		slices.Sort(l.Read)
		slices.SortFunc(l.Unread, func(a, b *ReadError) int { return cmp.Compare(a.Scope, b.Scope) })
		slices.SortStableFunc(l.Unseen, func(a, b Note) int { return cmp.Compare(a.Scope, b.Scope) })
		o.Targets = append(o.Targets, l)
	}
}
