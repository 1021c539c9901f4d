package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// grantStatusData is the data source jit_grant_status: a grant at this moment, with the facts that move with time.
type grantStatusData struct{ dataBase }

var _ datasource.DataSourceWithConfigure = (*grantStatusData)(nil)

// Schema describes the data source.
func (d *grantStatusData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	attributes := viewSchema()
	attributes["id"] = schema.StringAttribute{Required: true,
		MarkdownDescription: "The id of the grant, such as `jit_grant.x.id`."}
	resp.Schema = schema.Schema{
		MarkdownDescription: "One recorded grant as it is when the data source is read. Its `state` changes with " +
			"time: use it in checks, not in arguments of resources. An output of it changes a plan once, when the grant ends.",
		Attributes: attributes,
	}
}

// Read looks the grant up.
func (d *grantStatusData) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var text types.String
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("id"), &text)...)
	if !d.opened(&resp.Diagnostics) {
		return
	}
	g, err := d.recorded(ctx, text.ValueString())
	var values map[string]attr.Value
	if err == nil {
		values, err = viewValues(d.view(ctx, g))
	}
	if err != nil {
		addError(&resp.Diagnostics, "Cannot read the grant", err)
		return
	}
	values["id"] = text
	for name, value := range values {
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root(name), value)...)
	}
}
