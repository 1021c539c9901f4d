package sweeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// round holds the inputs of a drift check.
type round struct {
	// skew says how the ledger's clock and this machine's disagree, or that the ledger has gone back in time; it is
	// reported already.
	skew error
	// live are the scopes with live grants.
	live []jit.Place
	// ours reports whose bindings the sweeper judges: those of the owners that the settings name or, if they name
	// all, of every owner in the ledger. Any other marker belongs to another ledger.
	ours func(owner string) bool
	// policies reads today's policies once, when they are first needed.
	policies func() ([]jit.Policy, error)
	// rules reads once, when it is first needed, who could decide and what needed approval at each time.
	rules func() (*broker.Rulebook, error)
}

func (e *engine) newRound(skew error) (r *round, err error) {
	r = &round{skew: skew, ours: e.servedByName, policies: once(e, e.Broker.Ledger.Policies), rules: once(e, e.Broker.Rulebook)}
	ctx, cancel := e.bounded()
	defer cancel()
	if r.live, err = e.Broker.Ledger.Places(ctx, e.served(), e.Broker.Now()); err == nil && e.EveryOwner {
		var known []string
		known, err = e.Broker.Ledger.Owners(ctx)
		r.ours = func(owner string) bool { return e.servedByName(owner) || slices.Contains(known, owner) }
	}
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	return r, nil
}

// once returns a function that reads once, when it is first called.
func once[T any](e *engine, read func(context.Context) (T, error)) func() (T, error) {
	return sync.OnceValues(func() (T, error) {
		ctx, cancel := e.bounded()
		defer cancel()
		return read(ctx)
	})
}

// sweepDrift visits every scope of a target that holds live grants or may hold bindings of ours and repairs drift. done
// receives each visit, and one without a scope for the listing of scopes. It returns the places it visited.
func (e *engine) sweepDrift(target string, r *round, done func(*visit)) map[jit.Place]bool {
	places, errs := e.scopes([]string{target})
	done(&visit{engine: e, at: jit.Place{Target: target}, unread: errs})
	for _, at := range r.live {
		if at.Target == target {
			places[at] = true
		}
	}
	e.visitForDrift(target, places, r, done)
	return places
}

// checkDrift compares the scope with the record and carries out what follows. It compares twice and keeps what both
// comparisons found: a grant that is made, changed or ended while the ledger and the scope are read is not drift.
func (v *visit) checkDrift(ctx context.Context) {
	seen, ok := v.compare(ctx)
	if ok && seen.skew == nil && v.decideWaiting(ctx, seen) {
		seen, ok = v.compare(ctx)
	}
	drifted := map[jit.ID]bool{}
	if ok && len(seen.steps) > 0 {
		first := make(map[sighting]bool, len(seen.steps))
		for _, s := range seen.steps {
			first[sightingOf(s)] = true
		}
		if seen, ok = v.compare(ctx); ok {
			for _, s := range seen.steps {
				drifted[s.Grant.ID] = true
			}
			seen.steps = slices.DeleteFunc(seen.steps, func(s reconcile.Step) bool { return !first[sightingOf(s)] })
		}
	}
	switch {
	case !ok:
		return
	case seen.skew == nil:
		v.clearDrift(ctx, seen, drifted)
		seen.steps = v.settled(ctx, seen.steps)
		seen.steps = v.withoutAltered(ctx, v.withoutGone(ctx, seen.steps), seen.now)
		seen.steps = v.judge(ctx, seen)
	case v.round.skew == nil:
		v.fail(errSkewed(v.at, seen.skew))
	}
	v.runUncapped(ctx, seen.steps)
}

// errSkewed is the error for a scope that is compared while the clocks disagree.
func errSkewed(at jit.Place, skew error) error {
	return fmt.Errorf("on %s of target %q only what is over is ended: %w", at.Scope, at.Target, skew)
}

// sighting identifies a finding in two comparisons.
type sighting struct {
	kind    reconcile.Kind
	id      jit.ID
	version int64
	drift   jit.DriftKind
}

func sightingOf(s reconcile.Step) sighting {
	return sighting{s.Kind, s.Grant.ID, s.Grant.Version, s.Drift}
}

// settled drops the steps that a read can explain that missed a recent write, also one of another process. If the events
// cannot be read, it drops all that might be.
func (v *visit) settled(ctx context.Context, steps []reconcile.Step) []reconcile.Step {
	var doubtful []jit.ID
	for _, s := range steps {
		if s.Drift.Staleable() {
			doubtful = append(doubtful, s.Grant.ID)
		}
	}
	unsettled, err := v.Broker.Unsettled(ctx, v.at.Target, doubtful)
	if err != nil {
		v.fail(err)
	}
	return slices.DeleteFunc(steps, func(s reconcile.Step) bool {
		return s.Drift.Staleable() && (err != nil || unsettled[s.Grant.ID])
	})
}

// decideWaiting begins or closes grants that were waiting for a decision which people have made. It reports whether any
// grant waits.
func (v *visit) decideWaiting(ctx context.Context, seen comparison) (any bool) {
	for _, g := range seen.recorded {
		if v.DryRun || g.Place() != v.at || !v.Broker.AwaitsApproval(g) {
			continue
		}
		any = true
		if _, err := v.Broker.CheckApproval(ctx, g); err != nil && !errors.Is(err, jit.ErrDenied) {
			v.fail(fmt.Errorf("read what was decided on grant %s: %w", g.ID, err))
		}
	}
	return any
}

// clearDrift records live grants as right again whose drift is open in the record and was not found now: the sweeper
// that repaired them died before it could record that.
func (v *visit) clearDrift(ctx context.Context, seen comparison, drifted map[jit.ID]bool) {
	right := slices.DeleteFunc(v.active(seen), func(g jit.Grant) bool { return g.OpenDrift == "" || drifted[g.ID] })
	if len(right) == 0 || v.DryRun {
		return
	}
	if err := v.Broker.ClearDrift(ctx, right); err != nil {
		v.fail(fmt.Errorf("record that drift is gone: %w", err))
	}
}

// active returns the recorded grants that give access to the scope now.
func (v *visit) active(seen comparison) []jit.Grant {
	return slices.DeleteFunc(slices.Clone(seen.recorded), func(g jit.Grant) bool {
		return g.State(seen.now) != jit.StateActive || g.Place() != v.at
	})
}

// findStripped reads the scope if a binding that is to be ended can lose its end, and adds to the steps which have.
func (v *visit) findStripped(ctx context.Context, steps []reconcile.Step) []reconcile.Step {
	mayLose := func(s reconcile.Step) bool { return s.Kind == reconcile.End && s.Grant.Access().NoStandingBefore }
	if !slices.ContainsFunc(steps, mayLose) {
		return steps
	}
	snapshot, ok := v.read(ctx)
	for i, s := range steps {
		if !ok || s.Kind != reconcile.End {
			continue
		}
		if d := s.Grant.Differs(snapshot); d.Kind == jit.DriftStripped {
			steps[i].Reason += "; " + d.Words
			steps[i].Drift, steps[i].Severity = d.Kind, d.Kind.Severity()
		}
	}
	return steps
}

// comparison is a scope beside its record.
type comparison struct {
	// now is when the record was read, by the clock that decides there; the scope was read after it. skew says how the
	// clocks disagree: nothing but what is over, or has not begun, is then judged.
	now      time.Time
	skew     error
	recorded []jit.Grant
	// steps repair what does not match the record.
	steps []reconcile.Step
}

// compare reads the record and the scope. ok is false, and the visit has the error, if either could not be read, or if
// no clock can be trusted.
func (v *visit) compare(ctx context.Context) (seen comparison, ok bool) {
	seen, snapshot, ok := v.readBoth(ctx)
	if ok && seen.skew != nil { // once more by the clock that decides, which the first read told
		seen, snapshot, ok = v.readBoth(ctx)
	}
	switch {
	case !ok:
	case seen.now.IsZero():
		v.fail(errSkewed(v.at, seen.skew))
		return seen, false
	default:
		if err := v.plan(ctx, &seen, snapshot); err != nil {
			v.fail(fmt.Errorf("read the ledger: %w", err))
			return seen, false
		}
	}
	return seen, ok
}

// readBoth reads the record and then the scope, and says by which clock.
func (v *visit) readBoth(ctx context.Context) (seen comparison, snapshot jit.Snapshot, ok bool) {
	now, _, err := v.timeHere(ctx)
	if now.IsZero() {
		now = v.Broker.Now()
	}
	live := jit.Filter{Target: v.at.Target, Scope: v.at.Scope, LiveAt: now}
	recorded, failed := collect(v.Broker.Ledger.Grants(ctx, live))
	if jit.Partial(failed, v.served()) {
		failed = nil
	}
	if err = cmp.Or(err, failed); err != nil {
		v.fail(fmt.Errorf("read the ledger: %w", err))
		return seen, snapshot, false
	}
	seen.recorded = slices.DeleteFunc(recorded, func(g jit.Grant) bool { return !v.served().Include(g.Owner) })
	if snapshot, ok = v.read(ctx); !ok {
		return seen, snapshot, false
	}
	seen.now = now
	if decides, skew := v.Broker.KnownTime(v.at.Target); skew != nil {
		seen.now, seen.skew = decides, skew
	} else if errors.Is(v.round.skew, jit.ErrBehind) {
		seen.skew = v.round.skew
	}
	return seen, snapshot, true
}

// plan reads the records of the markers that no live grant of the scope explains, and adds the steps.
func (v *visit) plan(ctx context.Context, seen *comparison, snapshot jit.Snapshot) (err error) {
	records := jit.Records{Now: seen.now, MaxTTL: v.Broker.MaxTTL, Grants: map[jit.ID]jit.Grant{}}
	for _, g := range seen.recorded {
		records.Grants[g.ID] = g
	}
	var others []jit.ID
	for id := range snapshot.Marked() {
		if _, live := records.Grants[id]; !live {
			others = append(others, id)
		}
	}
	if len(others) > 0 {
		more, err := collect(v.Broker.Ledger.Grants(ctx, jit.Filter{IDs: others}))
		if err != nil && !jit.Partial(err, v.served()) {
			return err
		}
		for _, g := range more {
			records.Grants[g.ID] = g
			if v.served().Include(g.Owner) {
				seen.recorded = append(seen.recorded, g)
			}
		}
	}
	steps := v.planAt(seen, snapshot)
	steps = reconcile.Unexplained(steps, records, v.round.ours, v.at, snapshot)
	if seen.skew == nil {
		seen.steps, err = v.withoutDue(ctx, steps, seen.now)
		return err
	}
	seen.steps = slices.DeleteFunc(steps, func(s reconcile.Step) bool { return !endsByTheClock(s) })
	return nil
}

// planAt returns the steps at the time that decides. What has not begun by a clock that is behind is judged once more at
// the latest time: a live grant is not ended because one clock is behind.
func (v *visit) planAt(seen *comparison, snapshot jit.Snapshot) []reconcile.Step {
	at := func(now time.Time) []reconcile.Step {
		return reconcile.Plan(now, v.round.ours, seen.recorded, map[jit.Place]jit.Snapshot{v.at: snapshot}, v.OnDrift)
	}
	steps, early := at(seen.now), map[jit.ID]bool{}
	if seen.skew == nil {
		return steps
	}
	steps = slices.DeleteFunc(steps, func(s reconcile.Step) bool {
		early[s.Grant.ID] = early[s.Grant.ID] || s.Drift == jit.DriftTooEarly
		return s.Drift == jit.DriftTooEarly
	})
	for _, s := range at(v.Broker.LatestTime(v.at.Target)) {
		if early[s.Grant.ID] && s.Kind != reconcile.End && endsByTheClock(s) {
			steps = append(steps, s)
		}
	}
	return steps
}

// endsByTheClock reports whether a step ends access that is over or has not begun.
func endsByTheClock(s reconcile.Step) bool {
	return s.Kind == reconcile.End || s.Kind == reconcile.Remove || s.Drift == jit.DriftTooEarly
}

// withoutDue drops ends and starts that are due and are carried out on time. It keeps an end that is overdue and that
// the ledger does not list as due, for example because somebody wrote to the ledger: nothing else would end that grant.
func (v *visit) withoutDue(ctx context.Context, steps []reconcile.Step, now time.Time) ([]reconcile.Step, error) {
	overdue := now.Add(-jit.OverdueAfter)
	ends := false
	steps = slices.DeleteFunc(steps, func(s reconcile.Step) bool {
		end := s.Kind == reconcile.End && s.Grant.Outstanding(overdue)
		ends = ends || end
		return planned(s) && !end
	})
	if !ends {
		return steps, nil
	}
	due, err := collect(v.Broker.Ledger.Grants(ctx, jit.Filter{Target: v.at.Target, Scope: v.at.Scope, DueBy: now}))
	if jit.Partial(err, v.served()) {
		err = nil
	}
	listed := make(map[jit.ID]bool, len(due))
	for _, g := range due {
		listed[g.ID] = true
	}
	return slices.DeleteFunc(steps, func(s reconcile.Step) bool {
		return s.Kind == reconcile.End && listed[s.Grant.ID]
	}), err
}
