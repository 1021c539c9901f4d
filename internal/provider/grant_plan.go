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

// ValidateConfig refuses what is wrong whatever the time: it runs with every plan,
// also long after the grant has ended.
func (r *grantResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m grantModel
	resp.Diagnostics.Append(m.get(ctx, req.Config.Raw)...)
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

// checkTimeouts refuses timeouts that leave no time; the framework has refused what is no duration.
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

// ModifyPlan judges what the configuration asks for and plans what the provider computes. It
// plans nothing that the clock alone would change, and writes nothing anywhere.
func (r *grantResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		r.planDestroy(ctx, req, resp) // nothing forbids it
		return
	}
	var config, plan grantModel
	resp.Diagnostics.Append(config.get(ctx, req.Config.Raw)...)
	resp.Diagnostics.Append(plan.get(ctx, req.Plan.Raw)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if req.State.Raw.IsNull() {
		r.planCreate(ctx, config, &plan, resp)
	} else {
		var state grantModel
		resp.Diagnostics.Append(state.get(ctx, req.State.Raw)...)
		if resp.Diagnostics.HasError() {
			return
		}
		ended := readPrivate[time.Time](ctx, req.Private, endedKey, &resp.Diagnostics)
		resp.RequiresReplace = r.planUpdate(ctx, config, state, ended, &plan, &resp.Diagnostics)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(plan.set(&resp.Plan.Raw)...)
}

// planDestroy notes whether the same plan creates the grant again, under another address.
func (r *grantResource) planDestroy(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	var state grantModel
	resp.Diagnostics.Append(state.get(ctx, req.State.Raw)...)
	if resp.Diagnostics.HasError() || r.backend == nil {
		return
	}
	id := jit.ID(state.ID.ValueString())
	if !r.handovers.wants(id) {
		id = "" // and a note of an earlier plan, whose apply failed, is void
	}
	resp.Diagnostics.Append(markSuccessor(ctx, resp.Private, id)...)
}

// planCreate plans a grant that the state does not hold. The ledger or the target may know
// it: then its recorded window is planned.
func (r *grantResource) planCreate(ctx context.Context, config grantModel, plan *grantModel, resp *resource.ModifyPlanResponse) {
	plan.unsettle(config)
	p, known := r.preview(ctx, config, &resp.Diagnostics)
	if !known {
		return // the apply plans again, with everything known
	}
	resp.Diagnostics.Append(markSuccessor(ctx, resp.Private, p.Grant.ID)...)
	if ended := readPrivate[time.Time](ctx, resp.Private, endedKey, &resp.Diagnostics); !ended.IsZero() && p.Met && !p.Over {
		addError(&resp.Diagnostics, "Cannot plan the grant", config.endedUnrecorded(ended)) // the create half of a replacement of what was ended
		return
	}
	if p.Met {
		plan.fill(p.Grant)
		return
	}
	plan.settle(p.Grant)
	if target, err := r.Broker.Target(p.Grant.Target); err == nil {
		if _, asks := jit.Find[jit.Describer](target); asks {
			plan.SessionTail = types.StringUnknown() // it may be another when the grant is made
		}
	}
}

// preview judges the grant that a configuration asks for and that this run is to create. known is false where it is refused, or where
// not everything is known that decides.
func (r *grantResource) preview(ctx context.Context, config grantModel, diags *diag.Diagnostics) (p broker.Preview, known bool) {
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
		err = r.created(ctx, one, g, err)
	}
	if err != nil {
		addError(diags, "Cannot plan the grant", err)
		return p, false
	}
	addWarnings(diags, p.Warnings)
	return p, true
}

// planUpdate plans a grant that the state holds and returns the attributes that make
// it another grant. ended is when a destroy ended it without the ledger, if one did.
func (r *grantResource) planUpdate(ctx context.Context, config, state grantModel, ended time.Time, plan *grantModel, diags *diag.Diagnostics) path.Paths {
	replace, err := r.replaced(config, state)
	if err != nil {
		addError(diags, "Cannot plan the grant", err)
		return nil
	}
	if len(replace) > 0 {
		plan.unsettle(config)
		r.preview(ctx, config, diags) // core plans the create half on its own, and shows none of its warnings
		return replace
	}
	differs := plan.Digest.IsUnknown() // the framework has planned so whatever is computed, as something is written differently
	plan.keep(state, config)
	if r.backend == nil || r.Runtime == nil {
		if differs {
			plan.move(config) // the apply, with the provider configured, tells whether it does
		}
		return nil
	}
	now := r.Broker.Now()
	switch {
	case changes(config, state, now) && !ended.IsZero():
		addError(diags, "Cannot plan the change", state.endedUnrecorded(ended))
	case changes(config, state, now):
		config.warnOfMovingTimes(state, now, diags)
		r.planChange(ctx, config, state, plan, diags)
	case isDrift(state.Digest) && !state.over(now): // drift of what is over is nobody's concern
		g, _, err := r.Broker.Recall(ctx, jit.ID(state.ID.ValueString()), state.remembered(r.backend))
		// A ledger that cannot be read is a warning of the read: before a destroy too comes a plan, and ending access has to work without it.
		if err != nil && !errors.Is(err, broker.ErrOtherOwner) || err == nil && !g.Over(now) {
			plan.Digest = types.StringUnknown() // the grant may be over when this is applied, and nothing is repaired then
		}
	}
	return nil
}

// replaced returns the attributes whose change makes another grant of this one: those
// that are written differently, unless all together mean the same access as before.
func (r *grantResource) replaced(config, state grantModel) (path.Paths, error) {
	var differ path.Paths
	for _, name := range identity {
		written := config.value(name)
		if name == "scope" && written.IsNull() || name == "renewal" && written.IsNull() && state.Renewal.ValueString() == "1" {
			continue
		}
		if !written.Equal(state.value(name)) {
			differ.Append(path.Root(name))
		}
	}
	if len(differ) == 0 || len(config.missing()) > 0 || !r.ready(config.Target.ValueString()) {
		return differ, nil
	}
	request, err := config.request()
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

// changes reports whether the configuration asks for anything else than the state holds, beside
// what makes another grant of it. Another spelling of the same is no change, and of a grant that is
// over only the window is left to be asked for.
func changes(config, state grantModel, now time.Time) bool {
	if !sameLength(config.TTL.ValueString(), state.TTL.ValueString()) || config.TTL.IsUnknown() ||
		!config.ExpiresAt.IsNull() && !sameTime(config.ExpiresAt, state.ExpiresAt) || !sameTime(config.StartsAt, state.StartsAt) {
		return true
	}
	return !state.over(now) && (!sameTime(config.StartBy, state.StartBy) || !config.Policy.Equal(state.Policy) ||
		config.TerminateSessions.IsUnknown() || config.TerminateSessions.ValueBool() != state.TerminateSessions.ValueBool())
}

func sameTime(a, b types.String) bool {
	if a.Equal(b) {
		return true
	}
	x, errX := jit.ParseTime("", a.ValueString())
	y, errY := jit.ParseTime("", b.ValueString())
	return errX == nil && errY == nil && x.Equal(y)
}

// planChange judges a change of a grant that exists. Where only the end of access that has begun moves, the plan tells it;
// a beginning that moves may be that of the apply.
func (r *grantResource) planChange(ctx context.Context, config, state grantModel, plan *grantModel, diags *diag.Diagnostics) {
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
	if err != nil {
		addError(diags, "Cannot plan the change", err)
		return
	}
	addWarnings(diags, p.Warnings)
	moves := !p.Grant.Window.Equal(before.Window) || !p.Over && !p.Grant.RevokedAt.IsZero()
	if moves && p.Grant.Start.Equal(before.Start) && !p.Grant.GrantedAt.IsZero() {
		plan.Digest = types.StringUnknown()
		if config.ExpiresAt.IsNull() {
			plan.ExpiresAt = types.StringValue(jit.FormatTime(p.Grant.End))
		}
	} else if moves {
		plan.move(config)
	} else if isDrift(state.Digest) && !p.Over {
		plan.Digest = types.StringUnknown()
	}
}

// warnOfMovingTimes warns of times of an existing grant that are not known at plan: most likely they move with the clock.
func (m *grantModel) warnOfMovingTimes(state grantModel, now time.Time, diags *diag.Diagnostics) {
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

// missing names the values that have to be known before anything can be judged.
func (m *grantModel) missing() map[string]bool {
	names := m.unknown()
	if m.Scope.IsNull() {
		delete(names, "scope")
	}
	return names
}

// unsettle plans everything that the provider computes as not known.
func (m *grantModel) unsettle(config grantModel) {
	m.ID, m.GrantedAt, m.Digest = types.StringUnknown(), types.StringUnknown(), types.StringUnknown()
	m.Enforcement, m.SessionTail = types.StringUnknown(), types.StringUnknown()
	if config.Scope.IsNull() {
		m.Scope = types.StringUnknown()
	}
	if config.ExpiresAt.IsNull() {
		m.ExpiresAt = types.StringUnknown()
	}
}

// move plans what goes with the window as not known.
func (m *grantModel) move(config grantModel) {
	m.GrantedAt, m.Digest = types.StringUnknown(), types.StringUnknown()
	if config.ExpiresAt.IsNull() {
		m.ExpiresAt = types.StringUnknown()
	}
}

// settle plans what is known of a new grant before it is made: everything but its window.
func (m *grantModel) settle(g jit.Grant) {
	m.ID = types.StringValue(string(g.ID))
	m.Enforcement = types.StringValue(string(g.Enforcement))
	m.SessionTail = types.StringValue(jit.FormatTail(g.SessionTail))
	if m.Scope.IsUnknown() {
		m.Scope = types.StringValue(g.Scope)
	}
}

// keep plans everything that the provider computes as the state has it.
func (m *grantModel) keep(state, config grantModel) {
	m.ID, m.GrantedAt, m.Digest = state.ID, state.GrantedAt, state.Digest
	m.Enforcement, m.SessionTail = state.Enforcement, state.SessionTail
	if config.Scope.IsNull() {
		m.Scope = state.Scope
	}
	if config.ExpiresAt.IsNull() {
		m.ExpiresAt = state.ExpiresAt
	}
}
