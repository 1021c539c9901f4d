package provider

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework/action"
	"github.com/hashicorp/terraform-plugin-framework/action/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// revokeAction is the action jit_revoke: it ends grants now.
type revokeAction struct{ actionBase }

var (
	_ action.ActionWithConfigure      = (*revokeAction)(nil)
	_ action.ActionWithValidateConfig = (*revokeAction)(nil)
)

type revokeModel struct {
	ID                types.String `tfsdk:"id"`
	Principal         types.String `tfsdk:"principal"`
	Target            types.String `tfsdk:"target"`
	Reason            types.String `tfsdk:"reason"`
	TerminateSessions types.Bool   `tfsdk:"terminate_sessions"`
}

// Schema describes the action.
func (a *revokeAction) Schema(_ context.Context, _ action.SchemaRequest, resp *action.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Ends grants of this owner now: one grant, or all that match both `principal` and " +
			"`target`. A grant that is over stays as it is, and counts as success. A revocation is final: the same " +
			"configuration grants nothing again until you raise its `renewal`. Needs Terraform 1.14.",
		Attributes: map[string]schema.Attribute{
			"id": schema.StringAttribute{Optional: true, MarkdownDescription: "The id of the grant to end."},
			"principal": schema.StringAttribute{Optional: true, MarkdownDescription: "End the grants to this principal, " +
				"in its canonical form or as its target spells it."},
			"target": schema.StringAttribute{Optional: true, MarkdownDescription: "End the grants on this target."},
			"reason": schema.StringAttribute{Required: true, MarkdownDescription: "Why, on one line. The record keeps it."},
			"terminate_sessions": schema.BoolAttribute{Optional: true, MarkdownDescription: "Whether to end open sessions " +
				"too, on targets that can end them. Default: `false`."},
		},
	}
}

// ValidateConfig refuses an action that does not say clearly which grants it revokes, and why.
func (a *revokeAction) ValidateConfig(
	ctx context.Context, req action.ValidateConfigRequest, resp *action.ValidateConfigResponse,
) {
	var m revokeModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if err := m.check(); err != nil {
		addError(&resp.Diagnostics, "Invalid action", err)
	}
}

func (m *revokeModel) check() error {
	for _, filter := range []struct {
		name  string
		value types.String
	}{{"id", m.ID}, {"principal", m.Principal}, {"target", m.Target}} {
		if known(filter.value) && filter.value.ValueString() == "" {
			return jit.Invalid(filter.name, "leave it out to select by the others", "%s is empty", filter.name)
		}
	}
	switch all := !m.Principal.IsNull() || !m.Target.IsNull(); {
	case all && !m.ID.IsNull():
		return jit.Invalid("id", "keep id, or principal and target", "it is not clear which grants to revoke")
	case !all && m.ID.IsNull():
		return jit.Invalid("id", "write id = jit_grant.<name>.id, or principal, or target",
			"nothing says which grants to revoke")
	case !known(m.Reason):
		return nil
	}
	return jit.CheckReason(m.Reason.ValueString())
}

// Invoke revokes the grants. One that cannot be revoked stops no other.
func (a *revokeAction) Invoke(ctx context.Context, req action.InvokeRequest, resp *action.InvokeResponse) {
	var m revokeModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if !a.opened(&resp.Diagnostics) {
		return
	}
	err := m.check()
	var grants []jit.Grant
	if err == nil {
		grants, err = a.selected(ctx, m)
	}
	if err != nil {
		addError(&resp.Diagnostics, "Cannot revoke", err)
		return
	}
	if len(grants) == 0 {
		progress(resp, "No grant matches; nothing is left to revoke.")
	}
	all := make([]broker.Revocation, len(grants))
	for i, g := range grants {
		all[i] = broker.Revocation{Grant: g, Reason: m.Reason.ValueString(), TerminateSessions: m.TerminateSessions.ValueBool()}
	}
	var mu sync.Mutex
	var done int
	a.Broker.RevokeAll(ctx, all, func(i int, err error) {
		mu.Lock()
		defer mu.Unlock()
		done++
		g := grants[i]
		logOutcome(ctx, "revoke", g, err)
		switch {
		case errors.Is(err, jit.ErrRemains):
			addWarning(&resp.Diagnostics, "The access has ended, and a sweep cleans up", err)
		case err != nil:
			addError(&resp.Diagnostics, "Cannot revoke", fmt.Errorf("%s: %w", g.Summary(), err))
			return
		}
		progress(resp, "Revoked %d of %d: %s", done, len(grants), jit.Visible(g.Summary()))
	})
}

// selected returns the grants to revoke: the one of the id, over or not, or all open ones that match.
func (a *revokeAction) selected(ctx context.Context, m revokeModel) ([]jit.Grant, error) {
	if !m.ID.IsNull() {
		g, err := a.recorded(ctx, m.ID.ValueString())
		return []jit.Grant{g}, err
	}
	named, err := a.resolved(ctx, m.Principal.ValueString())
	if err != nil {
		return nil, err
	}
	f := jit.Filter{Owner: a.Broker.Owner, Target: m.Target.ValueString(), Open: true}
	var grants []jit.Grant
	for g, err := range a.Broker.Ledger.Grants(ctx, f) {
		if err != nil {
			return nil, err
		}
		if named(g) {
			grants = append(grants, g)
		}
	}
	return grants, a.checkSelected(ctx, m, len(grants))
}

// checkSelected refuses filters that select nothing and may be a mistake: a target that is neither configured nor on
// record, or a principal that no target can have.
func (a *revokeAction) checkSelected(ctx context.Context, m revokeModel, found int) error {
	if found > 0 {
		return nil
	}
	if err := a.checkTarget(ctx, m.Target.ValueString()); !m.Target.IsNull() && err != nil {
		return err
	}
	if m.Principal.IsNull() {
		return nil
	}
	var refused error
	for _, p := range a.Targets {
		var bad *jit.Error
		_, _, err := p.Check(jit.Binding{Principal: jit.OfFile(m.Principal.ValueString())})
		if !errors.As(err, &bad) || bad.Attribute != "principal" {
			return nil
		}
		refused = err
	}
	return refused
}

// checkTarget refuses a target that is neither configured nor on record.
func (a *revokeAction) checkTarget(ctx context.Context, name string) error {
	_, unknown := a.Broker.Target(name)
	if unknown == nil {
		return nil
	}
	next, stop := iter.Pull2(a.Broker.Ledger.Grants(ctx, jit.Filter{Target: name}))
	defer stop()
	if _, err, recorded := next(); recorded {
		return err
	}
	return unknown
}
