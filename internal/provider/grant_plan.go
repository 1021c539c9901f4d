package provider

import (
	"cmp"
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// ModifyPlan judges the configuration and plans the computed attributes. It plans nothing that the clock alone would
// change, and writes nothing.
func (r *grantResource) ModifyPlan(
	ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse,
) {
	if req.Plan.Raw.IsNull() {
		r.planDestroy(ctx, req, resp) // destroying is always allowed
		return
	}
	defer r.tellAhead(ctx, req, resp)
	if req.Plan.Raw.Equal(req.State.Raw) { // most grants of most plans; decoding them would take most of the time
		var drift, policy, configured types.String
		resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("drift"), &drift)...)
		resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("policy"), &policy)...)
		resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("policy"), &configured)...)
		if drift.IsNull() && policy.Equal(configured) {
			return
		}
	}
	var config, plan grantModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if req.State.Raw.IsNull() {
		r.planCreate(ctx, config, &plan, resp)
		plan.measure()
	} else {
		state := readState(ctx, req.State, req.Private, &resp.Diagnostics)
		if resp.Diagnostics.HasError() {
			return
		}
		resp.RequiresReplace = r.planUpdate(ctx, config, &state, &plan, &resp.Diagnostics)
		if plan.TTLSeconds = state.TTLSeconds; plan.measuresAnew(&state.grantModel) {
			plan.measure()
		}
	}
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
}

// checkOrder checks a grant that the plan gives or changes against the policies of the plan.
func (r *grantResource) checkOrder(ctx context.Context, config grantModel, diags *diag.Diagnostics) {
	if !r.configured() || !config.Policy.IsNull() {
		return
	}
	if err := r.Broker.CheckOrder(ctx, false); err != nil {
		addError(diags, "Cannot plan the grant", err)
	}
}

// planDestroy notes whether the same plan creates the grant again, under another address.
func (r *grantResource) planDestroy(
	ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse,
) {
	var id types.String
	resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("id"), &id)...)
	if resp.Diagnostics.HasError() || r.backend == nil {
		return
	}
	successor := id.ValueString()
	if !r.handovers.wants(jit.ID(successor)) {
		successor = "" // and a note of an earlier plan, whose apply failed, is void
	}
	resp.Diagnostics.Append(writePrivate(ctx, resp.Private, successorKey, successor)...)
	resp.Diagnostics.Append(writePrivate(ctx, resp.Private, nextKey, broker.Request{})...)
}

// planCreate plans a grant that the state does not hold. If the ledger or the target knows it, its recorded window is
// planned.
func (r *grantResource) planCreate(
	ctx context.Context, config grantModel, plan *grantModel, resp *resource.ModifyPlanResponse,
) {
	plan.open(config)
	config.warnOfMovingTimes("", false, &resp.Diagnostics)
	r.checkOrder(ctx, config, &resp.Diagnostics)
	p, known := r.preview(ctx, config, &resp.Diagnostics)
	if !known {
		return // the apply plans again, with everything known
	}
	r.recall(ctx, resp.Private, &resp.Diagnostics)
	resp.Diagnostics.Append(r.rememberHead(ctx, resp.Private)...)
	request, _ := config.request() // it has been judged
	resp.Diagnostics.Append(writePrivate(ctx, resp.Private, successorKey, string(p.Grant.ID))...)
	if len(p.Verdict.Approval) > 0 && !p.Verdict.BrokeGlass {
		resp.Diagnostics.Append(writePrivate(ctx, resp.Private, nextKey, request)...)
	}
	ended := readPrivate[time.Time](ctx, resp.Private, endedKey, &resp.Diagnostics)
	if !ended.IsZero() && p.Met && !p.Over { // the create half of a replacement
		addError(&resp.Diagnostics, "Cannot plan the grant", config.endedUnrecorded(ended))
		return
	}
	g := p.Grant
	if p.Met {
		plan.fill(r.view(ctx, g))
		if g.GrantedAt.IsZero() && !p.Over {
			plan.GrantedAt = types.StringUnknown()
		}
		r.describe(ctx, plan, g, request) // the block may ask for it otherwise than the record
		return
	}
	// Everything about a new grant is known now, except its window.
	plan.ID = types.StringValue(string(g.ID))
	plan.Enforcement = types.StringValue(string(g.Enforcement))
	if plan.Scope.IsUnknown() {
		plan.Scope = types.StringValue(g.Scope)
	}
	target, err := r.Broker.Target(g.Target)
	if err == nil {
		if _, asks := jit.Find[jit.Describer](target); !asks { // else it may be another when the grant is made
			plan.SessionTail = types.StringValue(jit.FormatTail(g.SessionTail))
		}
	}
	r.describe(ctx, plan, g, request)
}

// preview judges the grant that a configuration asks for and that this run creates. known is false if the grant is
// refused, or if a deciding value is unknown.
func (r *grantResource) preview(
	ctx context.Context, config grantModel, diags *diag.Diagnostics) (p broker.Decision, known bool,
) {
	request, err := config.request()
	if err != nil {
		addError(diags, "Invalid grant", err)
		return p, false
	}
	if len(config.missing()) > 0 || !r.ready(request.Binding.Target) {
		if r.configured() && config.Policy.IsNull() {
			if err := r.Broker.NoteUnknown(ctx, config.Target.ValueString()); err != nil {
				addError(diags, "Cannot plan the grant", err)
			}
		}
		return p, false
	}
	g, _, err := r.Broker.Check(request)
	if err == nil {
		one := r.handovers.want(g.ID)
		defer one.Unlock()
		request.Successor = one.ended
		p, err = r.Broker.Preview(ctx, request, true)
		if !p.Met && one.left.ID == "" { // an unknown requester explains most refusals
			err = cmp.Or(r.Broker.CheckRequester(ctx, request.Requester), err)
		}
		if err = r.created(ctx, one, g, err); err == nil {
			err = config.checkEnds(p.Grant, p.Met)
		}
	}
	logDecision(ctx, "plan of a grant", g, p, err)
	if err != nil {
		addError(diags, "Cannot plan the grant", err)
		return p, false
	}
	addWarnings(diags, p.Warnings)
	return p, true
}

// computed sets an attribute that the configuration leaves to the provider.
func computed(configured types.String, attribute *types.String, value types.String) {
	if configured.IsNull() {
		*attribute = value
	}
}

// open plans the computed attributes of a new grant as unknown.
func (m *grantModel) open(config grantModel) {
	m.ID, m.Enforcement, m.SessionTail = types.StringUnknown(), types.StringUnknown(), types.StringUnknown()
	m.Drift = types.StringNull()
	computed(config.TTL, &m.TTL, types.StringNull())
	computed(config.Policy, &m.Policy, types.StringNull())
	computed(config.Scope, &m.Scope, types.StringUnknown())
	m.move(config)
}

// move plans everything that depends on the window and the request as unknown.
func (m *grantModel) move(config grantModel) {
	m.Summary, m.RequestDigest, m.GrantedAt = types.StringUnknown(), types.StringUnknown(), types.StringUnknown()
	if !m.Drift.IsNull() {
		m.Drift = types.StringUnknown()
	}
	computed(config.ExpiresAt, &m.ExpiresAt, types.StringUnknown())
	if !m.TTL.IsNull() {
		computed(config.TTL, &m.TTL, types.StringUnknown())
	}
}

// describe plans the summary and the request digest of g as the configuration asks for it, so neither time nor another
// run changes them between plan and apply. The digest stays unknown while the ledger has no id.
func (r *grantResource) describe(ctx context.Context, plan *grantModel, g jit.Grant, asked broker.Request) {
	g.Reason, g.Renewal, g.TTL = asked.Reason, asked.Renewal, asked.TTL
	g.Terms = asked.Terms
	g.StartAsked, g.End = jit.StartAsked(asked.StartsAt), asked.ExpiresAt
	v := r.view(ctx, g)
	plan.Summary, plan.RequestDigest = types.StringValue(v.Summary), types.StringUnknown()
	if v.RequestDigest != "" {
		plan.RequestDigest = types.StringValue(v.RequestDigest)
	}
}

// keep plans the computed attributes as the state has them.
func (m *grantModel) keep(state *grantModel, config grantModel) {
	m.ID, m.Summary, m.RequestDigest = state.ID, state.Summary, state.RequestDigest
	m.GrantedAt, m.Enforcement, m.SessionTail, m.Drift = state.GrantedAt, state.Enforcement, state.SessionTail,
		state.Drift
	computed(config.Scope, &m.Scope, state.Scope)
	computed(config.ExpiresAt, &m.ExpiresAt, state.ExpiresAt)
	computed(config.TTL, &m.TTL, state.TTL)
	computed(config.Policy, &m.Policy, state.Policy)
}
