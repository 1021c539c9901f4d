package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// grantStatusData is the data source jit_grant_status: what a grant is at this moment,
// which the resource never tells.
type grantStatusData struct{ *backend }

var _ datasource.DataSourceWithConfigure = (*grantStatusData)(nil)

// Metadata names the data source.
func (d *grantStatusData) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_grant_status"
}

// Configure receives the backend of the provider.
func (d *grantStatusData) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	d.backend = configured(req.ProviderData, &resp.Diagnostics)
}

// Schema describes the data source.
func (d *grantStatusData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	attributes := viewSchema()
	attributes["id"] = schema.StringAttribute{Required: true, MarkdownDescription: "The id of the grant, such as `jit_grant.x.id`."}
	resp.Schema = schema.Schema{
		MarkdownDescription: "One recorded grant as it is when the data source is read. Its state and its remaining time move with time: " +
			"use them in outputs and checks rather than in arguments of resources.",
		Attributes: attributes,
	}
}

// Read looks the grant up.
func (d *grantStatusData) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var text types.String
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("id"), &text)...)
	if resp.Diagnostics.HasError() || !d.opened(&resp.Diagnostics) {
		return
	}
	id, err := jit.ParseID(text.ValueString())
	if err != nil {
		addError(&resp.Diagnostics, "Cannot read the grant", err)
		return
	}
	g, known, err := d.Broker.Lookup(ctx, id, jit.Grant{})
	if err == nil && !known {
		err = unknownGrant(id)
	}
	if err != nil {
		addError(&resp.Diagnostics, "Cannot read the grant", err)
		return
	}
	values, err := viewValues(d.view(ctx, g))
	if err != nil {
		addError(&resp.Diagnostics, "Cannot read the grant", err)
		return
	}
	values["id"] = text
	for name, value := range values {
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root(name), value)...)
	}
}

func unknownGrant(id jit.ID) error {
	return &jit.Error{Attribute: "id", Problem: fmt.Sprintf("the ledger has no grant %s", id),
		Hint: "copy the id from `jit list`, or check that the provider's ledger is the one that the grant was recorded in", Err: jit.ErrUnknown}
}
