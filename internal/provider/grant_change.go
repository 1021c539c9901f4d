package provider

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Update changes the grant in place and repairs it. A different spelling of the same values touches nothing.
func (r *grantResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var config, plan grantModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	state := readState(ctx, req.State, req.Private, &resp.Diagnostics)
	if !r.opened(&resp.Diagnostics) {
		return
	}
	timeout, diags := plan.Timeouts.Update(ctx, defaultTimeout)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, stop := context.WithTimeout(ctx, timeout+r.Broker.WaitForApproval)
	defer stop()
	r.remind(ctx, req.Private, &resp.Diagnostics)
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
		logOutcome(ctx, "change", g, err)
		if err != nil {
			addError(&resp.Diagnostics, "Cannot change the grant", err)
			return
		}
		plan.fill(r.view(ctx, g))
		resp.Diagnostics.Append(writePrivate(ctx, resp.Private, startKey, g.Start)...)
	case plan.Summary.IsUnknown():
		plan.Summary = state.Summary
		if plan.Summary.IsNull() { // states of older versions have no summary
			plan.Summary = types.StringValue(state.remembered(r.backend).Summary())
		}
	}
	resp.Diagnostics.Append(writePrivate(ctx, resp.Private, policyNamedKey, !config.Policy.IsNull())...)
	resp.Diagnostics.Append(r.rememberHead(ctx, resp.Private)...)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
	resp.Diagnostics.Append(identify(ctx, resp.Identity, "id", plan.ID)...)
}

// planUpdate plans a grant that the state holds. It returns the attributes that make it another grant.
func (r *grantResource) planUpdate(
	ctx context.Context, config grantModel, state *grantState, plan *grantModel, diags *diag.Diagnostics,
) path.Paths {
	replace, err := r.replaced(config, state)
	if err != nil {
		addError(diags, "Cannot plan the grant", err)
		return nil
	}
	if len(replace) > 0 {
		plan.open(config)
		r.checkOrder(ctx, config, diags)
		r.preview(ctx, config, diags) // core plans the create half on its own, and shows none of its warnings
		return replace
	}
	updates := plan.RequestDigest.IsUnknown() // the framework plans so if any attribute is written differently
	plan.keep(&state.grantModel, config)
	if state.dropsPolicy(config) { // also if the grant is over, because it may have been live at plan
		plan.Policy, updates = types.StringNull(), true
	}
	if !r.configured() {
		if updates {
			plan.move(config) // the apply, with the provider configured, decides whether it does
		}
		return nil
	}
	switch now := r.Broker.Now(); {
	case changes(config, state, now) && !state.ended.IsZero():
		addError(diags, "Cannot plan the change", state.endedUnrecorded(state.ended))
	case changes(config, state, now):
		updates = true
		config.warnOfMovingTimes("The grant exists already. ", state.over(now), diags)
		r.checkOrder(ctx, config, diags)
		r.planChange(ctx, config, state, plan, diags)
	case r.repairs(ctx, state, now):
		plan.Drift, updates = types.StringUnknown(), true // the apply repairs nothing if the grant is over by then
	}
	if updates {
		plan.showSummary(r.backend, config, state)
	}
	return nil
}

// repairs reports whether an apply repairs the drift in the state. The read has warned of a ledger that cannot be read;
// a plan precedes a destroy too, and ending must work without the ledger.
func (r *grantResource) repairs(ctx context.Context, state *grantState, now time.Time) bool {
	if state.Drift.IsNull() || state.over(now) {
		return false
	}
	g, _, err := r.Broker.Lookup(ctx, jit.ID(state.ID.ValueString()), state.remembered(r.backend))
	if err != nil {
		return !errors.Is(err, broker.ErrOtherOwner)
	}
	return !g.Over(now)
}

// showSummary plans the summary of an update. Terraform hides what stays the same, and the reviewer needs it.
func (m *grantModel) showSummary(b *backend, config grantModel, state *grantState) {
	lost := state.reasonLost()
	if lost {
		m.RequestDigest = types.StringUnknown()
	}
	switch {
	case !m.Summary.Equal(state.Summary):
	case lost:
		g := state.remembered(b)
		g.Reason = config.Reason.ValueString()
		m.Summary = types.StringValue(g.Summary())
	default:
		m.Summary = types.StringUnknown()
	}
}

// replaced returns the attributes whose change makes another grant of this one: those that are written differently,
// unless together they mean the same access as before.
func (r *grantResource) replaced(config grantModel, state *grantState) (differ path.Paths, err error) {
	written, before := config.asked(), state.asked()
	for _, name := range identity {
		implied := name == "scope" || name == "renewal" && isFirst(state.Renewal)
		if !(written[name].IsNull() && implied) && !written[name].Equal(before[name]) {
			differ.Append(path.Root(name))
		}
	}
	var glass path.Paths
	if config.BreakGlass.ValueBool() != state.BreakGlass.ValueBool() && !r.isOver(state) {
		glass = path.Paths{path.Root("break_glass")}
	}
	if len(differ) == 0 || len(config.missing()) > 0 || !r.ready(config.Target.ValueString()) {
		return append(differ, glass...), nil
	}
	request, err := config.change(state)
	if err != nil {
		return nil, err
	}
	g, _, err := r.Broker.Check(request)
	if err != nil || string(g.ID) == state.ID.ValueString() {
		return glass, err
	}
	return append(differ, glass...), nil
}

// isOver is [grantModel.over] by the broker's clock; false while the provider is not configured.
func (r *grantResource) isOver(state *grantState) bool {
	return r.configured() && state.over(r.Broker.Now())
}

// changes reports whether the configuration requests an update of the state. Attributes that make another grant do not
// count, nor do other spellings. If the grant is over, only its window counts.
func changes(config grantModel, state *grantState, now time.Time) bool {
	asked, err := config.request()
	was, _ := state.request() // the state was once valid
	return changesWindow(config, &state.grantModel) || !state.over(now) && (err != nil || len(config.unknown()) > 0 ||
		asked.Terms != was.Terms || asked.Policy != "" && asked.Policy != was.Policy || state.dropsPolicy(config))
}

func isFirst(renewal types.Number) bool {
	return known(renewal) && renewal.ValueBigFloat().Cmp(big.NewFloat(1)) == 0
}

func sameRequester(config grantModel, state *grantModel) bool {
	return config.Requester.Equal(state.Requester)
}

// changesWindow reports whether the configuration asks for another length, end or beginning than the state holds.
func changesWindow(config grantModel, state *grantModel) bool {
	return config.TTL.IsUnknown() || known(config.TTL) &&
		!sameLength(config.TTL.ValueString(), state.TTL.ValueString()) ||
		!config.ExpiresAt.IsNull() && !sameTime(config.ExpiresAt, state.ExpiresAt) ||
		!sameTime(config.StartsAt, state.StartsAt)
}

// planChange judges a change of a grant that exists. If only the end moves, the plan shows it. A new beginning may be
// that of the apply.
func (r *grantResource) planChange(
	ctx context.Context, config grantModel, state *grantState, plan *grantModel, diags *diag.Diagnostics,
) {
	if len(config.missing()) > 0 || !r.ready(config.Target.ValueString()) {
		plan.move(config)
		return
	}
	request, err := config.change(state)
	if err != nil {
		addError(diags, "Invalid grant", err)
		return
	}
	before := state.remembered(r.backend)
	if !sameRequester(config, &state.grantModel) {
		err = r.Broker.CheckRequester(ctx, request.Requester)
	}
	var d broker.Decision
	if err == nil {
		d, err = r.Broker.PreviewChange(ctx, before, request)
	}
	if err == nil {
		err = config.checkEnds(d.Grant, true)
	}
	logDecision(ctx, "plan of a change", before, d, err)
	if err != nil {
		addError(diags, "Cannot plan the change", err)
		return
	}
	addWarnings(diags, d.Warnings)
	computed(config.TTL, &plan.TTL, types.StringNull())
	plan.moveWindow(config, state, before, d)
	if !d.Over && !state.Drift.IsNull() {
		plan.Drift = types.StringUnknown()
	}
	if !changesWindow(config, &state.grantModel) {
		// If the grant is over by the apply, the recorded request stays.
		plan.RequestDigest = types.StringUnknown()
		return
	}
	asked, _ := config.request() // it has been judged
	r.describe(ctx, plan, d.Grant, asked)
}

// moveWindow plans what a change does to the window. A known beginning stays, and then the new end is known.
func (m *grantModel) moveWindow(config grantModel, state *grantState, before jit.Grant, d broker.Decision) {
	g := d.Grant
	if g.Window.Equal(before.Window) && (d.Over || g.RevokedAt.IsZero()) {
		return
	}
	m.move(config)
	if g.Start.Equal(before.Start) && !g.GrantedAt.IsZero() {
		m.GrantedAt = state.GrantedAt
		computed(config.ExpiresAt, &m.ExpiresAt, types.StringValue(jit.FormatTime(g.End)))
	}
}

// warnOfMovingTimes warns of times that are not known at plan: most likely they move with the clock.
func (m *grantModel) warnOfMovingTimes(exists string, over bool, diags *diag.Diagnostics) {
	for _, t := range []struct {
		attribute string
		value     types.String
		does      string
	}{
		{"expires_at", m.ExpiresAt, "moves the end of the grant"},
		{"starts_at", m.StartsAt, "moves the beginning of the grant, or fails because it has begun"},
	} {
		if !t.value.IsUnknown() {
			continue
		}
		each := fmt.Sprintf("every later apply %s, and once the grant is over every apply fails", t.does)
		if over {
			each = "every apply fails, because the grant is over"
		}
		diags.AddAttributeWarning(path.Root(t.attribute), t.attribute+" is not known before the apply", fmt.Sprintf(
			"%sIf %s is computed from timestamp(), it is another time in every run: %s. "+
				"Write ttl = \"2h\", which counts from when the access begins, or a fixed time.", exists, t.attribute, each))
	}
}
