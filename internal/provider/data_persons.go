package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// personsData is the data source jit_persons.
type personsData struct{ dataBase }

var _ datasource.DataSourceWithConfigure = (*personsData)(nil)

// Schema describes the data source.
func (d *personsData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	attributes := map[string]schema.Attribute{
		"name": schema.StringAttribute{Computed: true, MarkdownDescription: "The name."},
	}
	for _, s := range personSets {
		attributes[s.name] = schema.SetAttribute{Computed: true, ElementType: types.StringType,
			MarkdownDescription: s.description}
	}
	for _, l := range personLogins {
		attributes[l.name] = schema.StringAttribute{Computed: true, MarkdownDescription: l.description}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "The people in the ledger, who ask for access or approve it.",
		Attributes: map[string]schema.Attribute{
			"group": schema.StringAttribute{Optional: true,
				MarkdownDescription: "Only people of this group, such as `group:payments-leads`."},
			"persons": schema.ListNestedAttribute{
				Computed: true, MarkdownDescription: "The people, in the order of their names.",
				NestedObject: schema.NestedAttributeObject{Attributes: attributes},
			},
		},
	}
}

type personsModel struct {
	Group   types.String  `tfsdk:"group"`
	Persons []personModel `tfsdk:"persons"`
}

// Read lists the people.
func (d *personsData) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m personsModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if !d.opened(&resp.Diagnostics) {
		return
	}
	if !m.Group.IsNull() {
		if err := jit.CheckGroup("group", m.Group.ValueString()); err != nil {
			addError(&resp.Diagnostics, "Invalid filter", err)
			return
		}
	}
	all, err := d.Broker.Ledger.Persons(ctx)
	if err != nil {
		addError(&resp.Diagnostics, "Cannot list the people", err)
		return
	}
	m.Persons = []personModel{}
	for _, p := range all {
		if m.Group.IsNull() || p.In([]string{m.Group.ValueString()}) {
			m.Persons = append(m.Persons, recordedPersonModel(ctx, p, &resp.Diagnostics))
		}
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}
