package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// grantsData is the data source jit_grants.
type grantsData struct{ dataBase }

var _ datasource.DataSourceWithConfigure = (*grantsData)(nil)

// Schema describes the data source.
func (d *grantsData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	filter := func(description string) schema.Attribute {
		return schema.StringAttribute{Optional: true, MarkdownDescription: description}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "The recorded grants of this owner, as they are when the data source is read. Their " +
			"`state` changes with time: use it in checks, not in arguments of resources. An output of it changes a plan " +
			"once, when the grant ends.",
		Attributes: map[string]schema.Attribute{
			"target":    filter("Only grants on this target."),
			"principal": filter("Only grants to this principal, in its canonical form."),
			"state": filter("Only grants in this state: `requested`, `pending`, `scheduled`, `active`, `expired`, " +
				"`revoked` or `failed`."),
			"grants": schema.ListNestedAttribute{
				Computed: true, MarkdownDescription: "The grants, in the order of their end.",
				NestedObject: schema.NestedAttributeObject{Attributes: viewSchema()},
			},
		},
	}
}

type grantsModel struct {
	Target    types.String `tfsdk:"target"`
	Principal types.String `tfsdk:"principal"`
	State     types.String `tfsdk:"state"`
	Grants    types.List   `tfsdk:"grants"`
}

// Read lists the grants.
func (d *grantsData) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m grantsModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if !d.opened(&resp.Diagnostics) {
		return
	}
	wanted := jit.State(m.State.ValueString())
	if !m.State.IsNull() {
		if err := checkState(wanted); err != nil {
			addError(&resp.Diagnostics, "Invalid filter", err)
			return
		}
	}
	filter := jit.Filter{Owner: d.Broker.Owner, Target: m.Target.ValueString(), Principal: m.Principal.ValueString()}
	grants, err := d.list(ctx, filter, wanted)
	if err != nil {
		addError(&resp.Diagnostics, "Cannot list the grants", err)
		return
	}
	m.Grants = types.ListValueMust(viewType(), grants)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// list returns the grants of a filter that are in a state; an empty state is any.
func (d *grantsData) list(ctx context.Context, filter jit.Filter, state jit.State) ([]attr.Value, error) {
	now := d.Broker.Now()
	grants := []attr.Value{}
	for g, err := range d.Broker.Ledger.Grants(ctx, filter) {
		if err != nil {
			return nil, err
		}
		if state != "" && g.State(now) != state {
			continue
		}
		values, err := viewValues(d.view(ctx, g))
		if err != nil {
			return nil, err
		}
		grants = append(grants, types.ObjectValueMust(viewType().AttrTypes, values))
	}
	return grants, nil
}
