package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// standingData is the data source jit_standing_access.
type standingData struct{ *backend }

var _ datasource.DataSourceWithConfigure = (*standingData)(nil)

// Metadata names the data source.
func (d *standingData) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_standing_access"
}

// Configure receives the backend of the provider.
func (d *standingData) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	d.backend = configured(req.ProviderData, &resp.Diagnostics)
}

// Schema describes the data source.
func (d *standingData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	text := func(description string) schema.Attribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: description}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Access that outlasts every grant, and access that only pretends to be a grant, on every scope of the targets that holds grants or may hold some, worst first. " +
			"Reading it calls the targets; what cannot be read is an error.",
		Attributes: map[string]schema.Attribute{
			"target": schema.StringAttribute{Optional: true, MarkdownDescription: "Only access on this target."},
			"scope":  schema.StringAttribute{Optional: true, MarkdownDescription: "Only access on this scope, in its canonical form. One that holds no grants and cannot hold any is an error."},
			"baseline": schema.StringAttribute{Optional: true,
				MarkdownDescription: "The path of a file of accepted findings, as `jit scan --write-baseline` writes it. What it accepts is left out, until its time has come."},
			"findings": schema.ListNestedAttribute{
				Computed: true, MarkdownDescription: "The findings, worst first.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"severity": text("`critical`: it gives the same as a live grant, whose end would end nothing, or it bears the marker of a grant that does not explain it; `warning`: by its name the role may do nearly everything; `info`: the rest."),
					"target":   text("The target."), "scope": text("Where on the target."), "principal": text("Who has the access."), "role": text("What access."),
					"detail": text("Where it was found."), "shadows": text("The id of the live grant that it makes pointless; null for none."),
				}},
			},
		},
	}
}

type standingModel struct {
	Target   types.String   `tfsdk:"target"`
	Scope    types.String   `tfsdk:"scope"`
	Baseline types.String   `tfsdk:"baseline"`
	Findings []findingModel `tfsdk:"findings"`
}

type findingModel struct {
	Severity  types.String `tfsdk:"severity"`
	Target    types.String `tfsdk:"target"`
	Scope     types.String `tfsdk:"scope"`
	Principal types.String `tfsdk:"principal"`
	Role      types.String `tfsdk:"role"`
	Detail    types.String `tfsdk:"detail"`
	Shadows   types.String `tfsdk:"shadows"`
}

// Read looks for standing access.
func (d *standingData) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m standingModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || !d.opened(&resp.Diagnostics) {
		return
	}
	if !m.Target.IsNull() {
		if _, err := d.Broker.Target(m.Target.ValueString()); err != nil {
			addError(&resp.Diagnostics, "Unknown target", err)
			return
		}
	}
	var baseline config.Baseline
	if !m.Baseline.IsNull() {
		var err error
		if baseline, err = config.LoadBaseline(m.Baseline.ValueString(), d.Broker.Now()); err != nil {
			addError(&resp.Diagnostics, "Cannot use the baseline", err)
			return
		}
	}
	seen := (&sweeper.Sweeper{Broker: d.Broker}).Observe(ctx, func(target string) bool { return m.Target.IsNull() || target == m.Target.ValueString() })
	if err := errors.Join(seen.Unread...); err != nil {
		addError(&resp.Diagnostics, "Cannot read all of the access", err)
		return
	}
	read := func(at jit.Place) bool { return at.Scope == m.Scope.ValueString() }
	if !m.Scope.IsNull() && !slices.ContainsFunc(slices.Collect(maps.Keys(seen.Snapshots)), read) {
		// Nothing was looked at, which is not the same as nothing was found.
		addError(&resp.Diagnostics, "Cannot read the scope", jit.Invalid("scope", "write it in its canonical form, as `jit list` shows it, or leave it out",
			"%q is not one of the scopes that hold grants or may hold some", m.Scope.ValueString()))
		return
	}
	for _, l := range seen.Targets {
		for _, u := range l.Unseen {
			resp.Diagnostics.AddWarning("Some access could not be read", fmt.Sprintf("%s of target %q: %s", u.Scope, u.Target, u.Text))
		}
	}
	m.Findings = []findingModel{}
	standing, _ := sweeper.FindStanding(seen.Snapshots, seen.Live, seen.Records)
	for _, s := range standing {
		a, accepted := baseline.Find(s.Target, s.Scope, s.Principal, s.Role)
		if accepted && d.Broker.Now().Before(a.End) || !m.Scope.IsNull() && s.Scope != m.Scope.ValueString() {
			continue
		}
		m.Findings = append(m.Findings, findingModel{
			Severity: types.StringValue(string(s.Severity)), Target: types.StringValue(s.Target), Scope: types.StringValue(s.Scope),
			Principal: types.StringValue(s.Principal), Role: types.StringValue(s.Role), Detail: types.StringValue(s.Detail), Shadows: optional(string(s.Shadows)),
		})
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}
