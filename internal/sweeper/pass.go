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

// Result is one step and its outcome.
type Result struct {
	reconcile.Step
	// Err is nil when the step was carried out, and always in a dry run.
	Err error `json:"-"`
}

// Remains reports whether the step ended access and left something to clean up that gives no access.
func (r Result) Remains() bool { return errors.Is(r.Err, jit.ErrRemains) }

// Failed reports whether the step could not be carried out.
func (r Result) Failed() bool { return r.Err != nil && !r.Remains() }

// Report is the outcome of a pass.
type Report struct {
	Results []Result
	// Unread are the errors of reading the ledger, targets and scopes.
	Unread []error
	// Held are the unplanned removals that the cap held back.
	Held []reconcile.Step
	// Elsewhere are due grants that another sweeper has claimed and not finished.
	Elsewhere []jit.Grant
	// OutOfReach are overdue steps that this sweeper cannot carry out; each says why.
	OutOfReach []reconcile.Step
}

// Unended counts the grants out of reach that may still give access: their targets do not end access themselves.
func (r Report) Unended() int {
	n := 0
	for _, s := range r.OutOfReach {
		if s.Grant.Enforcement != jit.Native {
			n++
		}
	}
	return n
}

// Failed counts the steps that could not be carried out.
func (r Report) Failed() int {
	n := 0
	for _, s := range r.Results {
		if s.Failed() {
			n++
		}
	}
	return n
}

// pass is a single pass and its report.
type pass struct {
	*engine
	mu     sync.Mutex
	report Report
}

// Pass makes one pass: it carries out due work, then repairs drift. A scope that fails stops no other. When the
// ledger cannot be read, Pass ends what the markers on the targets say is over.
func (s *Sweeper) Pass(ctx context.Context) Report {
	p := &pass{engine: s.singlePass(ctx)}
	p.completed = p.add
	if s.MarkersOnly {
		p.sweepMarkers(nil)
		return p.report
	}
	now, skew, err := p.due(ctx)
	if err != nil {
		p.unread(fmt.Errorf("read the ledger: %w", err))
		p.sweepMarkers(err)
		return p.report
	}
	if !s.DryRun {
		if err := s.recordSweep(ctx); err != nil {
			p.unread(fmt.Errorf("record this pass: %w", err))
		}
	}
	if err := p.lapse(ctx, now, skew); err != nil {
		p.unread(err)
	}
	if !s.DueOnly {
		p.drift(skew)
	}
	return p.report
}

// add adds the outcome of a visit to the report.
func (p *pass) add(v *visit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Unread = append(p.report.Unread, v.unread...)
	for _, r := range v.results {
		if errors.Is(r.Err, ErrHeld) {
			p.report.Held = append(p.report.Held, r.Step)
		} else {
			p.report.Results = append(p.report.Results, r)
		}
	}
}

func (p *pass) unread(err error) { p.add(&visit{unread: []error{err}}) }

// due carries out all that is due, and then lists what it left. It returns the time by which it was due; skew says how
// the clocks disagree.
func (p *pass) due(ctx context.Context) (now time.Time, skew, err error) {
	if now, skew, err = p.agreedNow(ctx); err != nil {
		return now, nil, err
	}
	if skew != nil {
		p.unread(fmt.Errorf("only what is over is ended, and nothing begins: %w", skew))
	}
	if !p.DryRun {
		if err := p.drain(ctx, now, skew); err != nil {
			return now, skew, err
		}
	}
	all, err := p.allDue(ctx, now)
	if all.unread != nil {
		p.unread(fmt.Errorf("read the ledger: %w", all.unread))
	}
	p.report.OutOfReach = append(all.outOfReach, p.endSeen(now, all.unserved)...)
	switch {
	case err != nil:
	case p.DryRun:
		p.enqueue(p.dueSteps(now, skew, all.reachable))
		p.work.Wait()
	default:
		p.listElsewhere(now, skew, all.reachable)
	}
	return now, skew, err
}

// listElsewhere lists the due grants that this pass has not tried.
func (p *pass) listElsewhere(now time.Time, skew error, due []jit.Grant) {
	tried := map[jit.ID]bool{}
	for _, r := range p.report.Results {
		tried[r.Grant.ID] = true
	}
	p.report.Elsewhere = slices.DeleteFunc(due, func(g jit.Grant) bool {
		return tried[g.ID] || skew != nil && g.DueToStart(now)
	})
}

// drain claims and carries out due work until the ledger has nothing more to give.
func (p *pass) drain(ctx context.Context, now time.Time, skew error) error {
	defer p.work.Wait()
	for {
		tasks, left, err := p.claim(ctx, now, skew)
		switch {
		case err != nil:
			return err
		case left:
			<-p.room
		case tasks == 0:
			return nil
		default: // rows that another writer held locked may be free when this work is done
			p.work.Wait()
		}
	}
}

// drift looks for drift on all targets at once; skew says how the clocks disagree.
func (p *pass) drift(skew error) {
	r, err := p.newRound(skew)
	if err != nil {
		p.unread(err)
		return
	}
	var wg sync.WaitGroup
	for target := range p.Broker.Targets {
		wg.Go(func() { p.sweepDrift(target, r, p.add) })
	}
	wg.Wait()
}
