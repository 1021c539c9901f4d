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

// addViolations adds steps for the live grants that today's policies do not permit. Such a grant is still narrowed
// where it is too wide, but it is not put back where it is missing.
func (v *visit) addViolations(ctx context.Context, seen comparison) []reconcile.Step {
	steps := seen.steps
	policies, err := v.round.policies()
	if err == nil && len(policies) == 0 {
		return steps
	}
	ending := revoked(steps)
	live := slices.DeleteFunc(slices.Clone(seen.recorded), func(g jit.Grant) bool {
		return g.State(seen.now) != jit.StateActive || g.Place() != v.at || ending[g.ID]
	})
	if len(live) == 0 {
		return steps
	}
	var rules map[jit.ID]string
	if err == nil {
		rules, err = v.Broker.Violations(ctx, policies, live)
	}
	if err != nil {
		v.fail(fmt.Errorf("judge the grants on %s of target %q by today's policies: %w", v.at.Scope, v.at.Target, err))
	}
	kept := slices.DeleteFunc(steps, func(s reconcile.Step) bool {
		rule, violates := rules[s.Grant.ID]
		widens := violates && s.Kind == reconcile.Repair && s.Severity == jit.Info
		if widens {
			rules[s.Grant.ID] = rule + "; " + s.Reason + ", and not put back"
		}
		return widens
	})
	kind := reconcile.Report
	if v.RevokeViolations {
		kind = reconcile.Revoke
	}
	for _, g := range live {
		if rule, violates := rules[g.ID]; violates {
			kept = append(kept, reconcile.Step{Kind: kind, Place: v.at, Grant: g, Reason: rule,
				Drift: jit.DriftViolation, Severity: jit.DriftViolation.Severity()})
		}
	}
	return kept
}

// withoutAltered replaces repairs that would give access which the events of the grant do not tell of, or which is
// longer than max_ttl. Those grants are reported.
func (v *visit) withoutAltered(ctx context.Context, steps []reconcile.Step, now time.Time) []reconcile.Step {
	var repairs []jit.Grant
	for _, s := range steps {
		if s.Kind == reconcile.Repair {
			repairs = append(repairs, s.Grant)
		}
	}
	if len(repairs) == 0 {
		return steps
	}
	altered, err := v.Broker.Altered(ctx, repairs)
	if err != nil {
		v.fail(err)
	}
	var kept []reconcile.Step
	for _, s := range steps {
		a, is := altered[s.Grant.ID]
		length := s.Grant.Length()
		switch {
		case s.Kind != reconcile.Repair:
		case err != nil:
			continue
		case is:
			s = alteredStep(s, a, now)
		case length > v.Broker.MaxTTL && s.Severity == jit.Info:
			s.Kind = reconcile.Report
			s.Reason += fmt.Sprintf("; it lasts %s, max_ttl is %s, and it is not put back",
				jit.FormatDuration(length), jit.FormatDuration(v.Broker.MaxTTL))
		}
		kept = append(kept, s)
	}
	return kept
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
