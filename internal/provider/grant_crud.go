package provider

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// defaultTimeout bounds every operation for which the configuration sets no other.
const defaultTimeout = 5 * time.Minute

// opened returns the runtime, or adds the error that the provider cannot work yet.
func (b *backend) opened(diags *diag.Diagnostics) bool {
	if b != nil && b.Runtime != nil {
		return true
	}
	diags.AddError("The provider is not configured",
		"Its configuration depends on unknown values. Create the resources that it depends on first, with -target, and apply again.")
	return false
}

// view returns the grant as every surface shows it.
func (b *backend) view(ctx context.Context, g jit.Grant) jit.View {
	return g.View(b.Broker.Now(), b.ledgerID(ctx))
}

// Create makes the grant, or adopts the one that exists. After an error the grant is kept in the state, tainted, if its
// access may be in force: the next apply completes it, and removing the block ends it.
func (r *grantResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var config, plan grantModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() || !r.opened(&resp.Diagnostics) {
		return
	}
	timeout, diags := plan.Timeouts.Create(ctx, defaultTimeout)
	resp.Diagnostics.Append(diags...)
	request, err := config.request()
	if err != nil {
		addError(&resp.Diagnostics, "Invalid grant", err)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	g, left, err := r.create(ctx, request)
	if err == nil {
		g, err = r.await(ctx, g, &resp.Diagnostics)
	}
	if err != nil {
		addError(&resp.Diagnostics, "Cannot grant", err)
		var may bool
		if g, may = r.mayBeInForce(ctx, g, left, err); !may {
			return
		}
	} else if g.Over(r.Broker.Now()) && plan.ExpiresAt.IsUnknown() { // else the plan has said so
		resp.Diagnostics.AddWarning("Nothing was granted", fmt.Sprintf(
			"This grant is over: it ran from %s to %s. Set renewal = %d to grant again.",
			jit.FormatTime(g.Start), jit.FormatTime(g.ActualEnd()), g.Renewal+1))
	}
	plan.fill(r.view(ctx, g))
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
	resp.Diagnostics.Append(identify(ctx, resp.Identity, plan.ID)...)
	resp.Diagnostics.Append(remember(ctx, resp.Private, g)...)
}

// remember notes what no attribute holds of a grant.
func remember(ctx context.Context, into private, g jit.Grant) diag.Diagnostics {
	return append(writePrivate(ctx, into, holderKey, g.Holder), writePrivate(ctx, into, startKey, g.Start)...)
}

// lookUpAgain bounds the lookup after a failed create, whose own time may be up.
const lookUpAgain = 10 * time.Second

// mayBeInForce reports whether the access may be in force after a create that failed with err, and returns the record of
// the grant. It may be if the intent is recorded but no outcome, if the create became the holder of a live grant, or if a
// destroyed resource left its access to the create: left is the grant as that one remembered it.
func (r *grantResource) mayBeInForce(ctx context.Context, g, left jit.Grant, err error) (jit.Grant, bool) {
	if g.Holder == 0 && left.ID == "" {
		for _, refused := range []error{jit.ErrDenied, jit.ErrInvalid, jit.ErrOver} {
			if g.ID == "" || errors.Is(err, refused) {
				return g, false
			}
		}
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), lookUpAgain)
	defer stop()
	recorded, known, err := r.Broker.Ledger.Lookup(ctx, g.ID)
	switch {
	case (err != nil || !known) && left.ID != "":
		return left, left.Live(r.Broker.Now())
	case err != nil:
		return g, g.Version > 0
	}
	return recorded, known && recorded.Live(r.Broker.Now()) &&
		(left.ID != "" || recorded.GrantedAt.IsZero() || recorded.Holder == g.Holder)
}

// create makes or adopts the grant. On an error it returns the part of the grant that is known. If this run destroys the
// grant under another address, before or after, the grant goes on, or ends if policies do not permit it. left is the
// grant that a destroyed resource left to the create.
func (r *grantResource) create(ctx context.Context, request broker.Request) (_, left jit.Grant, _ error) {
	g, _, err := r.Broker.Check(request)
	if err != nil {
		return g, left, err
	}
	one := r.handovers.of(g.ID)
	one.Lock()
	defer one.Unlock()
	request.Successor = one.ended
	made, err := r.Broker.Grant(ctx, request)
	if err = r.created(ctx, one, g, err); err != nil && made.ID == "" {
		return g, one.left, err
	}
	return made, one.left, err
}

// created notes the outcome err of a create, or of its plan, which core repeats during the apply. If policies refused it
// and this run has left the access to it, the access ends.
func (r *grantResource) created(ctx context.Context, one *handover, g jit.Grant, err error) error {
	if one.failed = err != nil; !errors.Is(err, jit.ErrDenied) || one.left.ID == "" {
		return err
	}
	if _, _, failed := r.Broker.Revoke(ctx, broker.Revocation{Grant: g, Reason: broker.Destroyed, Destroys: true}); failed != nil {
		return errors.Join(err, failed)
	}
	return err
}

// Read looks for drift inside the window. The resource stays in the state, whatever became of the grant. Once the
// window has passed, Read asks nobody.
func (r *grantResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	m := readState(ctx, req.State, req.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(identify(ctx, resp.Identity, m.ID)...)
	if r.backend == nil || r.Runtime == nil {
		return
	}
	if r.refresh(ctx, &m, &resp.Diagnostics) {
		resp.Diagnostics.Append(resp.State.Set(ctx, &m.grantModel)...)
		resp.Diagnostics.Append(writePrivate(ctx, resp.Private, startKey, m.start)...)
	}
}

// refresh brings a state up to date and reports whether it has changed.
func (r *grantResource) refresh(ctx context.Context, m *grantState, diags *diag.Diagnostics) bool {
	now := r.Broker.Now()
	if m.over(now) {
		return false
	}
	drift, changed := m.Drift, false
	remembered := m.remembered(r.backend)
	g, known, err := r.Broker.Lookup(ctx, remembered.ID, remembered)
	if other, is := r.anothers(ctx, remembered.ID, err); is {
		if other.Live(now) {
			diags.AddWarning("The grant belongs to another owner", fmt.Sprintf(
				"It was made with owner = %q, and this provider acts for %q. This configuration neither changes nor repairs nor "+
					"ends it; it ends at %s. Set owner = %q to manage it again.",
				other.Owner, r.Broker.Owner, jit.FormatTime(other.End), other.Owner))
		}
		return false
	}
	if err != nil {
		addWarning(diags, "The ledger cannot be read", fmt.Errorf("the state is trusted until it can: %w", err))
		g = remembered
	}
	switch {
	case !g.RevokedAt.IsZero():
		diags.AddWarning("The grant was revoked", fmt.Sprintf("%s revoked it at %s (%s). It stays revoked; set renewal = %d to grant again.",
			g.RevokedBy, jit.FormatTime(g.RevokedAt), g.RevokeReason, g.Renewal+1))
		return false
	case g.Failed():
		diags.AddWarning("The grant gave nothing", g.Failure)
		return false
	case g.Over(now):
		return false
	case !m.ended.IsZero():
		m.notYetRecorded(err == nil, diags)
	default:
		r.tellWaiting(g, diags)
		if known {
			changed = m.sync(r.view(ctx, g))
		}
		if r.ready(m.Target.ValueString()) {
			r.observe(ctx, &m.grantModel, g, known, err, diags)
		}
	}
	if !m.Drift.IsNull() && m.Summary.IsNull() { // states of older versions have none
		m.Summary, changed = types.StringValue(g.Summary()), true
	}
	return changed || !drift.Equal(m.Drift)
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
func (r *grantResource) observe(ctx context.Context, m *grantModel, g jit.Grant, known bool, unread error, diags *diag.Diagnostics) {
	drift, err := r.Broker.Observe(ctx, g)
	switch {
	case err != nil:
		addWarning(diags, "Cannot read the grant on its target", fmt.Errorf("the state is trusted until it can be read: %w", err))
	case drift == jit.Missing && unread != nil:
		diags.AddWarning("The grant is not on its target", fmt.Sprintf(
			"Nothing of it is on target %q. The ledger cannot be read, so it is not known whether it was revoked. "+
				"Plan again when the ledger can be read.", g.Target))
	case drift == jit.Missing && !known:
		diags.AddWarning("Nobody knows of the grant", fmt.Sprintf(
			"The ledger has no record of it and nothing of it is on target %q. It may have been revoked, so it is not made again; "+
				"set renewal = %d to grant again.", g.Target, g.Renewal+1))
	default:
		m.Drift = optional(drift)
	}
}

// Update changes the grant in place and repairs it. A different spelling of the same values touches nothing.
func (r *grantResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var config, plan grantModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	state := readState(ctx, req.State, req.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() || !r.opened(&resp.Diagnostics) {
		return
	}
	timeout, diags := plan.Timeouts.Update(ctx, defaultTimeout)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	switch {
	case !state.ended.IsZero():
		g, done := r.recordEnd(ctx, &state, &resp.Diagnostics)
		if !done {
			return
		}
		plan.fill(r.view(ctx, g))
		resp.Diagnostics.Append(resp.Private.SetKey(ctx, endedKey, nil)...)
	case changes(config, &state, r.Broker.Now()) || !state.Drift.IsNull() || state.reasonLost():
		request, err := config.change(&state)
		if err != nil {
			addError(&resp.Diagnostics, "Invalid grant", err)
			return
		}
		g, err := r.Broker.Change(ctx, state.remembered(r.backend), request)
		if err != nil {
			addError(&resp.Diagnostics, "Cannot change the grant", err)
			return
		}
		plan.fill(r.view(ctx, g))
		resp.Diagnostics.Append(writePrivate(ctx, resp.Private, startKey, g.Start)...)
	case plan.Summary.IsUnknown():
		plan.Summary = state.Summary
	}
	decided := state.policyDecided && config.Policy.IsNull()
	resp.Diagnostics.Append(writePrivate(ctx, resp.Private, policyDecidedKey, decided)...)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
	resp.Diagnostics.Append(identify(ctx, resp.Identity, plan.ID)...)
}

// Delete ends the access now, unless the same run creates the grant again. Remains that cannot be removed after the end
// of the access are not an error: the sweeper tries again.
func (r *grantResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	m := readState(ctx, req.State, req.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() || !r.opened(&resp.Diagnostics) {
		return
	}
	timeout, diags := m.Timeouts.Delete(ctx, defaultTimeout)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	revocation := broker.Revocation{
		Grant: m.remembered(r.backend), Reason: broker.Destroyed, Destroys: true,
		Holder: m.holder, TerminateSessions: m.TerminateSessions.ValueBool(),
	}
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	one := r.handovers.of(revocation.Grant.ID)
	one.Lock()
	defer one.Unlock()
	switch {
	case !m.ended.IsZero():
		revocation.Reason = endedReason(m.ended)
	case (one.wanted || m.successor == m.ID.ValueString()) && !one.failed: // the grant goes on: the create adopts it
		if err := r.Broker.HandOver(ctx, revocation.Grant); err != nil {
			addError(&resp.Diagnostics, "Cannot leave the access to the resource that replaces this one", err)
			return
		}
		one.left = revocation.Grant
		one.left.Holder = revocation.Holder
		return
	}
	g, kept, err := r.Broker.Revoke(ctx, revocation)
	if other, is := r.anothers(ctx, revocation.Grant.ID, err); is && !other.Live(r.Broker.Now()) {
		return // it is over, and the record belongs to the other owner
	}
	over := errors.Is(err, jit.ErrOver) || errors.Is(err, jit.ErrRemains)
	one.ended = err == nil || over
	switch {
	case over:
		addWarning(&resp.Diagnostics, "Remains of the grant may be left", err)
	case err != nil:
		resp.Diagnostics.Append(writePrivate(ctx, resp.Private, successorKey, "")...) // it is this plan's note
		if errors.Is(err, broker.ErrUnrecorded) {
			resp.Diagnostics.Append(writePrivate(ctx, resp.Private, endedKey, r.Broker.Now())...)
		}
		notEnded(g, err, &resp.Diagnostics)
	case kept:
		resp.Diagnostics.AddWarning("The grant lives on", fmt.Sprintf(
			"Another resource has taken over grant %s and holds it until %s.", g.ID, jit.FormatTime(g.End)))
	}
}

// ImportState imports a recorded grant, live or over, by its id.
func (r *grantResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	text := types.StringValue(req.ID)
	if req.ID == "" && req.Identity != nil {
		resp.Diagnostics.Append(req.Identity.GetAttribute(ctx, path.Root("id"), &text)...)
	}
	if resp.Diagnostics.HasError() || !r.opened(&resp.Diagnostics) {
		return
	}
	id, err := jit.ParseID(text.ValueString())
	if err != nil {
		addError(&resp.Diagnostics, "Cannot import", err)
		return
	}
	g, known, err := r.Broker.Lookup(ctx, id, jit.Grant{})
	if err == nil && !known {
		err = unknownGrant(id)
	}
	if err == nil && g.Failed() {
		err = jit.Invalid("id", "leave out the import: the block grants when it is applied", "the attempt to grant %s gave nothing: %s", id, g.Failure)
	}
	if err != nil {
		addError(&resp.Diagnostics, "Cannot import", err)
		return
	}
	m := recorded(r.view(ctx, g))
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	resp.Diagnostics.Append(identify(ctx, resp.Identity, m.ID)...)
	resp.Diagnostics.Append(remember(ctx, resp.Private, g)...)
	resp.Diagnostics.Append(writePrivate(ctx, resp.Private, policyDecidedKey, true)...)
}

// identify sets the identity of the resource if this version of Terraform supports identities.
func identify(ctx context.Context, identity *tfsdk.ResourceIdentity, id types.String) diag.Diagnostics {
	if identity == nil || id.IsNull() {
		return nil
	}
	return identity.SetAttribute(ctx, path.Root("id"), id)
}
