package provider

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform"
)

// targetsData is the data source jit_targets.
type targetsData struct{ dataBase }

var _ datasource.DataSourceWithConfigure = (*targetsData)(nil)

// Schema describes the data source.
func (d *targetsData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	filter := func(description string) schema.Attribute {
		return schema.StringAttribute{Optional: true, MarkdownDescription: description}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Lists the targets of the provider, so that a module needs no list of its own.",
		Attributes: map[string]schema.Attribute{
			"target":   filter("Only the target of this name."),
			"platform": filter("Only targets of this platform, such as `gcp`."),
			"targets": schema.ListNestedAttribute{
				Computed: true, MarkdownDescription: "The targets, in the order of their names.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"name": schema.StringAttribute{Computed: true,
						MarkdownDescription: "The name that grants use."},
					"platform": schema.StringAttribute{Computed: true, MarkdownDescription: "The platform."},
					"scopes": schema.ListAttribute{Computed: true, ElementType: types.StringType,
						MarkdownDescription: "The scopes that hold grants or may hold some, in canonical form: those " +
							"that `jit scan` reads. Null, with a warning, if the target does not answer; do not make " +
							"`for_each` from it."},
				}},
			},
		},
	}
}

type targetsModel struct {
	Target   types.String  `tfsdk:"target"`
	Platform types.String  `tfsdk:"platform"`
	Targets  []targetModel `tfsdk:"targets"`
}

type targetModel struct {
	Name     types.String `tfsdk:"name"`
	Platform types.String `tfsdk:"platform"`
	Scopes   types.List   `tfsdk:"scopes"`
}

// parallelTargets is the number of targets that are asked for their scopes at a time.
const parallelTargets = 8

// Read lists the targets, and asks them for their scopes.
func (d *targetsData) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m targetsModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if !d.openedOn(m.Target, &resp.Diagnostics) {
		return
	}
	if !m.Target.IsNull() {
		if _, err := d.Broker.Target(m.Target.ValueString()); err != nil {
			addError(&resp.Diagnostics, "Unknown target", err)
			return
		}
	}
	if kind := m.Platform.ValueString(); !m.Platform.IsNull() && !slices.Contains(platform.Kinds(), kind) {
		addError(&resp.Diagnostics, "Invalid platform", jit.Invalid("platform",
			"write one of "+strings.Join(platform.Kinds(), ", "), "%q is not a platform", kind))
		return
	}
	m.Targets = []targetModel{}
	for _, name := range slices.Sorted(maps.Keys(d.Broker.Targets)) {
		kind := d.Broker.Targets[name].Kind()
		if (m.Target.IsNull() || m.Target.ValueString() == name) &&
			(m.Platform.IsNull() || m.Platform.ValueString() == kind) {
			m.Targets = append(m.Targets, targetModel{types.StringValue(name), types.StringValue(kind),
				types.ListNull(types.StringType)})
		}
	}
	for i, err := range d.askScopes(ctx, m.Targets) {
		if err != nil {
			resp.Diagnostics.AddWarning("The scopes of a target are not known", fmt.Sprintf(
				"Target %q does not answer: %s", m.Targets[i].Name.ValueString(), sentence(err.Error())))
		}
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// askScopes sets the scopes of targets, and returns the error of each.
func (d *targetsData) askScopes(ctx context.Context, targets []targetModel) []error {
	errs := make([]error, len(targets))
	var reads errgroup.Group
	reads.SetLimit(parallelTargets)
	for i := range targets {
		reads.Go(func() error {
			scopes, err := d.Broker.Targets[targets[i].Name.ValueString()].Scopes(ctx)
			if errs[i] = err; err == nil {
				slices.Sort(scopes)
				list, _ := types.ListValueFrom(ctx, types.StringType, append([]string{}, scopes...)) // texts always are values
				targets[i].Scopes = list
			}
			return nil
		})
	}
	_ = reads.Wait() // the errors are in errs
	return errs
}
