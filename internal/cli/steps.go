package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// The results of a step.
const (
	stepDone       = "done"
	stepFailed     = "failed"
	stepPlanned    = "planned"
	stepLook       = "look"         // reported only: a person must decide
	stepRemains    = "remains"      // the access has ended, and its clean-up is open
	stepHeld       = "held"         // held back by the cap on unplanned removals
	stepOutOfReach = "out_of_reach" // overdue, and the target or the owner is not this sweeper's
)

// stepView is one step of a pass, in the stable names of --json.
type stepView struct {
	reconcile.Step
	Grant  jit.View `json:"grant"`
	Result string   `json:"result"`
	Error  string   `json:"error,omitempty"`
}

// stepViews returns the steps of a pass: first those that were tried, then those that were held back or are out of
// reach.
func (p *program) stepViews(ctx context.Context, rt *config.Runtime, r sweeper.Report, dryRun bool) []stepView {
	steps := make([]stepView, 0, len(r.Results)+len(r.Held)+len(r.OutOfReach))
	add := func(s reconcile.Step, result string, err error) {
		v := stepView{Step: s, Result: result}
		if err != nil {
			v.Error = err.Error()
		}
		steps = append(steps, v)
	}
	for _, s := range r.Results {
		add(s.Step, resultOf(s, dryRun), s.Err)
	}
	for _, s := range r.Held {
		add(s, stepHeld, nil)
	}
	for _, s := range r.OutOfReach {
		add(s, stepOutOfReach, nil)
	}
	grants := make([]jit.Grant, len(steps))
	for i, s := range steps {
		grants[i] = s.Step.Grant
	}
	for i, v := range p.views(ctx, rt, grants...) {
		steps[i].Grant = v
	}
	return steps
}

func resultOf(r sweeper.Result, dryRun bool) string {
	switch {
	case r.Remains():
		return stepRemains
	case r.Err != nil:
		return stepFailed
	case r.Kind == reconcile.Report:
		return stepLook
	case dryRun:
		return stepPlanned
	}
	return stepDone
}

// countSteps counts the steps that are wanted.
func countSteps(steps []stepView, wanted func(stepView) bool) (n int) {
	for _, s := range steps {
		if wanted(s) {
			n++
		}
	}
	return n
}

func hasResult(result string) func(stepView) bool {
	return func(s stepView) bool { return s.Result == result }
}

func (p *program) sweepView(
	ctx context.Context, rt *config.Runtime, r sweeper.Report, steps []stepView, dryRun bool,
) any {
	return struct {
		DryRun bool       `json:"dry_run"`
		Steps  []stepView `json:"steps"`
		Failed int        `json:"failed"`
		Unread []string   `json:"unread"`
		Held   int        `json:"held"`
		// OutOfReach counts the steps whose result is out_of_reach.
		OutOfReach int        `json:"out_of_reach"`
		Elsewhere  []jit.View `json:"elsewhere"`
	}{dryRun, steps, r.Failed(), messages(r.Unread), len(r.Held), len(r.OutOfReach), p.views(ctx, rt, r.Elsewhere...)}
}

// printSteps lists the steps. It prints "Nothing to do." if this sweeper has nothing left to do.
func (p *program) printSteps(steps []stepView, finished bool) {
	switch {
	case !finished:
	case len(steps) == 0:
		fmt.Fprintln(p.err, "Nothing to do.")
	case !slices.ContainsFunc(steps, func(s stepView) bool { return !s.Foreign }):
		fmt.Fprintln(p.err,
			"Nothing to do. The listed bindings have markers of owners that this sweeper does not serve.")
	}
	if len(steps) == 0 {
		return
	}
	t := p.table(p.out, "OWNER", "SEVERITY", "SCOPE", "ROLE")
	t.row("STEP", "RESULT", "SEVERITY", "OWNER", "TARGET", "SCOPE", "PRINCIPAL", "ROLE", "GRANT", "WHY")
	for _, s := range steps {
		why := s.Reason
		if s.Error != "" {
			why += ": " + s.Error
		}
		g := s.Grant
		t.row(string(s.Kind), s.Result, string(s.Severity), g.Owner, s.Target, s.Scope, who(g.Grant), g.Role,
			string(g.ID), why)
	}
	t.flush()
}
