package sweeper

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// sweepMarkers ends what the markers on the targets say is over, by the target's clock where it tells the time. ledger is
// why the ledger cannot be used, or nil if it is left out on purpose. The ends in markers are planned, so the cap on
// unplanned removals does not apply.
// A scope that an earlier sweep still works on is left to that one.
func (e *engine) sweepMarkers(ledger error) {
	places, errs := e.scopes(e.targets())
	e.completed(&visit{unread: errs})
	e.visitAll(maps.Keys(places), func(ctx context.Context, v *visit) {
		if !e.takeMarkers(v.at) {
			return
		}
		defer e.releaseMarkers(v.at)
		v.unrecorded = true
		if snapshot, ok := v.read(ctx); ok {
			now, skew := v.Broker.KnownTime(v.at.Target)
			if skew != nil {
				v.fail(fmt.Errorf("another clock than this machine's decides what is over on %s of target %q: %w",
					v.at.Scope, v.at.Target, skew))
			}
			if now.IsZero() {
				now = v.Broker.Now()
			}
			steps := reconcile.Plan(now, e.servedByName, nil, map[jit.Place]jit.Snapshot{v.at: snapshot}, nil)
			if ledger != nil {
				steps = slices.DeleteFunc(steps, func(s reconcile.Step) bool { return s.Kind == reconcile.Report })
			}
			v.run(ctx, steps)
		}
		e.completed(v)
	})
}

// takeMarkers takes the sweep by the markers of a scope, and returns false if another has it.
func (e *engine) takeMarkers(at jit.Place) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.byMarkers[at] {
		return false
	}
	e.byMarkers[at] = true
	return true
}

func (e *engine) releaseMarkers(at jit.Place) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.byMarkers, at)
}
