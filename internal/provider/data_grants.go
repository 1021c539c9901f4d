package provider

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// factsModel is what the ledger and the clock tell of one grant.
type factsModel struct {
	ID               types.String `tfsdk:"id"`
	State            types.String `tfsdk:"state"`
	Target           types.String `tfsdk:"target"`
	Principal        types.String `tfsdk:"principal"`
	Role             types.String `tfsdk:"role"`
	Scope            types.String `tfsdk:"scope"`
	Reason           types.String `tfsdk:"reason"`
	Renewal          types.Int64  `tfsdk:"renewal"`
	TTL              types.String `tfsdk:"ttl"`
	GrantedAt        types.String `tfsdk:"granted_at"`
	ExpiresAt        types.String `tfsdk:"expires_at"`
	RemainingSeconds types.Int64  `tfsdk:"remaining_seconds"`
	Policy           types.String `tfsdk:"policy"`
	Enforcement      types.String `tfsdk:"enforcement"`
	SessionTail      types.String `tfsdk:"session_tail"`
	RevokedAt        types.String `tfsdk:"revoked_at"`
	RevokedBy        types.String `tfsdk:"revoked_by"`
	RevokeReason     types.String `tfsdk:"revoke_reason"`
	EndedAt          types.String `tfsdk:"ended_at"`
}

// factAttributes describes factsModel.
func factAttributes() map[string]schema.Attribute {
	text := func(description string) schema.Attribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: description}
	}
	return map[string]schema.Attribute{
		"id":                text("The id of the grant."),
		"state":             text("What the grant is now: `pending`, `scheduled`, `active`, `expired`, `revoked` or `failed`."),
		"target":            text("The target."),
		"principal":         text("Who has the access, in the canonical form."),
		"role":              text("What access, in the canonical form."),
		"scope":             text("Where on the target, in the canonical form."),
		"reason":            text("Why."),
		"renewal":           schema.Int64Attribute{Computed: true, MarkdownDescription: "Which time this is for the same reason."},
		"ttl":               text("The length as it was written; null when an end was written instead."),
		"granted_at":        text("When the access begins or began."),
		"expires_at":        text("When the access ends or ended: earlier than the window's end when it was revoked."),
		"remaining_seconds": schema.Int64Attribute{Computed: true, MarkdownDescription: "How many seconds are left now; 0 when the grant is over."},
		"policy":            text("The policy that permitted it; null when none governed."),
		"enforcement":       text("Who ends the access: `native` or `sweeper`."),
		"session_tail":      text("The longest time that a session which is open at the end can go on."),
		"revoked_at":        text("When somebody ended it early; null when nobody did."),
		"revoked_by":        text("Who ended it early."),
		"revoke_reason":     text("Why it was ended early."),
		"ended_at":          text("When the target confirmed that nothing of it is left; null before."),
	}
}

// facts reads a record at now.
func facts(g jit.Grant, now time.Time) factsModel {
	var remaining int64
	if g.Live(now) {
		remaining = int64(g.End.Sub(now) / time.Second)
	}
	return factsModel{
		ID: types.StringValue(string(g.ID)), State: types.StringValue(string(g.State(now))),
		Target: types.StringValue(g.Target), Principal: types.StringValue(g.Principal),
		Role: types.StringValue(g.Role), Scope: types.StringValue(g.Scope),
		Reason: types.StringValue(g.Reason), Renewal: types.Int64Value(g.Renewal), TTL: optional(g.TTL),
		GrantedAt: types.StringValue(jit.FormatTime(g.Start)), ExpiresAt: types.StringValue(jit.FormatTime(g.ActualEnd())),
		RemainingSeconds: types.Int64Value(remaining),
		Policy:           optional(g.Policy), Enforcement: types.StringValue(string(g.Enforcement)),
		SessionTail: types.StringValue(jit.FormatTail(g.SessionTail)),
		RevokedAt:   optional(jit.FormatTime(g.RevokedAt)), RevokedBy: optional(g.RevokedBy), RevokeReason: optional(g.RevokeReason),
		EndedAt: optional(jit.FormatTime(g.EndedAt)),
	}
}

// grantsData is the data source jit_grants.
type grantsData struct{ *backend }

var _ datasource.DataSourceWithConfigure = (*grantsData)(nil)

// Metadata names the data source.
func (d *grantsData) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_grants"
}

// Configure takes over what the provider opened.
func (d *grantsData) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	d.backend = configured(req.ProviderData, &resp.Diagnostics)
}

// Schema describes the data source.
func (d *grantsData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	filter := func(description string) schema.Attribute {
		return schema.StringAttribute{Optional: true, MarkdownDescription: description}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "The recorded grants of this owner, as they are when the data source is read.",
		Attributes: map[string]schema.Attribute{
			"target":    filter("Only grants on this target."),
			"principal": filter("Only grants to this principal, in its canonical form."),
			"state":     filter("Only grants in this state: `pending`, `scheduled`, `active`, `expired`, `revoked` or `failed`."),
			"grants": schema.ListNestedAttribute{
				Computed: true, MarkdownDescription: "The grants, in the order of their end.",
				NestedObject: schema.NestedAttributeObject{Attributes: factAttributes()},
			},
		},
	}
}

type grantsModel struct {
	Target    types.String `tfsdk:"target"`
	Principal types.String `tfsdk:"principal"`
	State     types.String `tfsdk:"state"`
	Grants    []factsModel `tfsdk:"grants"`
}

// Read lists the grants.
func (d *grantsData) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m grantsModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || !d.opened(&resp.Diagnostics) {
		return
	}
	wanted := jit.State(m.State.ValueString())
	if !m.State.IsNull() && !slices.Contains(jit.States(), wanted) {
		addError(&resp.Diagnostics, "Invalid filter", jit.Invalid("state", "write one of pending, scheduled, active, expired, revoked and failed", "%q is not a state of a grant", wanted))
		return
	}
	now := d.Broker.Now()
	m.Grants = []factsModel{}
	filter := jit.Filter{Owner: d.Broker.Owner, Target: m.Target.ValueString(), Principal: m.Principal.ValueString()}
	for g, err := range d.Broker.Ledger.Grants(ctx, filter) {
		if err != nil {
			addError(&resp.Diagnostics, "Cannot list the grants", err)
			return
		}
		if m.State.IsNull() || g.State(now) == wanted {
			m.Grants = append(m.Grants, facts(g, now))
		}
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}
