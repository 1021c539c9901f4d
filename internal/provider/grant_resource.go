package provider

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// grantResource is jit_grant: one principal's access to one thing, for one reason and one window.
type grantResource struct{ resourceBase }

var (
	_ resource.ResourceWithConfigure      = (*grantResource)(nil)
	_ resource.ResourceWithValidateConfig = (*grantResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*grantResource)(nil)
	_ resource.ResourceWithImportState    = (*grantResource)(nil)
	_ resource.ResourceWithIdentity       = (*grantResource)(nil)
)

// defaultTimeout bounds every operation for which the configuration sets no timeout.
const defaultTimeout = 5 * time.Minute

// IdentitySchema describes the identity of a grant: its id.
func (r *grantResource) IdentitySchema(
	_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse,
) {
	resp.IdentitySchema = identityschema.Schema{Attributes: map[string]identityschema.Attribute{
		"id": identityschema.StringAttribute{
			RequiredForImport: true, Description: "The grant's id, as `jit list` shows it.",
		},
	}}
}

// ValidateConfig refuses configurations that are wrong at any time. It runs with every plan, also long after the grant
// has ended.
func (r *grantResource) ValidateConfig(
	ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse,
) {
	var m grantModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	m.checkForm(&resp.Diagnostics)
	m.checkTimeouts(&resp.Diagnostics)
}

// checkTimeouts refuses timeouts that are not positive. The framework refuses those that are not durations.
func (m *grantModel) checkTimeouts(diags *diag.Diagnostics) {
	for name, value := range m.Timeouts.Attributes() {
		text, ok := value.(types.String)
		if d, err := time.ParseDuration(text.ValueString()); ok && err == nil && d <= 0 {
			// Terraform shows the line of a whole attribute only.
			diags.AddAttributeError(path.Root("timeouts"), "Invalid timeouts", fmt.Sprintf(
				"timeouts.%s: %q is not a positive duration.\n\nWrite for example %s = \"10m\", or leave it out for "+
					"%s.",
				name, text.ValueString(), name, jit.FormatDuration(defaultTimeout)))
		}
	}
}

// ImportState imports a recorded grant, live or over, by its id.
func (r *grantResource) ImportState(
	ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse,
) {
	id := imported(ctx, req, "id", &resp.Diagnostics)
	if !r.opened(&resp.Diagnostics) {
		return
	}
	g, err := r.recorded(ctx, id)
	if err == nil && g.Failed() {
		err = jit.Invalid("id", "leave out the import: the block grants when it is applied",
			"the attempt to grant %s gave nothing: %s", g.ID, g.Failure)
	}
	if err != nil {
		addError(&resp.Diagnostics, "Cannot import", err)
		return
	}
	names, err := r.Broker.NamesPolicy(ctx, g.ID)
	if err != nil {
		addError(&resp.Diagnostics, "Cannot import", err)
		return
	}
	m := recordedModel(r.view(ctx, g))
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	resp.Diagnostics.Append(writePrivate(ctx, resp.Private, policyNamedKey, names)...)
	resp.Diagnostics.Append(identify(ctx, resp.Identity, "id", m.ID)...)
	r.recall(ctx, resp.Private, &resp.Diagnostics)
	resp.Diagnostics.Append(r.remember(ctx, resp.Private, g)...)
}

// remember records in the private state the facts of a grant that no attribute holds, and the head of the ledger.
func (b *backend) remember(ctx context.Context, into private, g jit.Grant) diag.Diagnostics {
	diags := append(writePrivate(ctx, into, holderKey, g.Holder), writePrivate(ctx, into, startKey, g.Start)...)
	return append(diags, b.rememberHead(ctx, into)...)
}
