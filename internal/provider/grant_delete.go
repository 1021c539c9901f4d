package provider

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/resource"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Delete ends the access now, unless the same run creates the grant again. Remains that cannot be removed after the end
// of the access are not an error: the sweeper tries again.
func (r *grantResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	m := readState(ctx, req.State, req.Private, &resp.Diagnostics)
	timeout, diags := m.Timeouts.Delete(ctx, defaultTimeout)
	resp.Diagnostics.Append(diags...)
	if !r.opened(&resp.Diagnostics) {
		return
	}
	revocation := broker.Revocation{
		Grant: m.remembered(r.backend), Reason: broker.Destroyed, Destroys: true,
		Holder: m.holder, TerminateSessions: m.TerminateSessions.ValueBool(),
	}
	if r.keeps(ctx, &m, revocation.Grant, resp) {
		return
	}
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	one := r.handovers.of(revocation.Grant.ID)
	one.Lock()
	defer one.Unlock()
	if !m.ended.IsZero() {
		revocation.Reason = endedReason(m.ended)
	} else if one.goesOn(m.successor == m.ID.ValueString()) { // the create adopts it
		if err := r.Broker.HandOver(ctx, revocation.Grant); err != nil {
			addError(&resp.Diagnostics, "Cannot leave the access to the resource that replaces this one", err)
			return
		}
		one.left = revocation.Grant
		one.left.Holder = revocation.Holder
		return
	}
	g, kept, err := r.Broker.Revoke(ctx, revocation)
	logOutcome(ctx, "destroy", g, err)
	if other, is := r.anothers(ctx, revocation.Grant.ID, err); is && !other.Live(r.Broker.Now()) {
		return // the grant is over, and its record belongs to the other owner
	}
	remains := errors.Is(err, jit.ErrOver) || errors.Is(err, jit.ErrRemains)
	one.ended = err == nil || remains
	switch {
	case remains:
		addWarning(&resp.Diagnostics, "Remains of the grant may be left", err)
	case err != nil:
		r.notDeleted(ctx, g, err, resp)
	case kept:
		resp.Diagnostics.AddWarning("The grant lives on", fmt.Sprintf(
			"Another resource has taken over grant %s and holds it until %s.", g.ID, jit.FormatTime(g.End)))
	}
}

// keeps reports whether a live grant goes on because the one that replaces it may not begin: people have not approved
// it, or policies do not permit it any more. The error keeps Terraform from creating that one.
func (r *grantResource) keeps(ctx context.Context, m *grantState, g jit.Grant, resp *resource.DeleteResponse) bool {
	if m.next.Renewal == 0 || m.successor == m.ID.ValueString() || !m.ended.IsZero() || m.over(r.Broker.Now()) {
		return false
	}
	ctx, stop := context.WithTimeout(ctx, defaultTimeout+r.Broker.WaitForApproval)
	defer stop()
	err := r.Broker.MayReplace(ctx, g, m.next)
	if !errors.Is(err, jit.ErrDenied) {
		return false
	}
	r.forgetPlan(ctx, resp)
	addError(&resp.Diagnostics, "Cannot replace the grant", err)
	return true
}

// forgetPlan removes from the state what the plan of a delete noted.
func (r *grantResource) forgetPlan(ctx context.Context, resp *resource.DeleteResponse) {
	resp.Diagnostics.Append(writePrivate(ctx, resp.Private, successorKey, "")...)
	resp.Diagnostics.Append(writePrivate(ctx, resp.Private, nextKey, broker.Request{})...)
}

// notDeleted adds the error of a delete that did not end the access, or that the ledger has not recorded.
func (r *grantResource) notDeleted(ctx context.Context, g jit.Grant, err error, resp *resource.DeleteResponse) {
	r.forgetPlan(ctx, resp)
	if errors.Is(err, broker.ErrUnrecorded) {
		resp.Diagnostics.Append(writePrivate(ctx, resp.Private, endedKey, r.Broker.Now())...)
	}
	notEnded(g, err, &resp.Diagnostics)
}
