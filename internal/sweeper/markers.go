package sweeper

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// sweepMarkers ends what the markers on the targets say is over, both at now and by the target's clock. ledger is why
// the ledger cannot be used, or nil if it is left out on purpose. The ends in markers are planned, so the cap on
// unplanned removals does not apply.
func (e *engine) sweepMarkers(now time.Time, ledger error) {
	places, errs := e.scopes(e.targets())
	e.completed(&visit{unread: errs})
	e.visitAll(maps.Keys(places), func(ctx context.Context, v *visit) {
		v.unrecorded = true
		if snapshot, ok := v.read(ctx, now); ok {
			over, skew := jit.EarlierTime(now, snapshot.Clock)
			if skew != nil {
				v.fail(fmt.Errorf("bindings on %s of target %q stay if only one clock says they are over: %w",
					v.at.Scope, v.at.Target, skew))
			}
			steps := reconcile.Plan(over, e.servedByName, nil, map[jit.Place]jit.Snapshot{v.at: snapshot}, nil)
			if ledger != nil {
				steps = slices.DeleteFunc(steps, func(s reconcile.Step) bool { return s.Kind == reconcile.Report })
			}
			v.run(ctx, steps)
		}
		e.completed(v)
	})
}
