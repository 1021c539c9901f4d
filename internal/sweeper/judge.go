package sweeper

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// judge adds steps for the live grants whose events do not prove their approval, and for the others that today's
// policies do not permit. Such a grant is still narrowed where it is too wide, but it is not put back where it is
// missing; nor is one whose approval cannot be checked.
func (v *visit) judge(ctx context.Context, seen comparison) []reconcile.Step {
	ending := revoked(seen.steps)
	live := slices.DeleteFunc(v.active(seen), func(g jit.Grant) bool { return ending[g.ID] })
	unproved, err := v.unapproved(ctx, live)
	if err == nil {
		err = v.withoutUndecided(ctx, seen.steps, unproved)
	}
	if err != nil {
		v.fail(fmt.Errorf("check the approvals on %s of target %q: %w", v.at.Scope, v.at.Target, err))
		seen.steps = slices.DeleteFunc(seen.steps, widens)
	}
	others := slices.DeleteFunc(slices.Clone(live), func(g jit.Grant) bool { return unproved[g.ID] != "" })
	broken, err := v.violations(ctx, others)
	if err != nil {
		v.fail(fmt.Errorf("judge the grants on %s of target %q by today's policies: %w", v.at.Scope, v.at.Target, err))
	}
	steps := v.accuse(seen.steps, live, jit.DriftUnapproved, unproved)
	return v.accuse(steps, live, jit.DriftViolation, broken)
}

// accuse adds steps for the grants that have a reason, and drops those that would give their access back.
func (v *visit) accuse(
	steps []reconcile.Step, live []jit.Grant, drift jit.DriftKind, reasons map[jit.ID]string,
) []reconcile.Step {
	steps = slices.DeleteFunc(steps, func(s reconcile.Step) bool {
		reason, accused := reasons[s.Grant.ID]
		if accused = accused && widens(s); accused {
			reasons[s.Grant.ID] = reason + "; " + s.Reason + ", and not put back"
		}
		return accused
	})
	kind := reconcile.Report
	if v.RevokeViolations {
		kind = reconcile.Revoke
	}
	for _, g := range live {
		if reason, accused := reasons[g.ID]; accused {
			steps = append(steps, reconcile.Drifted(kind, v.at, g, drift, reason))
		}
	}
	return steps
}

// widens reports whether a step gives access back that is missing.
func widens(s reconcile.Step) bool { return s.Kind == reconcile.Repair && s.Severity == jit.Info }

// unapproved says of each grant without a proof of the approval that it needed what is wrong.
func (v *visit) unapproved(ctx context.Context, live []jit.Grant) (map[jit.ID]string, error) {
	if len(live) == 0 {
		return nil, nil
	}
	rules, err := v.round.rules()
	if err != nil {
		return nil, err
	}
	return v.Broker.Unapproved(ctx, rules, live)
}

// withoutUndecided makes reports of the steps that would give access back for which no decision is recorded. Grants that
// are accused are left out.
func (v *visit) withoutUndecided(ctx context.Context, steps []reconcile.Step, accused map[jit.ID]string) error {
	var missing []jit.Grant
	for _, s := range steps {
		if widens(s) && accused[s.Grant.ID] == "" {
			missing = append(missing, s.Grant)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	rules, err := v.round.rules()
	if err != nil {
		return err
	}
	undecided, err := v.Broker.Undecided(ctx, rules, missing)
	for i, s := range steps {
		if why := undecided[s.Grant.ID]; why != "" && widens(s) {
			steps[i].Kind = reconcile.Report
			steps[i].Reason += "; " + why + ", and it is not put back"
		}
	}
	return err
}

// violations returns the rule that each grant violates, of those that today's policies do not permit.
func (v *visit) violations(ctx context.Context, live []jit.Grant) (map[jit.ID]string, error) {
	if len(live) == 0 {
		return nil, nil
	}
	policies, err := v.round.policies()
	if err != nil || len(policies) == 0 {
		return nil, err
	}
	return v.Broker.Violations(ctx, policies, live)
}

func isRepair(s reconcile.Step) bool { return s.Kind == reconcile.Repair }

// withoutAltered replaces repairs by reports if they would give access that the events of the grant do not explain, or
// that is longer than max_ttl.
func (v *visit) withoutAltered(ctx context.Context, steps []reconcile.Step, now time.Time) []reconcile.Step {
	var repairs []jit.Grant
	for _, s := range steps {
		if isRepair(s) {
			repairs = append(repairs, s.Grant)
		}
	}
	if len(repairs) == 0 {
		return steps
	}
	altered, err := v.Broker.Altered(ctx, repairs)
	if err != nil {
		v.fail(err)
		return slices.DeleteFunc(steps, isRepair)
	}
	for i, s := range steps {
		if !isRepair(s) {
			continue
		}
		length := s.Grant.Length()
		if a, is := altered[s.Grant.ID]; is {
			steps[i] = alteredStep(s, a, now)
		} else if length > v.Broker.MaxTTL && s.Severity == jit.Info {
			steps[i].Kind = reconcile.Report
			steps[i].Reason += fmt.Sprintf("; it lasts %s, max_ttl is %s, and it is not put back",
				jit.FormatDuration(length), jit.FormatDuration(v.Broker.MaxTTL))
		}
	}
	return steps
}

// withoutGone replaces repairs by the ends of grants that may have been revoked in the time that a restored ledger has
// lost. It drops those for which the read may be too old to tell.
func (v *visit) withoutGone(ctx context.Context, steps []reconcile.Step) []reconcile.Step {
	var missing []jit.Grant
	for _, s := range steps {
		if widens(s) {
			missing = append(missing, s.Grant)
		}
	}
	if len(missing) == 0 {
		return steps
	}
	gone, unsure, err := v.Broker.Gone(ctx, v.at, missing)
	if err != nil {
		v.fail(err)
	}
	steps = slices.DeleteFunc(steps, func(s reconcile.Step) bool { return widens(s) && (err != nil || unsure[s.Grant.ID]) })
	for i, s := range steps {
		if widens(s) && gone[s.Grant.ID] {
			steps[i] = broker.GoneStep(s.Grant)
		}
	}
	return steps
}

// alteredStep returns the step for a grant whose record differs from its events: its access ends when the events say
// so.
func alteredStep(s reconcile.Step, a broker.Alteration, now time.Time) reconcile.Step {
	there := s.Drift != jit.DriftMissing
	s.Kind, s.Drift, s.Severity = reconcile.Report, jit.DriftAltered, jit.DriftAltered.Severity()
	s.Reason = "the record was altered: " + a.Words
	if there && !a.End.IsZero() && !now.Before(a.End) {
		s.Kind = reconcile.Remove
	}
	return s
}
