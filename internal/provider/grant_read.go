package provider

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Read looks for drift inside the window. The resource stays in the state, whatever happened to the grant. After the
// end of the window, Read makes no call.
func (r *grantResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	m := readState(ctx, req.State, req.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(identify(ctx, resp.Identity, "id", m.ID)...)
	if r.configured() && r.refresh(ctx, &m, req.Private, &resp.Diagnostics) {
		resp.Diagnostics.Append(resp.State.Set(ctx, &m.grantModel)...)
		resp.Diagnostics.Append(writePrivate(ctx, resp.Private, startKey, m.start)...)
		resp.Diagnostics.Append(r.rememberHead(ctx, resp.Private)...)
	}
}

// refresh brings a state up to date and reports whether it has changed.
func (r *grantResource) refresh(ctx context.Context, m *grantState, from private, diags *diag.Diagnostics) bool {
	now := r.Broker.Now()
	if m.over(now) {
		return false
	}
	g, known, unread := r.Broker.Lookup(ctx, jit.ID(m.ID.ValueString()), m.remembered(r.backend))
	if other, is := r.anothers(ctx, g.ID, unread); is {
		r.warnOfOwner(other, diags)
		return false
	}
	if unread != nil {
		addWarning(diags, "The ledger cannot be read", fmt.Errorf("the state is trusted until it can: %w", unread))
	} else {
		r.recall(ctx, from, diags)
	}
	if r.ended(g, now, diags) {
		return false
	}
	drift, changed := m.Drift, false
	switch {
	case !m.ended.IsZero():
		m.notYetRecorded(unread == nil, diags)
	default:
		r.warnOfApproval(g, diags)
		changed = known && m.sync(r.view(ctx, g))
		if r.ready(m.Target.ValueString()) {
			r.observe(ctx, &m.grantModel, g, known, unread, diags)
		}
	}
	if !m.Drift.IsNull() && m.Summary.IsNull() { // states of older versions have no summary
		m.Summary, changed = types.StringValue(g.Summary()), true
	}
	return changed || !drift.Equal(m.Drift)
}

// ended reports whether a grant is over or gave nothing, and warns of an end that its window does not explain.
func (r *grantResource) ended(g jit.Grant, now time.Time, diags *diag.Diagnostics) bool {
	switch {
	case !g.RevokedAt.IsZero():
		diags.AddWarning("The grant was revoked", fmt.Sprintf(
			"%s revoked it at %s (%s). It stays revoked; set renewal = %d to grant again.",
			g.RevokedBy, jit.FormatTime(g.RevokedAt), g.RevokeReason, g.Renewal+1))
	case g.Failed():
		diags.AddWarning("The grant gave nothing", g.Failure)
	case !g.EndedAt.IsZero() && g.EndedAt.Before(g.End) && now.Before(g.End):
		diags.AddWarning("The grant ended early", fmt.Sprintf(
			"Its access ended at %s by a clock that was ahead, and its window ends at %s. Set renewal = %d to grant again.",
			jit.FormatTime(g.EndedAt), jit.FormatTime(g.End), g.Renewal+1))
	}
	return !g.Live(now)
}

// warnOfOwner warns of a live grant of another owner.
func (r *grantResource) warnOfOwner(g jit.Grant, diags *diag.Diagnostics) {
	if g.Live(r.Broker.Now()) {
		diags.AddWarning("The grant belongs to another owner", fmt.Sprintf(
			"It was made with owner = %q, and this provider acts for %q. This configuration neither changes nor "+
				"repairs nor "+
				"ends it; it ends at %s. Set owner = %q to manage it again.",
			g.Owner, r.Broker.Owner, jit.FormatTime(g.End), g.Owner))
	}
}

// anothers returns the record of a grant that belongs to another owner, if err says that.
func (r *grantResource) anothers(ctx context.Context, id jit.ID, err error) (g jit.Grant, is bool) {
	if !errors.Is(err, broker.ErrOtherOwner) {
		return g, false
	}
	g, known, err := r.Broker.Ledger.Lookup(ctx, id)
	return g, err == nil && known && g.Owner != r.Broker.Owner
}

// observe looks for a live grant on its target. If the target cannot be read, the state is trusted, so that a silent
// server does not stop the plan. known says that the ledger has a record, unread why it could not be read.
func (r *grantResource) observe(
	ctx context.Context, m *grantModel, g jit.Grant, known bool, unread error, diags *diag.Diagnostics,
) {
	drift, err := r.Broker.Observe(ctx, g)
	if err == nil && drift == jit.Missing && !known && unread == nil {
		if forgotten := r.Broker.CheckForgotten(ctx, g); forgotten != nil {
			addWarning(diags, "Only the lost ledger knew whose access this is", forgotten)
			return
		}
	}
	switch {
	case errors.Is(err, jit.ErrOver):
		m.Drift = types.StringNull()
		addWarning(diags, "The grant counts as ended", err)
	case err != nil:
		addWarning(diags, "Cannot read the grant on its target",
			fmt.Errorf("the state is trusted until it can be read: %w", err))
	case drift == jit.Missing && unread != nil:
		diags.AddWarning("The grant is not on its target", fmt.Sprintf(
			"Target %q has no binding of it. The ledger cannot be read, so it is not known whether it was revoked. "+
				"Plan again when the ledger can be read.", g.Target))
	case drift == jit.Missing && !known:
		diags.AddWarning("Nobody knows of the grant", fmt.Sprintf(
			"The ledger has no record of it, and target %q has no binding of it. It may have been revoked, so it is "+
				"not made again; "+
				"set renewal = %d to grant again.", g.Target, g.Renewal+1))
	default:
		m.Drift = optional(drift)
	}
}
