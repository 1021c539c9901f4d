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
	ending := revoked(seen.steps)
	live := slices.DeleteFunc(v.active(seen), func(g jit.Grant) bool { return ending[g.ID] })
	rules, err := v.violations(ctx, live)
	if err != nil {
		v.fail(fmt.Errorf("judge the grants on %s of target %q by today's policies: %w", v.at.Scope, v.at.Target, err))
	}
	kept := slices.DeleteFunc(seen.steps, func(s reconcile.Step) bool {
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
			kept = append(kept, reconcile.Drifted(kind, v.at, g, jit.DriftViolation, rule))
		}
	}
	return kept
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
