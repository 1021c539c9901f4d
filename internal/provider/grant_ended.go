package provider

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// endedDrift is the drift of a grant that a destroy ended without the ledger.
const endedDrift = "ended by a destroy that the ledger has not recorded"

// notYetRecorded warns that a destroy ended the access and the ledger has not recorded it. canRecord reports that an
// apply can record it now.
func (s *grantState) notYetRecorded(canRecord bool, diags *diag.Diagnostics) {
	next := "An apply records that once the ledger can be reached"
	if canRecord {
		s.Drift = types.StringValue(endedDrift)
		next = "The next apply records that"
	}
	diags.AddWarning("The grant was ended, and the ledger does not know it", fmt.Sprintf(
		"A destroy ended the access at %s while the ledger could not be reached. %s. Until then a `jit sweep` that "+
			"repairs drift puts the access back. "+
			"Set renewal = %d to grant again.", jit.FormatTime(s.ended), next, s.nextRenewal()))
}

// nextRenewal returns the renewal that grants the same again.
func (m *grantModel) nextRenewal() int64 {
	r, _ := m.request() // the state was once valid
	return r.Renewal + 1
}

// endedUnrecorded returns the error for changing a grant that a destroy ended without the ledger.
func (m *grantModel) endedUnrecorded(at time.Time) error {
	return &jit.Error{
		Problem: fmt.Sprintf("a destroy ended the access at %s, while the ledger could not be reached; an ended "+
			"grant is never changed", jit.FormatTime(at)),
		Hint: fmt.Sprintf("set renewal = %d to grant again", m.nextRenewal()),
		Err:  jit.ErrOver,
	}
}

// endedReason returns the reason for an end that is recorded later.
func endedReason(at time.Time) string {
	return fmt.Sprintf("%s at %s, while the ledger could not be reached", broker.Destroyed, jit.FormatTime(at))
}

// recordEnd records that a destroy ended the access without the ledger. It ends access that was granted again
// meanwhile.
func (r *grantResource) recordEnd(ctx context.Context, state *grantState, diags *diag.Diagnostics) (jit.Grant, bool) {
	g, _, err := r.Broker.Revoke(ctx, broker.Revocation{
		Grant: state.remembered(r.backend), Holder: state.holder,
		TerminateSessions: state.TerminateSessions.ValueBool(),
		Reason:            endedReason(state.ended),
	})
	if err != nil && !errors.Is(err, jit.ErrOver) {
		notEnded(g, err, diags)
		return g, false
	}
	return g, true
}

// notEnded adds the error of a revocation that did not end the access. It says what is recorded and who ends the
// access.
func notEnded(g jit.Grant, err error, diags *diag.Diagnostics) {
	_, summary, detail := explain("Cannot revoke", err)
	switch {
	case g.RevokedAt.IsZero() || errors.Is(err, broker.ErrUnrecorded):
	case errors.Is(err, jit.ErrUnknown):
		summary = "The target is not configured any more"
		detail += fmt.Sprintf("\n\nThe ledger has recorded that the grant is revoked. A `jit sweep` whose jit.hcl "+
			"still has target %q ends the access. "+
			"Without one, put the target back into the provider block, destroy the grant, and take the target away "+
			"then. "+
			"After %s the grant is over, and destroying it succeeds.", g.Target, jit.FormatTime(g.End))
	default:
		detail += "\n\nThe access may still work. The ledger has recorded that the grant is revoked, so the next " +
			"`jit sweep` that reaches the target ends the access. Destroying the resource again does the same."
	}
	diags.AddError(summary, detail)
}
