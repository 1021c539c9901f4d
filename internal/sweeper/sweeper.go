// Package sweeper ends what is over, starts what is due and puts right what has
// drifted.
package sweeper

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// DefaultMaxUnplanned is how many bindings a pass removes that no recorded end explains.
const DefaultMaxUnplanned = 20

// Sweeper makes passes. Its fields are set once, before use.
type Sweeper struct {
	Broker *broker.Broker
	// Owners are those whose grants it serves. Where they are empty and EveryOwner is false it serves Broker.Owner, and of the others it
	// ends what it sees on its own targets.
	Owners jit.Owners
	// EveryOwner: the grants of all owners are served, for all of them mean the same system by the name of a target.
	EveryOwner bool
	// Holder names this sweeper in the leases of due work; two running at once have two names.
	Holder string
	// DryRun only tells what would be done and writes nothing.
	DryRun bool
	// DueOnly starts and ends what is due, by the ledger alone, and looks for no drift: with nothing due it makes no call.
	DueOnly bool
	// MarkersOnly goes by the markers on the platforms, as if there were no ledger.
	MarkersOnly bool
	// MaxUnplanned caps the removals and revocations of a pass that no recorded end explains; a runaway stops there.
	MaxUnplanned int
	// OnDrift says what is done about drift on a target; where it says nothing, drift is repaired.
	OnDrift map[string]jit.OnDrift
	// RevokeViolations ends live grants that today's policies would not permit; else they are reported.
	RevokeViolations bool
	// ClaimSize is how many due grants are claimed at once; 0 means 5,000.
	ClaimSize int
	// Progress, if set, is told of every step when it has been done or has failed.
	Progress func(Result)
}

// Result is one step and what came of it.
type Result struct {
	reconcile.Step
	// Err is nil when it was done; of a dry run it is always nil.
	Err error `json:"-"`
}

// Report is what came of a pass.
type Report struct {
	Results []Result
	// Unread are the errors of what could not be read: the ledger, targets, scopes.
	Unread []error
	// Held are the unplanned removals that the cap kept from being done.
	Held []reconcile.Step
	// Elsewhere are grants that are due and that another sweeper has claimed and not done yet.
	Elsewhere []jit.Grant
	// OutOfReach are the steps that are overdue and that this sweeper cannot take; each says why.
	OutOfReach []reconcile.Step
}

// Remains reports whether the step ended access and something that gives none is left to be cleaned up.
func (r Result) Remains() bool { return errors.Is(r.Err, jit.ErrRemains) }

// Failed reports whether the step could not be done.
func (r Result) Failed() bool { return r.Err != nil && !r.Remains() }

// Unended counts what is out of reach and has not ended as far as anybody knows: where the target itself ends access, it has.
func (r Report) Unended() int {
	n := 0
	for _, s := range r.OutOfReach {
		if s.Grant.Enforcement != jit.Native {
			n++
		}
	}
	return n
}

// Failed counts the steps that could not be done.
func (r Report) Failed() int {
	n := 0
	for _, s := range r.Results {
		if s.Failed() {
			n++
		}
	}
	return n
}

// ErrHeld is the error of a step that the cap on unplanned removals kept from being done.
var ErrHeld = errors.New("held back: as many unplanned removals as max_unplanned_revocations allows were made; look at what is found with `jit sweep --dry-run`, then allow more")

// Pass makes one pass: what is due first, then drift. It never gives up on one scope because of another.
// A ledger that cannot be read does not keep markers from being honoured: what they
// say is over is ended.
func (s *Sweeper) Pass(ctx context.Context) Report {
	p := &pass{Sweeper: s, now: s.Broker.Now(), budget: &budget{}, policies: &policies{}, owners: &owners{}, noted: &noted{}}
	if s.MarkersOnly {
		p.markers(ctx, nil)
		return p.report
	}
	if err := p.due(ctx); err != nil {
		p.unread(fmt.Errorf("read the ledger: %w", err))
		p.markers(ctx, err)
		return p.report
	}
	if !s.DryRun {
		if err := s.swept(ctx); err != nil {
			p.unread(fmt.Errorf("record that this sweeper has passed: %w", err))
		}
	}
	if !s.DueOnly && p.wrong == nil {
		p.drift(ctx)
	}
	return p.report
}

type pass struct {
	*Sweeper
	// now is when the pass began: what is over then is due in it.
	now time.Time
	// wrong says how our clock and that of the ledger's server disagree, if they do, and behind how much later ours is.
	wrong  error
	behind time.Duration
	// unrecorded: there is no ledger to take down what is done.
	unrecorded bool
	// budget counts the removals that no recorded end explains.
	budget *budget
	// doubt: our clock may be wrong, and the targets are asked for theirs before a window is ended.
	doubt bool
	// skewed: a target has told a time that is not ours.
	skewed atomic.Bool
	// policies are those of today, once they were asked for.
	policies *policies
	// owners are those that the ledger knows, once they were asked for.
	owners *owners
	// noted are the findings that are recorded already.
	noted *noted

	mu     sync.Mutex
	report Report
}

// time is what the time is now, as far as the pass knows. What takes long does not compare what it sees with a time long gone.
func (p *pass) time() time.Time { return p.Broker.Now().Add(-p.behind) }

func (p *pass) unread(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Unread = append(p.report.Unread, err)
}

// stripped looks which of the bindings that are to be ended have lost their end, where that can be, and says so in the steps.
func (p *pass) stripped(ctx context.Context, steps []reconcile.Step) []reconcile.Step {
	places := map[jit.Place]bool{}
	for _, s := range steps {
		if s.Kind == reconcile.End && s.Grant.Access().NoStandingBefore {
			places[s.Place] = true
		}
	}
	observed := p.read(ctx, places)
	for i, s := range steps {
		if snapshot, read := observed[s.Place]; read && s.Kind == reconcile.End {
			if d := s.Grant.Differs(snapshot); d.Kind == jit.DriftStripped {
				steps[i].Reason += "; " + d.Words
				steps[i].Drift, steps[i].Severity = d.Kind, d.Kind.Severity()
			}
		}
	}
	return steps
}

// markers ends what the markers say is over, in every scope of every target, by our clock and by that of the target.
func (p *pass) markers(ctx context.Context, ledger error) {
	p.unrecorded = true
	places := map[jit.Place]bool{}
	p.scopes(ctx, places, everyTarget)
	ours := p.servedByName
	var steps []reconcile.Step
	for at, snapshot := range p.read(ctx, places) {
		now, skew := jit.EarlierTime(p.now, snapshot.Clock)
		if skew != nil {
			p.unread(fmt.Errorf("what ends on %s of target %q by one clock only is left: %w", at.Scope, at.Target, skew))
		}
		steps = append(steps, reconcile.Plan(now, ours, nil, map[jit.Place]jit.Snapshot{at: snapshot}, nil)...)
	}
	if ledger != nil {
		steps = slices.DeleteFunc(steps, func(s reconcile.Step) bool { return s.Kind == reconcile.Report })
	}
	// Here the markers are the record: their ends are planned ones.
	p.run(ctx, steps)
}

// everyTarget wants every target.
func everyTarget(string) bool { return true }

// scopes adds to places every scope, of every target that is wanted, that may hold a binding of ours.
func (p *pass) scopes(ctx context.Context, places map[jit.Place]bool, wanted func(target string) bool) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for name, target := range p.Broker.Targets {
		if !wanted(name) {
			continue
		}
		wg.Go(func() {
			scopes, err := target.Scopes(ctx)
			if err != nil {
				p.unread(&ReadError{jit.Place{Target: name}, err})
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, scope := range scopes {
				places[jit.Place{Target: name, Scope: scope}] = true
			}
		})
	}
	wg.Wait()
}

// scopesAtOnce is how many scopes of one target are worked on side by side.
const scopesAtOnce = 16

// each calls f for every place: targets side by side, and some scopes of each, so that no target waits for another.
func (p *pass) each(places map[jit.Place]bool, f func(jit.Place)) {
	byTarget := map[string]*errgroup.Group{}
	var wg sync.WaitGroup
	for at := range places {
		group, ok := byTarget[at.Target]
		if !ok {
			group = &errgroup.Group{}
			group.SetLimit(scopesAtOnce)
			byTarget[at.Target] = group
		}
		wg.Go(func() { group.Go(func() error { f(at); return nil }) })
	}
	wg.Wait()
	for _, group := range byTarget {
		_ = group.Wait() // f tells of its errors
	}
}

// readOne reads one place; what cannot be read is noted. The clock of the snapshot is told as it was at now, which may be a while ago.
func (p *pass) readOne(ctx context.Context, at jit.Place, now time.Time) (snapshot jit.Snapshot, read bool) {
	target, err := p.Broker.Target(at.Target)
	if err == nil {
		before := p.time()
		snapshot, err = target.Read(ctx, at.Scope)
		snapshot.Clock = clockAt(now, snapshot.Clock, before, p.time())
	}
	if err != nil {
		p.unread(&ReadError{at, err})
	}
	return snapshot, err == nil
}

// read reads all places, each once.
func (p *pass) read(ctx context.Context, places map[jit.Place]bool) map[jit.Place]jit.Snapshot {
	var mu sync.Mutex
	observed := make(map[jit.Place]jit.Snapshot, len(places))
	p.each(places, func(at jit.Place) {
		if snapshot, read := p.readOne(ctx, at, p.now); read {
			mu.Lock()
			defer mu.Unlock()
			observed[at] = snapshot
		}
	})
	return observed
}

// carryOut runs the steps, the removals among them up to what is left of the cap; what is held back is recorded. What is revoked is not
// put right before that, which would change the record that the revocation is about.
func (p *pass) carryOut(ctx context.Context, steps []reconcile.Step) {
	var held []reconcile.Step
	kept := slices.DeleteFunc(steps, func(s reconcile.Step) bool {
		over := s.Kind.Unplanned() && !p.budget.spend(s, p.MaxUnplanned)
		if over {
			held = append(held, s)
		}
		return over
	})
	ending := revoked(kept)
	kept = slices.DeleteFunc(kept, func(s reconcile.Step) bool { return s.Kind == reconcile.Repair && ending[s.Grant.ID] })
	p.mu.Lock()
	p.report.Held = append(p.report.Held, held...)
	p.mu.Unlock()
	p.tellHeld(ctx, held)
	p.run(ctx, kept)
}

// run does the steps: scopes side by side, the steps of one scope together.
func (p *pass) run(ctx context.Context, steps []reconcile.Step) {
	var wg sync.WaitGroup
	for _, steps := range byPlace(steps) {
		wg.Go(func() { p.do(ctx, steps) })
	}
	wg.Wait()
}

// do carries out the steps of one scope and reports each.
func (p *pass) do(ctx context.Context, steps []reconcile.Step) {
	errs := make([]error, len(steps))
	if !p.DryRun {
		errs = p.notYet(ctx, steps)
		var at []int
		var now []reconcile.Step
		for i, s := range steps {
			if errs[i] == nil {
				at, now = append(at, i), append(now, s)
			}
		}
		for k, err := range p.act(ctx, now) {
			errs[at[k]] = err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, s := range steps {
		r := Result{Step: s, Err: errs[i]}
		p.report.Results = append(p.report.Results, r)
		if p.Progress != nil {
			p.Progress(r)
		}
	}
}

// act carries out the steps of one scope, and returns an error for each.
func (p *pass) act(ctx context.Context, steps []reconcile.Step) []error {
	if len(steps) == 0 {
		return nil
	}
	for i, s := range steps {
		switch s.Kind {
		case reconcile.Remove:
			steps[i].Dedup = p.once(s, "removed", time.Minute)
		case reconcile.Report:
			steps[i].Dedup = p.once(s, "nothing", tellAgain)
		case reconcile.End, reconcile.Start, reconcile.Repair, reconcile.Revoke:
		}
	}
	errs := p.Broker.Execute(ctx, steps[0].Place, steps)
	p.told(steps, errs)
	return errs
}

func collect(grants iter.Seq2[jit.Grant, error]) ([]jit.Grant, error) {
	var all []jit.Grant
	var errs []error
	for g, err := range grants {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, g)
	}
	return all, errors.Join(errs...)
}
