package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// standingData is the data source jit_standing_access.
type standingData struct{ dataBase }

var _ datasource.DataSourceWithConfigure = (*standingData)(nil)

// Schema describes the data source.
func (d *standingData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	text := func(description string) schema.Attribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: description}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Standing access: access without an end that no grant explains. The marker of a grant " +
			"does not explain it, because anyone can write one. The data source reads every scope of the targets " +
			"that holds grants or can hold some. If it cannot read a scope, it fails.",
		Attributes: map[string]schema.Attribute{
			"target": schema.StringAttribute{Optional: true, MarkdownDescription: "Only access on this target."},
			"scope": schema.StringAttribute{Optional: true,
				MarkdownDescription: "Only access on this scope, in its canonical form. A scope that holds no " +
					"grants and cannot hold any is an error."},
			"baseline": schema.StringAttribute{Optional: true,
				MarkdownDescription: "The path of a file of accepted findings, as `jit scan --write-baseline` " +
					"writes it. Accepted findings are left out until their acceptance ends."},
			"findings": schema.ListNestedAttribute{
				Computed: true, MarkdownDescription: "The findings, worst first.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"severity": text("`critical`: it gives the same as a live grant, so the end of that grant would end " +
						"nothing; or it has the marker of a grant, and neither the ledger nor an end on the target " +
						"explains it. `warning`: by its name, the role can do nearly everything. `info`: the rest."),
					"target": text("The target."), "scope": text("Where on the target."),
					"principal": text("Who has the access."), "role": text("What access."),
					"detail":  text("Where the access was found."),
					"shadows": text("The id of the live grant that gives the same; null if there is none."),
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
	if !d.openedOn(m.Target, &resp.Diagnostics) {
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
	seen := (&sweeper.Sweeper{Broker: d.Broker}).Observe(ctx, func(target string) bool {
		return m.Target.IsNull() || target == m.Target.ValueString()
	})
	if err := errors.Join(seen.Unread...); err != nil {
		addError(&resp.Diagnostics, "Cannot read all of the access", err)
		return
	}
	inScope := func(at jit.Place) bool { return m.inScope(at.Scope) }
	if !m.Scope.IsNull() && !slices.ContainsFunc(slices.Collect(maps.Keys(seen.Snapshots)), inScope) {
		// An empty result would look as if the scope had been read.
		addError(&resp.Diagnostics, "Cannot read the scope", jit.Invalid("scope",
			"write it in its canonical form, as `jit list` shows it, or leave it out",
			"%q is not one of the scopes that hold grants or may hold some", m.Scope.ValueString()))
		return
	}
	for _, l := range seen.Targets {
		for _, u := range l.Unseen {
			resp.Diagnostics.AddWarning("Some access could not be read",
				fmt.Sprintf("%s of target %q: %s", u.Scope, u.Target, u.Text))
		}
	}
	standing, _ := sweeper.FindStanding(seen.Snapshots, seen.Live, seen.Records)
	m.find(standing, baseline, d.Broker.Now())
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// inScope reports whether the data source is about a scope.
func (m *standingModel) inScope(scope string) bool {
	return m.Scope.IsNull() || scope == m.Scope.ValueString()
}

// find fills in the findings: standing access in the scope that the baseline does not accept at now.
func (m *standingModel) find(standing []sweeper.Standing, baseline config.Baseline, now time.Time) {
	m.Findings = []findingModel{}
	for _, s := range standing {
		a, accepted := baseline.Find(s.Target, s.Scope, s.Principal, s.Role)
		if accepted && now.Before(a.End) || !m.inScope(s.Scope) {
			continue
		}
		m.Findings = append(m.Findings, findingModel{
			Severity: types.StringValue(string(s.Severity)), Target: types.StringValue(s.Target),
			Scope: types.StringValue(s.Scope), Principal: types.StringValue(s.Principal),
			Role: types.StringValue(s.Role), Detail: types.StringValue(s.Detail), Shadows: optional(string(s.Shadows)),
		})
	}
}
