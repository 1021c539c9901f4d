package sweeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

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

// Observe reads every scope that holds live grants or may hold a binding of ours, on the targets whose names are wanted.
func (s *Sweeper) Observe(ctx context.Context, wanted func(target string) bool) Observation {
	p := &pass{Sweeper: s, now: s.Broker.Now()}
	var o Observation
	var unread error
	if o.Live, unread = collect(s.Broker.Ledger.Grants(ctx, jit.Filter{LiveAt: p.now})); unread != nil {
		p.unread(fmt.Errorf("read the ledger: %w", unread))
	}
	places := map[jit.Place]bool{}
	for _, g := range o.Live {
		if _, known := s.Broker.Targets[g.Target]; known && wanted(g.Target) {
			places[g.Place()] = true
		}
	}
	p.scopes(ctx, places, wanted)
	o.Snapshots = p.read(ctx, places)
	o.Records = s.Broker.Records(ctx, slices.Collect(maps.Values(o.Snapshots))...)
	if o.Records.Unread == nil {
		o.Records.Unread = unread
	} else if unread == nil {
		p.unread(fmt.Errorf("read the ledger: %w", o.Records.Unread))
	}
	o.Unread = p.report.Unread
	o.looked(slices.DeleteFunc(slices.Collect(maps.Keys(s.Broker.Targets)), func(name string) bool { return !wanted(name) }))
	return o
}

// Complete reports whether everything could be read and looked at.
func (o Observation) Complete() bool {
	return len(o.Unread) == 0 && !slices.ContainsFunc(o.Targets, func(l Looked) bool { return !l.Complete() })
}

// looked sorts what was read and what was not by target.
func (o *Observation) looked(targets []string) {
	slices.Sort(targets)
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
