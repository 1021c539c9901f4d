package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// named is the common part of resources that the ledger keeps by their names: jit_policy and jit_person.
type named struct {
	resourceBase
	drop func(b *broker.Broker, ctx context.Context, name string, holder int64) error
}

// IdentitySchema describes the identity: the name.
func (r *named) IdentitySchema(
	_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse,
) {
	resp.IdentitySchema = identityschema.Schema{Attributes: map[string]identityschema.Attribute{
		"name": identityschema.StringAttribute{RequiredForImport: true, Description: "The " + r.name + "'s name."},
	}}
}

// Delete removes the record from the ledger.
func (r *named) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var name types.String
	resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("name"), &name)...)
	if !r.opened(&resp.Diagnostics) {
		return
	}
	holder := readPrivate[int64](ctx, req.Private, holderKey, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, stop := context.WithTimeout(ctx, defaultTimeout)
	defer stop()
	if err := r.drop(r.Broker, ctx, name.ValueString(), holder); err != nil {
		addError(&resp.Diagnostics, "Cannot remove the "+r.name, err)
	}
}

// unread warns that the ledger cannot be read. A read precedes a destroy too, and ending access must work without a
// ledger.
func unread(err error, diags *diag.Diagnostics) {
	addWarning(diags, "The ledger cannot be read", fmt.Errorf("the state is trusted until it can: %w", err))
}

// unknownName is the error for a name that the ledger does not have.
func (b *backend) unknownName(kind, name string) error {
	return &jit.Error{
		Attribute: "name", Problem: fmt.Sprintf("the ledger has no %s %q", kind, name), Err: jit.ErrUnknown,
		Hint: "check the name, and that the provider's ledger is the one that recorded the " + kind,
	}
}

// outcome is what a create or an update answers with.
type outcome struct {
	state    *tfsdk.State
	identity *tfsdk.ResourceIdentity
	diags    *diag.Diagnostics
}

// putNamed records the planned model M. record writes it to the ledger and returns its name.
func putNamed[M any](ctx context.Context, r *named, plan tfsdk.Plan, o outcome,
	record func(ctx context.Context, m *M) (types.String, error),
) {
	var m M
	o.diags.Append(plan.Get(ctx, &m)...)
	if !r.opened(o.diags) {
		return
	}
	timed, stop := context.WithTimeout(ctx, defaultTimeout)
	defer stop()
	name, err := record(timed, &m)
	if err != nil {
		addError(o.diags, "Cannot record the "+r.name, err)
		return
	}
	o.diags.Append(o.state.Set(ctx, &m)...)
	o.diags.Append(identify(ctx, o.identity, "name", name)...)
}

// importNamed imports a record by its name. existing returns its model.
func importNamed[M any](ctx context.Context, r *named, req resource.ImportStateRequest,
	resp *resource.ImportStateResponse, existing func(name string) (M, error),
) {
	name := imported(ctx, req, "name", &resp.Diagnostics)
	if !r.opened(&resp.Diagnostics) {
		return
	}
	m, err := existing(name)
	if err != nil {
		addError(&resp.Diagnostics, "Cannot import", err)
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	resp.Diagnostics.Append(identify(ctx, resp.Identity, "name", types.StringValue(name))...)
}
