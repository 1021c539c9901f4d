package provider

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// ValidateConfig refuses configurations that are wrong at any time. It runs with every plan, also long after the grant
// has ended.
func (r *grantResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m grantModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	request, err := m.request()
	if err == nil {
		err = broker.CheckForm(request, m.unknown())
	}
	if err != nil {
		addError(&resp.Diagnostics, "Invalid grant", err)
	}
	m.checkTimeouts(&resp.Diagnostics)
}

// checkTimeouts refuses timeouts that are not positive. The framework refuses those that are not durations.
func (m *grantModel) checkTimeouts(diags *diag.Diagnostics) {
	for name, value := range m.Timeouts.Attributes() {
		text, ok := value.(types.String)
		if d, err := time.ParseDuration(text.ValueString()); ok && err == nil && d <= 0 {
			// Terraform shows the line of a whole attribute only.
			diags.AddAttributeError(path.Root("timeouts"), "Invalid timeouts",
				fmt.Sprintf("timeouts.%s: %q is not a positive duration.\n\nWrite for example %s = \"10m\", or leave it out for %s.",
					name, text.ValueString(), name, jit.FormatDuration(defaultTimeout)))
		}
	}
}

// ModifyPlan judges what the configuration asks for and plans the computed attributes. It plans nothing that the clock
// alone would change, and writes nothing anywhere.
func (r *grantResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		r.planDestroy(ctx, req, resp) // nothing forbids it
		return
	}
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
	} else {
		state := readState(ctx, req.State, req.Private, &resp.Diagnostics)
		if resp.Diagnostics.HasError() {
			return
		}
		resp.RequiresReplace = r.planUpdate(ctx, config, &state, &plan, &resp.Diagnostics)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
}

// planDestroy notes whether the same plan creates the grant again, under another address.
func (r *grantResource) planDestroy(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
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
}

// planCreate plans a grant that the state does not hold. If the ledger or the target knows it, its recorded window is
// planned.
func (r *grantResource) planCreate(ctx context.Context, config grantModel, plan *grantModel, resp *resource.ModifyPlanResponse) {
	plan.open(config)
	p, known := r.preview(ctx, config, &resp.Diagnostics)
	if !known {
		return // the apply plans again, with everything known
	}
	resp.Diagnostics.Append(writePrivate(ctx, resp.Private, successorKey, string(p.Grant.ID))...)
	ended := readPrivate[time.Time](ctx, resp.Private, endedKey, &resp.Diagnostics)
	if !ended.IsZero() && p.Met && !p.Over { // the create half of a replacement
		addError(&resp.Diagnostics, "Cannot plan the grant", config.endedUnrecorded(ended))
		return
	}
	request, _ := config.request() // it has been judged
	g := p.Grant
	if p.Met {
		plan.fill(r.view(ctx, g))
		if g.GrantedAt.IsZero() && !p.Over {
			plan.GrantedAt = types.StringUnknown()
		}
		r.describe(ctx, plan, g, request) // the block may ask for it otherwise than the record
		return
	}
	// What is known of a new grant before it is made: everything but its window.
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

// preview judges the grant that a configuration asks for and that this run is to create. known is false if it is
// refused, or if a value that decides is not known.
func (r *grantResource) preview(ctx context.Context, config grantModel, diags *diag.Diagnostics) (p broker.Decision, known bool) {
	request, err := config.request()
	if err != nil {
		addError(diags, "Invalid grant", err)
		return p, false
	}
	if len(config.missing()) > 0 || !r.ready(request.Binding.Target) {
		return p, false
	}
	g, _, err := r.Broker.Check(request)
	if err == nil {
		one := r.handovers.want(g.ID)
		defer one.Unlock()
		request.Successor = one.ended
		p, err = r.Broker.Preview(ctx, request, true)
		if err = r.created(ctx, one, g, err); err == nil {
			err = config.checkEnds(p.Grant, p.Met)
		}
	}
	if err != nil {
		addError(diags, "Cannot plan the grant", err)
		return p, false
	}
	addWarnings(diags, p.Warnings)
	return p, true
}

// planUpdate plans a grant that the state holds and returns the attributes that make it another grant.
func (r *grantResource) planUpdate(ctx context.Context, config grantModel, state *grantState, plan *grantModel, diags *diag.Diagnostics) path.Paths {
	replace, err := r.replaced(config, state)
	if err != nil {
		addError(diags, "Cannot plan the grant", err)
		return nil
	}
	if len(replace) > 0 {
		plan.open(config)
		r.preview(ctx, config, diags) // core plans the create half on its own, and shows none of its warnings
		return replace
	}
	updates := plan.RequestDigest.IsUnknown() // the framework plans so if any attribute is written differently
	plan.keep(&state.grantModel, config)
	if r.backend == nil || r.Runtime == nil {
		if updates {
			plan.move(config) // the apply, with the provider configured, tells whether it does
		}
		return nil
	}
	switch now := r.Broker.Now(); {
	case changes(config, state, now) && !state.ended.IsZero():
		addError(diags, "Cannot plan the change", state.endedUnrecorded(state.ended))
	case changes(config, state, now):
		updates = true
		config.warnOfMovingTimes(&state.grantModel, now, diags)
		r.planChange(ctx, config, state, plan, diags)
	case !state.Drift.IsNull() && !state.over(now):
		g, _, err := r.Broker.Lookup(ctx, jit.ID(state.ID.ValueString()), state.remembered(r.backend))
		// The read has warned of a ledger that cannot be read. A plan precedes a destroy too, and ending must work without it.
		if err != nil && !errors.Is(err, broker.ErrOtherOwner) || err == nil && !g.Over(now) {
			plan.Drift, updates = types.StringUnknown(), true // nothing is repaired if the grant is over by the apply
		}
	}
	lost := state.reasonLost()
	switch {
	case !updates || !plan.Summary.Equal(state.Summary):
	case lost, state.Summary.IsNull():
		plan.Summary = state.summary(r.backend, config.Reason)
	default:
		plan.Summary = types.StringUnknown() // Terraform hides what stays the same, and the reviewer needs it
	}
	if updates && lost {
		plan.RequestDigest = types.StringUnknown()
	}
	return nil
}

// summary describes the grant that the state holds, for the reason in the configuration.
func (s *grantState) summary(b *backend, reason types.String) types.String {
	g := s.remembered(b)
	g.Reason = reason.ValueString()
	return types.StringValue(g.Summary())
}

// replaced returns the attributes whose change makes another grant of this one: those that are written differently,
// unless all together mean the same access as before.
func (r *grantResource) replaced(config grantModel, state *grantState) (path.Paths, error) {
	var differ path.Paths
	written, before := config.asked(), state.asked()
	for _, name := range identity {
		unset := written[name].IsNull()
		if name == "scope" && unset || name == "renewal" && unset && state.Renewal.ValueString() == "1" {
			continue
		}
		if !written[name].Equal(before[name]) {
			differ.Append(path.Root(name))
		}
	}
	if len(differ) == 0 || len(config.missing()) > 0 || !r.ready(config.Target.ValueString()) {
		return differ, nil
	}
	request, err := config.change(state)
	if err != nil {
		return nil, err
	}
	g, _, err := r.Broker.Check(request)
	if err != nil {
		return nil, err
	}
	if string(g.ID) == state.ID.ValueString() {
		return nil, nil
	}
	return differ, nil
}

// changes reports whether the configuration asks for anything else than the state holds, beside what makes another
// grant of it. Another spelling of the same is no change. Of a grant that is over, only its window can be asked for.
func changes(config grantModel, state *grantState, now time.Time) bool {
	asked, err := config.request()
	was, _ := state.request() // it has been accepted
	return changesWindow(config, &state.grantModel) || !state.over(now) && (err != nil || len(config.unknown()) > 0 ||
		asked.Terms != was.Terms || asked.Policy != "" && asked.Policy != was.Policy || state.dropsPolicy(config))
}

// dropsPolicy reports whether the configuration no longer names the policy that the state names. The policy of an
// imported state was decided; the configuration need not name it.
func (s *grantState) dropsPolicy(config grantModel) bool {
	return config.Policy.IsNull() && !s.Policy.IsNull() && !s.policyDecided
}

// changesWindow reports whether the configuration asks for another length, end or beginning than the state holds.
func changesWindow(config grantModel, state *grantModel) bool {
	return config.TTL.IsUnknown() || known(config.TTL) && !sameLength(config.TTL.ValueString(), state.TTL.ValueString()) ||
		!config.ExpiresAt.IsNull() && !sameTime(config.ExpiresAt, state.ExpiresAt) || !sameTime(config.StartsAt, state.StartsAt)
}

// planChange judges a change of a grant that exists. If only the end moves, the plan tells it. A beginning that moves
// may be that of the apply.
func (r *grantResource) planChange(ctx context.Context, config grantModel, state *grantState, plan *grantModel, diags *diag.Diagnostics) {
	if state.dropsPolicy(config) {
		plan.Policy = types.StringNull()
	}
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
	p, err := r.Broker.PreviewChange(ctx, before, request)
	if err == nil {
		err = config.checkEnds(p.Grant, true)
	}
	if err != nil {
		addError(diags, "Cannot plan the change", err)
		return
	}
	addWarnings(diags, p.Warnings)
	if config.TTL.IsNull() {
		plan.TTL = types.StringNull()
	}
	g := p.Grant
	sameStart := g.Start.Equal(before.Start)
	if ends := !p.Over && !g.RevokedAt.IsZero(); !g.Window.Equal(before.Window) || ends {
		plan.move(config)
		if sameStart && !g.GrantedAt.IsZero() {
			plan.GrantedAt = state.GrantedAt
			if config.ExpiresAt.IsNull() {
				plan.ExpiresAt = types.StringValue(jit.FormatTime(g.End))
			}
		}
	}
	if !p.Over && !state.Drift.IsNull() {
		plan.Drift = types.StringUnknown()
	}
	if !changesWindow(config, &state.grantModel) {
		// If the grant is over when this is applied, the request that is recorded stays.
		plan.RequestDigest = types.StringUnknown()
		return
	}
	asked, _ := config.request() // it has been judged
	r.describe(ctx, plan, g, asked)
}

// warnOfMovingTimes warns of times of an existing grant that are not known at plan: most likely they move with the clock.
func (m *grantModel) warnOfMovingTimes(state *grantModel, now time.Time, diags *diag.Diagnostics) {
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
		each := fmt.Sprintf("every apply %s, and once the grant is over every apply fails", t.does)
		if state.over(now) {
			each = "every apply fails, because the grant is over"
		}
		diags.AddAttributeWarning(path.Root(t.attribute), t.attribute+" is not known before the apply", fmt.Sprintf(
			"The grant exists already. If %s is computed from timestamp(), it is another time in every run: %s. "+
				"Write ttl = \"2h\", which counts from when the access begins, or a fixed time.", t.attribute, each))
	}
}

// open plans the computed attributes of a grant that is to be made as not known.
func (m *grantModel) open(config grantModel) {
	m.ID, m.Enforcement, m.SessionTail = types.StringUnknown(), types.StringUnknown(), types.StringUnknown()
	m.Drift = types.StringNull()
	if config.TTL.IsNull() {
		m.TTL = types.StringNull()
	}
	if config.Policy.IsNull() {
		m.Policy = types.StringNull()
	}
	if config.Scope.IsNull() {
		m.Scope = types.StringUnknown()
	}
	m.move(config)
}

// move plans what goes with the window and the request as not known.
func (m *grantModel) move(config grantModel) {
	m.Summary, m.RequestDigest, m.GrantedAt = types.StringUnknown(), types.StringUnknown(), types.StringUnknown()
	if !m.Drift.IsNull() {
		m.Drift = types.StringUnknown()
	}
	if config.ExpiresAt.IsNull() {
		m.ExpiresAt = types.StringUnknown()
	}
	if config.TTL.IsNull() && !m.TTL.IsNull() {
		m.TTL = types.StringUnknown()
	}
}

// describe plans the summary and the request digest of g as the configuration asks for it: neither time nor what others
// record changes them between plan and apply. The digest stays unknown while the ledger has no id.
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
	m.GrantedAt, m.Enforcement, m.SessionTail, m.Drift = state.GrantedAt, state.Enforcement, state.SessionTail, state.Drift
	if config.Scope.IsNull() {
		m.Scope = state.Scope
	}
	if config.ExpiresAt.IsNull() {
		m.ExpiresAt = state.ExpiresAt
	}
	if config.TTL.IsNull() {
		m.TTL = state.TTL
	}
	if config.Policy.IsNull() {
		m.Policy = state.Policy
	}
}
