package sweeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// ErrHeld is the error of a step that the cap on unplanned removals held back.
var ErrHeld = errors.New(
	"held back: the pass has made as many unplanned removals as max_unplanned_revocations allows; " +
		"review the findings with `jit sweep --dry-run`, then allow more",
)

// capped keeps the first steps of a kind that anybody who can write to the scope can make any number of, at least one.
// room says how many of n there is room for. The last one says how many more there are.
func capped(steps []reconcile.Step, room func(n int) int, of func(reconcile.Step) bool) []reconcile.Step {
	last, n, all := 0, 0, 0
	for _, s := range steps {
		if of(s) {
			all++
		}
	}
	if all == 0 {
		return steps
	}
	most := max(1, room(all))
	kept := make([]reconcile.Step, 0, len(steps))
	for _, s := range steps {
		if of(s) {
			if n++; n > most {
				continue
			}
			last = len(kept)
		}
		kept = append(kept, s)
	}
	if n > most {
		kept[last].Reason += fmt.Sprintf("; the scope has %d more such bindings", n-most)
	}
	return kept
}

// run carries out steps on the scope and appends a result for each.
func (v *visit) run(ctx context.Context, steps []reconcile.Step) {
	errs := make([]error, len(steps))
	if !v.DryRun {
		errs = v.execute(ctx, steps)
	}
	for i, err := range errs {
		v.results = append(v.results, Result{Step: steps[i], Err: err})
	}
}

// execute carries out steps whose findings are recorded once.
func (v *visit) execute(ctx context.Context, steps []reconcile.Step) []error {
	for i, s := range steps {
		switch {
		case s.Kind == reconcile.Remove:
			// A binding that is found again after a minute was brought back.
			steps[i].Dedup = v.dedupKey(s, "removed", time.Minute)
		case s.Held:
			steps[i].Dedup = v.dedupKey(s, "held back", recordAgain)
		case s.Kind == reconcile.Report:
			steps[i].Dedup = v.dedupKey(s, "nothing", recordAgain)
		}
	}
	errs := v.Broker.Execute(ctx, steps)
	v.reported.note(steps, errs)
	return errs
}

// revoked returns the grants that the steps revoke.
func revoked(steps []reconcile.Step) map[jit.ID]bool {
	ids := map[jit.ID]bool{}
	for _, s := range steps {
		if s.Kind == reconcile.Revoke {
			ids[s.Grant.ID] = true
		}
	}
	return ids
}
