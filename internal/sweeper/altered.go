package sweeper

import (
	"context"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// vouched leaves nothing among the steps that puts access on a target which the events of its grant do not tell, or which is longer than
// max_ttl: that is reported.
func (p *pass) vouched(ctx context.Context, steps []reconcile.Step, now time.Time) []reconcile.Step {
	var widening []jit.Grant
	for _, s := range steps {
		if s.Kind == reconcile.Repair {
			widening = append(widening, s.Grant)
		}
	}
	if len(widening) == 0 {
		return steps
	}
	altered, err := p.Broker.Altered(ctx, widening)
	if err != nil {
		p.unread(err)
	}
	var kept []reconcile.Step
	for _, s := range steps {
		a, is := altered[s.Grant.ID]
		switch {
		case s.Kind != reconcile.Repair:
		case err != nil:
			continue
		case is:
			s = untold(s, a, now)
		case s.Grant.Length() > p.Broker.MaxTTL && s.Severity == jit.Info:
			s.Kind = reconcile.Report
			s.Reason += fmt.Sprintf("; it lasts %s, max_ttl is %s, and it is not put back", jit.FormatDuration(s.Grant.Length()), jit.FormatDuration(p.Broker.MaxTTL))
		}
		kept = append(kept, s)
	}
	return kept
}

// untold is what is done about a grant whose record is not what its events tell: its access ends when the events say so.
func untold(s reconcile.Step, a broker.Alteration, now time.Time) reconcile.Step {
	there := s.Drift != jit.DriftMissing
	s.Kind, s.Drift, s.Severity = reconcile.Report, jit.DriftAltered, jit.DriftAltered.Severity()
	s.Reason = "the record was altered: " + a.Words
	if there && !a.End.IsZero() && !now.Before(a.End) {
		s.Kind = reconcile.Remove
	}
	return s
}
