package sweeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// ErrHeld is the error of a step that the cap on unplanned removals held back.
var ErrHeld = errors.New(
	"held back: the pass has made as many unplanned removals as max_unplanned_revocations allows; " +
		"review the findings with `jit sweep --dry-run`, then allow more",
)

// budget counts unplanned removals against the cap: for a pass, or for one drift interval of a watcher.
type budget struct {
	mu    sync.Mutex
	since time.Time
	// used counts removals of grants in the ledger, and unknown those of markers without one: anybody who writes
	// markers can use up the second only.
	used, unknown int
}

// spend takes one removal from the cap and returns false when none is left. Bindings that give no access cost nothing.
func (b *budget) spend(s reconcile.Step, most int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	used := &b.used
	if s.Unknown() {
		used = &b.unknown
	}
	switch {
	case s.Idle && most > 0:
		return true
	case *used >= most:
		return false
	}
	*used++
	return true
}

// renew resets the count when the interval is over.
func (b *budget) renew(now time.Time, interval time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.since).Abs() >= interval {
		b.since, b.used, b.unknown = now, 0, 0
	}
}

// runCapped carries out steps, with at most as many unplanned removals as the cap allows, and records the others as
// held back. A grant that is revoked is not repaired first: that would change the record that the revocation is about.
func (v *visit) runCapped(ctx context.Context, steps []reconcile.Step) {
	var held []reconcile.Step
	kept := slices.DeleteFunc(steps, func(s reconcile.Step) bool {
		over := s.Kind.Unplanned() && !v.budget.spend(s, v.MaxUnplanned)
		if over {
			held = append(held, s)
			v.results = append(v.results, Result{Step: s, Err: ErrHeld})
		}
		return over
	})
	v.recordHeld(ctx, held)
	ending := revoked(kept)
	v.run(ctx, slices.DeleteFunc(kept, func(s reconcile.Step) bool {
		return s.Kind == reconcile.Repair && ending[s.Grant.ID]
	}))
}

// recordHeld records the steps that the cap held back, up to a limit so that a runaway does not fill the record.
func (v *visit) recordHeld(ctx context.Context, held []reconcile.Step) {
	if v.DryRun {
		return
	}
	held = held[:min(len(held), maxHeldRecorded)]
	for i := range held {
		held[i].Kind, held[i].Held = reconcile.Report, true
	}
	for _, err := range v.execute(ctx, held) {
		if err != nil {
			v.fail(fmt.Errorf("record what was held back: %w", err))
		}
	}
}

// run carries out steps on the scope and appends a result for each.
func (v *visit) run(ctx context.Context, steps []reconcile.Step) {
	errs := make([]error, len(steps))
	if !v.DryRun {
		errs = v.checkClock(ctx, steps)
		var at []int
		var todo []reconcile.Step
		for i, s := range steps {
			if errs[i] == nil {
				at, todo = append(at, i), append(todo, s)
			}
		}
		for k, err := range v.execute(ctx, todo) {
			errs[at[k]] = err
		}
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
