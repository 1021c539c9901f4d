package provider

import (
	"context"
	"math/big"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/numberdefault"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Schema describes jit_grant. Nothing in it moves with time.
func (r *grantResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	computed := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: description}
	}
	required := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Required: true, MarkdownDescription: description}
	}
	optional := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, MarkdownDescription: description}
	}
	both := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, Computed: true, MarkdownDescription: description}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Temporary access: who (`principal`) may do what (`role`) where (`target`, `scope`), " +
			"why and for how long. Its window, from the beginning to the end, is fixed with the apply. After the " +
			"end the resource stays as it is and plans stay empty. Only a new `renewal` or `reason` grants again; " +
			"replacing, importing or re-creating the resource does not. Destroying it ends the access now.",
		Attributes: map[string]schema.Attribute{
			"id": computed("The id of the grant, made from owner, target, principal, role, scope, reason and " +
				"renewal. It is known at plan and used once."),
			"target": required("The name of one of the `targets` in the provider block. A change replaces the grant."),
			"principal": required("Who gets the access, in the form of the platform: `user:alice@example.com`, a " +
				"PostgreSQL role, an SSH public key. A change replaces the grant."),
			"role": required("What access, in the form of the platform: `login`, `payments_read`, " +
				"`ClusterRole/view`. A change replaces the grant."),
			"scope": both("Where on the target: `namespaces/payments`, the name of an account. Optional if the " +
				"target has only one scope. A change replaces the grant."),
			"reason": required("Why, on one line, for the reviewer and the record. A change replaces the grant."),
			"renewal": schema.NumberAttribute{ // of an Int64Attribute, 1.5 is an error that asks for a report
				Optional: true, Computed: true, Default: numberdefault.StaticBigFloat(big.NewFloat(1)),
				MarkdownDescription: "How many times this has been granted for the same reason, counted from 1. " +
					"To grant again after the end, raise it: `renewal = 2`. Default: 1.",
			},
			"ttl": both("How long the access lasts from when it begins: `90m`, `8h`, `2d`, `1d12h`; at least `1m`. " +
				"Set either `ttl` or `expires_at`. If you change `ttl`, the end of a live grant moves, counted from the " +
				"same beginning. Only the configuration that Terraform generates for an import has both."),
			"ttl_seconds": schema.Int64Attribute{Computed: true, MarkdownDescription: "The length in seconds: that of " +
				"`ttl`, else the time from `starts_at` to `expires_at`. It is known at plan if these are, so a rule " +
				"over plans can bound it. Null with `expires_at` alone: the length is then known only after the apply."},
			"expires_at": both("The end of the grant, in RFC 3339, such as `2026-11-23T18:00:00Z`. Set it instead of " +
				"`ttl`. If you set `ttl`, you can read the end here after the apply."),
			"starts_at": optional("When the access begins, in RFC 3339. Default: with the apply. You can change it " +
				"until the access has begun. If you remove it before that, the access begins with the next apply."),
			"start_by": optional("The latest time at which the grant may begin, in RFC 3339. If you apply an old " +
				"plan after that time, it grants nothing."),
			"policy": both("The name of the `jit_policy` that must permit the grant. Default: any policy that " +
				"matches may permit it. If you remove this attribute, every policy judges the live grant again."),
			"requester": optional("Who asks: the name of a `jit_person`. The requester never counts as an approver " +
				"of the grant. A change is in place."),
			"break_glass": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(false),
				MarkdownDescription: "Whether the grant begins without the approval that its policy asks for. The policy " +
					"must permit that with its own `break_glass`. A notice names the people who were skipped, and one " +
					"of them must sign the grant off. A change replaces the grant and needs another `renewal`. " +
					"Default: `false`.",
			},
			"terminate_sessions": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(false),
				MarkdownDescription: "Whether revoking the access also ends open sessions, on targets that can end " +
					"them. Default: `false`.",
			},
			"summary": computed("The request in one line: who, what, where, for how long and why."),
			"request_digest": computed("The SHA-256 of the request, to which approvals refer. It changes with every value " +
				"of the request. In the first plan with a new ledger it is not known yet."),
			"granted_at": computed("When the target confirmed the access; null if the access began after the last " +
				"apply."),
			"enforcement": computed("Who ends the access: `native`, the platform itself, or `sweeper`, a `jit sweep` " +
				"that you run as a daemon or on a schedule."),
			"session_tail": computed("How long a session can continue at most if it is open at the end: `0s`, `12h`, " +
				"`unlimited`."),
			"drift": computed("How the access on the target differs from a live grant; null if it does not. The next " +
				"apply repairs it."),
			"timeouts": timeoutsAttribute(ctx),
		},
	}
}

func timeoutsAttribute(ctx context.Context) schema.Attribute {
	attribute := timeouts.Attributes(ctx, timeouts.Opts{
		Create: true, Update: true, Delete: true,
		CreateDescription: "How long granting may take, such as `10m`. Default: `5m`.",
		UpdateDescription: "How long a change may take, such as `10m`. Default: `5m`.",
		DeleteDescription: "How long revoking may take, such as `10m`. Default: `5m`.",
	})
	if nested, ok := attribute.(schema.SingleNestedAttribute); ok {
		nested.MarkdownDescription = "How long the target and the ledger may take for each operation."
		return nested
	}
	return attribute
}

// grantModel is a jit_grant as configuration, plan and state hold it. Attributes of the configuration keep their
// spelling; the provider fills in those that are computed.
type grantModel struct {
	ID                types.String   `tfsdk:"id"`
	Target            types.String   `tfsdk:"target"`
	Principal         types.String   `tfsdk:"principal"`
	Role              types.String   `tfsdk:"role"`
	Scope             types.String   `tfsdk:"scope"`
	Reason            types.String   `tfsdk:"reason"`
	Renewal           types.Number   `tfsdk:"renewal"`
	TTL               types.String   `tfsdk:"ttl"`
	TTLSeconds        types.Int64    `tfsdk:"ttl_seconds"`
	ExpiresAt         types.String   `tfsdk:"expires_at"`
	StartsAt          types.String   `tfsdk:"starts_at"`
	StartBy           types.String   `tfsdk:"start_by"`
	Policy            types.String   `tfsdk:"policy"`
	Requester         types.String   `tfsdk:"requester"`
	BreakGlass        types.Bool     `tfsdk:"break_glass"`
	TerminateSessions types.Bool     `tfsdk:"terminate_sessions"`
	Summary           types.String   `tfsdk:"summary"`
	RequestDigest     types.String   `tfsdk:"request_digest"`
	GrantedAt         types.String   `tfsdk:"granted_at"`
	Enforcement       types.String   `tfsdk:"enforcement"`
	SessionTail       types.String   `tfsdk:"session_tail"`
	Drift             types.String   `tfsdk:"drift"`
	Timeouts          timeouts.Value `tfsdk:"timeouts"`
}

// noTimeouts is the value of timeouts that were not configured.
var noTimeouts = timeouts.Value{Object: types.ObjectNull(map[string]attr.Type{
	"create": types.StringType, "update": types.StringType, "delete": types.StringType,
})}

// identity are the attributes that make the grant's id.
var identity = []string{"target", "principal", "role", "scope", "reason", "renewal"}

// asked returns the attributes that make the request, by name.
func (m *grantModel) asked() map[string]attr.Value {
	return map[string]attr.Value{
		"target": m.Target, "principal": m.Principal, "role": m.Role, "scope": m.Scope, "reason": m.Reason,
		"renewal": m.Renewal, "ttl": m.TTL, "expires_at": m.ExpiresAt, "starts_at": m.StartsAt, "start_by": m.StartBy,
		"policy": m.Policy, "terminate_sessions": m.TerminateSessions, "requester": m.Requester,
		"break_glass": m.BreakGlass,
	}
}

// unknown names the attributes of the request that are unknown.
func (m *grantModel) unknown() map[string]bool {
	names := map[string]bool{}
	for name, value := range m.asked() {
		if value.IsUnknown() {
			names[name] = true
		}
	}
	return names
}

// missing names the values that must be known before anything can be judged.
func (m *grantModel) missing() map[string]bool {
	names := m.unknown()
	if m.Scope.IsNull() {
		delete(names, "scope")
	}
	return names
}

// request reads a configuration as a request. Unknown attributes stay empty. If both ttl and expires_at are set, ttl
// counts: see [grantModel.checkEnds]. Errors are *[jit.Error] that name the attribute.
func (m *grantModel) request() (r broker.Request, err error) {
	r = broker.Request{
		Binding: jit.Binding{
			Target: m.Target.ValueString(), Principal: jit.OfFile(m.Principal.ValueString()),
			Role: m.Role.ValueString(), Scope: m.Scope.ValueString(),
		},
		Reason: m.Reason.ValueString(), Policy: m.Policy.ValueString(),
		Terms: jit.Terms{
			TerminateSessions: m.TerminateSessions.ValueBool(), Requester: m.Requester.ValueString(),
			BreakGlass: m.BreakGlass.ValueBool(),
		},
	}
	if known(m.Requester) {
		if err = jit.CheckRequester(r.Requester); err != nil {
			return r, err
		}
	}
	if r.Renewal, err = m.renewal(); err != nil {
		return r, err
	}
	if known(m.TTL) {
		if r.TTL, err = jit.ParseTTL(m.TTL.ValueString()); err != nil {
			return r, err
		}
	}
	for _, t := range []struct {
		attribute string
		value     types.String
		into      *time.Time
	}{
		{"expires_at", m.ExpiresAt, &r.ExpiresAt}, {"starts_at", m.StartsAt, &r.StartsAt},
		{"start_by", m.StartBy, &r.StartBy},
	} {
		if known(t.value) {
			if *t.into, err = jit.ParseTime(t.attribute, t.value.ValueString()); err != nil {
				return r, err
			}
		}
	}
	if !r.TTL.IsZero() {
		r.ExpiresAt = time.Time{}
	}
	return r, nil
}

// renewal returns the number of the renewal; 1 if it is unknown or not set.
func (m *grantModel) renewal() (int64, error) {
	if !known(m.Renewal) {
		return 1, nil
	}
	number := m.Renewal.ValueBigFloat()
	n, accuracy := number.Int64()
	if accuracy != big.Exact {
		return 1, jit.Invalid("renewal", "count the renewals from 1: renewal = 2 grants for the second time",
			"%s is not a whole number", number.Text('g', -1))
	}
	return n, nil
}

// measure sets ttl_seconds from the attributes that the configuration can set: so neither time nor a read changes it.
func (m *grantModel) measure() {
	start, errStart := jit.ParseTime("starts_at", m.StartsAt.ValueString())
	end, errEnd := jit.ParseTime("expires_at", m.ExpiresAt.ValueString())
	ttl, errTTL := jit.ParseTTL(m.TTL.ValueString())
	switch between := !m.StartsAt.IsNull() && !m.ExpiresAt.IsNull(); {
	case m.TTL.IsUnknown(), m.TTL.IsNull() && between && (m.StartsAt.IsUnknown() || m.ExpiresAt.IsUnknown()):
		m.TTLSeconds = types.Int64Unknown()
	case !m.TTL.IsNull() && errTTL == nil:
		m.TTLSeconds = types.Int64Value(int64(ttl.Length() / time.Second))
	case m.TTL.IsNull() && between && errStart == nil && errEnd == nil:
		m.TTLSeconds = types.Int64Value(int64(end.Sub(start) / time.Second))
	default:
		m.TTLSeconds = types.Int64Null()
	}
}

// measuresAnew reports whether ttl_seconds may differ from that of the state. States of older versions have none, which
// is no change.
func (m *grantModel) measuresAnew(state *grantModel) bool {
	return !m.TTL.Equal(state.TTL) || !m.StartsAt.Equal(state.StartsAt) ||
		m.TTL.IsNull() && !m.ExpiresAt.Equal(state.ExpiresAt)
}

// recordedModel returns the state of an imported grant. It holds the end twice, as ttl and as expires_at, so that a
// block with either plans empty.
func recordedModel(v jit.View) grantModel {
	m := grantModel{
		Target: types.StringValue(v.Target), Principal: types.StringValue(v.Principal),
		Role: types.StringValue(v.Role), Scope: types.StringValue(v.Scope),
		Reason: types.StringValue(v.Reason), Renewal: types.NumberValue(new(big.Float).SetInt64(v.Renewal)),
		TTL: optional(v.TTL.String()), StartBy: optional(jit.FormatTime(v.StartBy)), Policy: optional(v.Policy),
		TerminateSessions: types.BoolValue(v.TerminateSessions),
		Requester:         optional(v.Requester),
		BreakGlass:        types.BoolValue(v.BreakGlass),
		Timeouts:          noTimeouts,
	}
	m.StartsAt = optional(jit.FormatTime(v.AskedStart()))
	m.open(grantModel{Scope: m.Scope, TTL: m.TTL, Policy: m.Policy})
	m.fill(v)
	m.measure()
	return m
}

// fill sets the computed attributes that are unknown to the facts of a recorded grant.
func (m *grantModel) fill(v jit.View) {
	for _, f := range []struct {
		into *types.String
		fact string
	}{
		{&m.ID, string(v.ID)},
		{&m.Scope, v.Scope},
		{&m.TTL, v.TTL.String()},
		{&m.ExpiresAt, jit.FormatTime(v.End)},
		{&m.Summary, v.Summary},
		{&m.RequestDigest, v.RequestDigest},
		{&m.GrantedAt, jit.FormatTime(v.GrantedAt)},
		{&m.Enforcement, string(v.Enforcement)},
		{&m.SessionTail, v.SessionTail},
		{&m.Drift, ""},
	} {
		if f.into.IsUnknown() {
			*f.into = optional(f.fact)
		}
	}
	if m.TTLSeconds.IsUnknown() {
		m.measure()
	}
}

// optional is null for an empty text.
func optional(s string) types.String {
	if s == "" {
		return types.StringNull()
	}
	return types.StringValue(s)
}

func known(v attr.Value) bool { return !v.IsNull() && !v.IsUnknown() }
