package sweeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

const (
	// patience is how long no scope of a target may be finished before the removals found so far are carried out.
	patience = 30 * time.Second
	// longest is how long removals wait in any case, as a multiple of the patience.
	longest = 4
)

// budget counts, for one target, what anybody who can write markers can make any number of: for a pass, or for one
// drift interval of a watcher.
type budget struct {
	mu    sync.Mutex
	since time.Time
	// used counts removals of grants in the ledger, and decoys those of markers without one and of copies: anybody who
	// writes markers can use up the second only.
	used, decoys int
	// reports, idle and held count what is recorded: reports on markers without a record, removals of bindings that
	// give nobody access, and removals that were held back.
	reports, idle, held int
}

// take takes up to n, and the rest of most at most, from a count and returns how many.
func (b *budget) take(count *int, n, most int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n = min(n, max(0, most-*count))
	*count += n
	return n
}

// spend takes one removal from the cap and returns false when none is left.
func (b *budget) spend(s reconcile.Step, most int) bool {
	if s.Unknown() || s.Drift == jit.DriftCopied {
		return b.take(&b.decoys, 1, most) == 1
	}
	return b.take(&b.used, 1, most) == 1
}

// give gives back one removal that was spent and not made.
func (b *budget) give(s reconcile.Step) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.Unknown() || s.Drift == jit.DriftCopied {
		b.decoys--
	} else {
		b.used--
	}
}

// renew resets the counts when the interval is over.
func (b *budget) renew(now time.Time, interval time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.since).Abs() >= interval {
		b.since, b.used, b.decoys, b.reports, b.idle, b.held = now, 0, 0, 0, 0, 0
	}
}

// runUncapped carries out the steps to which the cap on unplanned removals does not apply, and keeps the others for
// [visit.runAllowed]. A binding that gives nobody access costs nothing. The repair of a grant that is to be revoked is
// kept as well: it would change the record that the revocation is about.
func (v *visit) runUncapped(ctx context.Context, steps []reconcile.Step) {
	b := v.budgets[v.at.Target]
	steps = capped(steps, func(n int) int { return b.take(&b.reports, min(n, maxReported), maxRecorded) },
		func(s reconcile.Step) bool { return s.Kind == reconcile.Report && s.Unknown() })
	steps = capped(steps, func(n int) int { return b.take(&b.idle, min(n, maxIdle), maxIdle) },
		func(s reconcile.Step) bool { return s.Kind == reconcile.Remove && s.Idle })
	ending := revoked(steps)
	var now []reconcile.Step
	for _, s := range steps {
		free := s.Idle && v.MaxUnplanned > 0
		if s.Kind.Unplanned() && !free || s.Kind == reconcile.Repair && ending[s.Grant.ID] {
			v.later = append(v.later, s)
		} else {
			now = append(now, s)
		}
	}
	v.found = time.Now()
	v.run(ctx, now)
}

// runAllowed carries out those of the steps kept for later that are allowed, and gives back what was spent on removals
// that fail. A grant that is revoked is not repaired.
func (v *visit) runAllowed(ctx context.Context, allowed []bool) {
	var now, rest []reconcile.Step
	for i, s := range v.later {
		if allowed[i] {
			now = append(now, s)
		} else {
			rest = append(rest, s)
		}
	}
	v.later = rest
	now = v.stillFound(ctx, now)
	ending := revoked(now)
	before := len(v.results)
	v.run(ctx, slices.DeleteFunc(now, func(s reconcile.Step) bool {
		return s.Kind == reconcile.Repair && ending[s.Grant.ID]
	}))
	for _, r := range v.results[before:] {
		if r.Kind.Unplanned() && r.Failed() {
			v.budgets[v.at.Target].give(r.Step)
		}
	}
}

// hold records the removals that the cap holds back.
func (v *visit) hold(ctx context.Context) {
	for _, s := range v.later {
		v.results = append(v.results, Result{Step: s, Err: ErrHeld})
	}
	v.recordHeld(ctx, v.later)
	v.later = nil
}

// errUnseen is the error of a removal whose scope could not be read again.
var errUnseen = errors.New("the scope could not be read again before the removal")

// stillFound reads the scope again if it was read a while ago, and drops the removals of bindings that no longer drift.
// A revocation looks at the record by itself.
func (v *visit) stillFound(ctx context.Context, steps []reconcile.Step) []reconcile.Step {
	remove := func(s reconcile.Step) bool { return s.Kind == reconcile.Remove && s.Drift != jit.DriftAltered }
	if time.Since(v.found) < slow || !slices.ContainsFunc(steps, remove) {
		return steps
	}
	still := map[sighting]bool{}
	seen, ok := v.compare(ctx)
	for _, s := range seen.steps {
		still[sightingOf(s)] = true
	}
	for _, s := range steps {
		if !ok && remove(s) {
			v.results = append(v.results, Result{Step: s, Err: errUnseen})
		}
	}
	return slices.DeleteFunc(steps, func(s reconcile.Step) bool { return remove(s) && !still[sightingOf(s)] })
}

// recordHeld records the steps that the cap held back, up to a limit so that a runaway does not fill the record.
func (v *visit) recordHeld(ctx context.Context, held []reconcile.Step) {
	if v.DryRun || len(held) == 0 {
		return
	}
	b := v.budgets[v.at.Target]
	held = slices.Clone(held[:b.take(&b.held, min(len(held), maxReported), maxRecorded)])
	for i := range held {
		held[i].Kind, held[i].Held = reconcile.Report, true
	}
	for _, err := range v.execute(ctx, held) {
		if err != nil {
			v.fail(fmt.Errorf("record what was held back: %w", err))
		}
	}
}

// visitForDrift looks for drift at places of one target. Which unplanned removals the cap allows is decided when all
// scopes have been looked at, so that what gives most goes first, wherever it is. Scopes that do not answer hold the
// removals on others up only for a while.
func (e *engine) visitForDrift(target string, places map[jit.Place]bool, r *round, done func(*visit)) {
	var mu sync.Mutex
	var waiting []*visit
	progress, over := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(over)
		e.visitAll(maps.Keys(places), func(ctx context.Context, v *visit) {
			v.round = r
			v.checkDrift(ctx)
			if len(v.later) == 0 {
				done(v)
			} else {
				mu.Lock()
				waiting = append(waiting, v)
				mu.Unlock()
			}
			signal(progress)
		})
	}()
	var removals sync.WaitGroup
	pause := e.patience()
	for last := false; !last; {
		last = pausedOrOver(pause, progress, over)
		mu.Lock()
		ready := waiting
		waiting = nil
		mu.Unlock()
		if len(ready) > 0 {
			allowed := e.allow(target, ready)
			removals.Go(func() { e.carryOut(target, ready, allowed, done) })
		}
	}
	removals.Wait()
}

// patience returns how long removals wait for the next scope to finish: less if the time of the pass is short.
func (e *engine) patience() time.Duration {
	deadline, ok := e.calls.Deadline()
	if !ok {
		return patience
	}
	return max(time.Second/10, min(patience, time.Until(deadline)/(longest+1)))
}

// pausedOrOver waits until nothing is signalled on progress for the pause, or for long in any case, and reports whether
// over was closed.
func pausedOrOver(pause time.Duration, progress, over <-chan struct{}) bool {
	timer, end := time.NewTimer(pause), time.NewTimer(longest*pause)
	defer timer.Stop()
	defer end.Stop()
	for {
		select {
		case <-over:
			return true
		case <-progress:
			timer.Reset(pause)
		case <-timer.C:
			return false
		case <-end.C:
			return false
		}
	}
}

// candidate is an unplanned removal that a visit has kept for later. turn is its place among those of the scope that
// give as much.
type candidate struct{ visit, step, turn int }

// allow spends the cap on the steps that visits have kept for later: the worst first, and among equals each scope in
// its turn. It returns for each step of each visit whether it may be carried out. Repairs always may.
func (e *engine) allow(target string, visits []*visit) [][]bool {
	step := func(c candidate) reconcile.Step { return visits[c.visit].later[c.step] }
	return e.spend(target, visits, func(all []candidate) []candidate {
		slices.SortStableFunc(all, func(a, b candidate) int {
			return cmp.Or(slices.Compare(step(a).Gravity(), step(b).Gravity()), a.turn-b.turn)
		})
		return all
	})
}

// allowInstead spends on removals what others that failed have given back, in random order: what cannot be removed must
// not hold up what can, however much it gives. A revocation waits for the next pass, because a repair of its grant may
// have been carried out.
func (e *engine) allowInstead(target string, visits []*visit) [][]bool {
	return e.spend(target, visits, func(all []candidate) []candidate {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		return slices.DeleteFunc(all, func(c candidate) bool {
			return visits[c.visit].later[c.step].Kind != reconcile.Remove
		})
	})
}

// spend spends the cap on the candidates that order returns, in their order.
func (e *engine) spend(target string, visits []*visit, order func([]candidate) []candidate) [][]bool {
	var all []candidate
	allowed := make([][]bool, len(visits))
	for _, n := range rand.Perm(len(visits)) { // so that no scope is always last
		steps := visits[n].later
		allowed[n] = make([]bool, len(steps))
		turns := map[string]int{}
		for i, s := range steps {
			if !s.Kind.Unplanned() {
				allowed[n][i] = true
				continue
			}
			like := fmt.Sprint(s.Gravity())
			all = append(all, candidate{n, i, turns[like]})
			turns[like]++
		}
	}
	for _, c := range order(all) {
		allowed[c.visit][c.step] = e.budgets[target].spend(visits[c.visit].later[c.step], e.MaxUnplanned)
	}
	return allowed
}

// carryOut carries out the steps that visits have kept for later and that are allowed, once more for what failed, and
// records what the cap holds back. done receives each visit.
func (e *engine) carryOut(target string, visits []*visit, allowed [][]bool, done func(*visit)) {
	e.again(visits, func(ctx context.Context, n int) { visits[n].runAllowed(ctx, allowed[n]) })
	visits = slices.DeleteFunc(visits, func(v *visit) bool {
		if len(v.later) == 0 {
			done(v)
		}
		return len(v.later) == 0
	})
	allowed = e.allowInstead(target, visits)
	e.again(visits, func(ctx context.Context, n int) {
		visits[n].runAllowed(ctx, allowed[n])
		visits[n].hold(ctx)
	})
	for _, v := range visits {
		done(v)
	}
}

// again visits the scopes of visits once more. work receives the position of the visit.
func (e *engine) again(visits []*visit, work func(ctx context.Context, n int)) {
	at := map[jit.Place]int{}
	for n, v := range visits {
		at[v.at] = n
	}
	e.visitAll(maps.Keys(at), func(ctx context.Context, again *visit) {
		work(ctx, at[again.at])
	})
}
