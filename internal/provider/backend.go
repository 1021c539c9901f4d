package provider

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// backend is the configured provider, shared by all resources and data sources.
type backend struct {
	// Runtime is nil while a setting other than targets is unknown.
	*config.Runtime
	// unknown names the targets whose configuration is unknown. allUnknown: even their names are.
	unknown    map[string]bool
	allUnknown bool
	handovers  handovers
	openGrants openGrants
	ledger     atomic.Pointer[string]
	// warnedBehind and warnedOther: this run has warned so.
	warnedBehind, warnedOther atomic.Bool
	// untold: a change was planned before a state was met that remembers more than the ledger. refusedAhead: that has been
	// refused.
	untold, refusedAhead atomic.Bool
}

// configured reports whether the provider can work.
func (b *backend) configured() bool { return b != nil && b.Runtime != nil }

// opened reports whether the provider can work and nothing has failed so far. If it cannot work, opened adds the error.
func (b *backend) opened(diags *diag.Diagnostics) bool {
	if !diags.HasError() && !b.configured() {
		notYet(diags, "Apply the resources that the values come from first, with -target.")
	}
	return !diags.HasError()
}

// openedOn is [backend.opened] for what needs the configuration of one target.
func (b *backend) openedOn(target string, diags *diag.Diagnostics) bool {
	if b.opened(diags) && !b.ready(target) {
		notYet(diags, "Apply the resources that the values come from first, with -target.")
	}
	return !diags.HasError()
}

// notYet adds the error of a provider block that is not fully known. Nothing else may stand for what cannot be read:
// Terraform accepts no unknown values from a data source, and empty ones would say that there is nothing.
func notYet(diags *diag.Diagnostics, advice string) {
	diags.AddError("The provider is not configured yet",
		"The provider block depends on values that are known only after the apply. "+advice)
}

// ready reports whether the configuration of the target is known. A target that is not configured is ready, and the
// broker refuses it.
func (b *backend) ready(target string) bool {
	return b.configured() && !b.allUnknown && !b.unknown[target]
}

// ledgerID returns the id of the ledger; empty if it has none yet or cannot be read.
func (b *backend) ledgerID(ctx context.Context) string {
	if id := b.ledger.Load(); id != nil {
		return *id
	}
	id, err := b.Broker.Ledger.ID(ctx)
	if err == nil && id != "" {
		b.ledger.Store(&id)
	}
	return id
}

// view returns the grant as every surface shows it.
func (b *backend) view(ctx context.Context, g jit.Grant) jit.View {
	return g.View(b.Broker.Now(), b.ledgerID(ctx))
}

// recorded returns the grant of an id that a user wrote; an unknown id is an error.
func (b *backend) recorded(ctx context.Context, text string) (jit.Grant, error) {
	id, err := jit.ParseID(text)
	if err != nil {
		return jit.Grant{}, err
	}
	g, known, err := b.Broker.Lookup(ctx, id, jit.Grant{})
	if err == nil && !known {
		err = &jit.Error{
			Attribute: "id", Problem: fmt.Sprintf("the ledger has no grant %s", id), Err: jit.ErrUnknown,
			Hint: "copy the id from `jit list`, or check that the provider's ledger is the one that recorded the grant",
		}
	}
	return g, err
}

// receive returns the backend in the provider's data; nil before the provider is configured.
func receive(data any, diags *diag.Diagnostics) *backend {
	b, ok := data.(*backend)
	if !ok && data != nil {
		diags.AddError("Unexpected provider data", fmt.Sprintf("This is a bug in the provider: it got a %T.", data))
	}
	return b
}

// resourceBase is the common part of resources. name follows "jit_" in the name of the type.
type resourceBase struct {
	*backend
	name string
}

// Metadata names the resource.
func (r *resourceBase) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_" + r.name
}

// Configure receives the backend of the provider.
func (r *resourceBase) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	r.backend = receive(req.ProviderData, &resp.Diagnostics)
}

// dataBase is the common part of data sources.
type dataBase struct {
	*backend
	name string
}

// Metadata names the data source.
func (d *dataBase) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_" + d.name
}

// Configure receives the backend of the provider.
func (d *dataBase) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	d.backend = receive(req.ProviderData, &resp.Diagnostics)
}

// opened is [backend.opened]. A data source that waits for the resources behind the unknown values is read in the
// apply.
func (d *dataBase) opened(diags *diag.Diagnostics) bool {
	if !diags.HasError() && !d.configured() {
		notYet(diags, afterThem)
	}
	return !diags.HasError()
}

// openedOn is [dataBase.opened] for a data source about one target, or about all of them if target is null.
func (d *dataBase) openedOn(target types.String, diags *diag.Diagnostics) bool {
	if !d.opened(diags) {
		return false
	}
	all := !d.allUnknown && len(d.unknown) == 0
	if one := !target.IsNull() && d.ready(target.ValueString()); !all && !one {
		notYet(diags, afterThem)
	}
	return !diags.HasError()
}

const afterThem = "Write depends_on in this block, with the resources that the values come from. Terraform then reads " +
	"the data source during the apply, after them."

// identify sets the identity of the resource if this version of Terraform supports identities.
func identify(
	ctx context.Context, identity *tfsdk.ResourceIdentity, attribute string, value types.String,
) diag.Diagnostics {
	if identity == nil || value.IsNull() {
		return nil
	}
	return identity.SetAttribute(ctx, path.Root(attribute), value)
}

// imported returns the id or the identity in a request for an import.
func imported(
	ctx context.Context, req resource.ImportStateRequest, attribute string, diags *diag.Diagnostics,
) (value string) {
	if req.ID == "" && req.Identity != nil {
		diags.Append(req.Identity.GetAttribute(ctx, path.Root(attribute), &value)...)
		return value
	}
	return req.ID
}
