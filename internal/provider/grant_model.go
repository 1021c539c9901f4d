package provider

import (
	"strconv"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// grantModel is a jit_grant as configuration, plan and state hold it. What the user
// wrote stays as it was written; only scope, where it was left out, is filled in.
type grantModel struct {
	ID                types.String   `tfsdk:"id"`
	Target            types.String   `tfsdk:"target"`
	Principal         types.String   `tfsdk:"principal"`
	Role              types.String   `tfsdk:"role"`
	Scope             types.String   `tfsdk:"scope"`
	Reason            types.String   `tfsdk:"reason"`
	Renewal           types.String   `tfsdk:"renewal"`
	TTL               types.String   `tfsdk:"ttl"`
	ExpiresAt         types.String   `tfsdk:"expires_at"`
	StartsAt          types.String   `tfsdk:"starts_at"`
	StartBy           types.String   `tfsdk:"start_by"`
	Policy            types.String   `tfsdk:"policy"`
	TerminateSessions types.Bool     `tfsdk:"terminate_sessions"`
	GrantedAt         types.String   `tfsdk:"granted_at"`
	Enforcement       types.String   `tfsdk:"enforcement"`
	SessionTail       types.String   `tfsdk:"session_tail"`
	Digest            types.String   `tfsdk:"digest"`
	Timeouts          timeouts.Value `tfsdk:"timeouts"`
}

// noTimeouts is the value of timeouts that were not configured.
var noTimeouts = timeouts.Value{Object: types.ObjectNull(map[string]attr.Type{
	"create": types.StringType, "update": types.StringType, "delete": types.StringType,
})}

// asked are the attributes that make the request; identity are those among them that make the
// grant's id.
var (
	identity = []string{"target", "principal", "role", "scope", "reason", "renewal"}
	asked    = append([]string{"ttl", "expires_at", "starts_at", "start_by", "policy", "terminate_sessions"}, identity...)
)

// value returns the attribute of that name, of those in asked.
func (m *grantModel) value(name string) attr.Value {
	switch name {
	case "target":
		return m.Target
	case "principal":
		return m.Principal
	case "role":
		return m.Role
	case "scope":
		return m.Scope
	case "reason":
		return m.Reason
	case "renewal":
		return m.Renewal
	case "ttl":
		return m.TTL
	case "expires_at":
		return m.ExpiresAt
	case "starts_at":
		return m.StartsAt
	case "start_by":
		return m.StartBy
	case "policy":
		return m.Policy
	default:
		return m.TerminateSessions
	}
}

// unknown names the attributes in asked whose value is not known yet.
func (m *grantModel) unknown() map[string]bool {
	names := map[string]bool{}
	for _, name := range asked {
		if m.value(name).IsUnknown() {
			names[name] = true
		}
	}
	return names
}

// request reads a configuration as a request. Attributes that are not known are left
// empty. Errors are *[jit.Error] that name the attribute.
func (m *grantModel) request() (broker.Request, error) {
	r := broker.Request{
		Binding: jit.Binding{
			Target: m.Target.ValueString(), Principal: m.Principal.ValueString(),
			Role: m.Role.ValueString(), Scope: m.Scope.ValueString(),
		},
		Reason:            m.Reason.ValueString(),
		Renewal:           1,
		TTL:               m.TTL.ValueString(),
		Policy:            m.Policy.ValueString(),
		TerminateSessions: m.TerminateSessions.ValueBool(),
	}
	if known(m.Renewal) {
		n, err := strconv.ParseInt(m.Renewal.ValueString(), 10, 64)
		if err != nil || strconv.FormatInt(n, 10) != m.Renewal.ValueString() {
			return r, jit.Invalid("renewal", "count the renewals from 1: renewal = 2 grants for the second time", "%q is not a whole number", m.Renewal.ValueString())
		}
		r.Renewal = n
	}
	if known(m.TTL) {
		if _, err := jit.ParseTTL(r.TTL); err != nil {
			return r, err
		}
	}
	for _, t := range []struct {
		attribute string
		value     types.String
		into      *time.Time
	}{
		{"expires_at", m.ExpiresAt, &r.ExpiresAt}, {"starts_at", m.StartsAt, &r.StartsAt}, {"start_by", m.StartBy, &r.StartBy},
	} {
		if !known(t.value) {
			continue
		}
		at, err := jit.ParseTime(t.attribute, t.value.ValueString())
		if err != nil {
			return r, err
		}
		*t.into = at
	}
	return r, nil
}

// change reads a configuration as what is asked of the grant that the state holds: a beginning that is written as it was before
// is not asked for again, which may have been past when it was.
func (m *grantModel) change(state grantModel) (broker.Request, error) {
	r, err := m.request()
	switch {
	case sameTime(m.StartsAt, state.StartsAt):
		r.StartsAt = time.Time{}
	case m.StartsAt.IsNull():
		r.StartNow = true
	}
	return r, err
}

// remembered is the record of the grant as far as a state tells it: what the broker
// works from when the ledger has lost it.
func (m *grantModel) remembered(b *backend) jit.Grant {
	r, _ := m.request() // a state holds what was once accepted
	granted, _ := jit.ParseTime("granted_at", m.GrantedAt.ValueString())
	g := jit.Grant{
		ID: jit.ID(m.ID.ValueString()), Owner: b.Broker.Owner, Binding: r.Binding, Reason: r.Reason, Renewal: r.Renewal,
		TTL: r.TTL, Window: jit.Window{Start: granted, End: r.ExpiresAt}, StartBy: r.StartBy, Policy: r.Policy,
		TerminateSessions: r.TerminateSessions, Enforcement: jit.Enforcement(m.Enforcement.ValueString()),
		RequestedAt: granted, GrantedAt: granted,
	}
	if p, ok := b.Broker.Targets[r.Binding.Target]; ok {
		if binding, traits, err := p.Check(r.Binding); err == nil {
			g.Binding, g.SessionTail = binding, traits.SessionTail
		}
	}
	return g
}

// over reports whether the state itself says that the window has passed: time does not
// undo that, so neither the ledger nor a platform has to be asked.
func (m *grantModel) over(now time.Time) bool {
	end, err := jit.ParseTime("expires_at", m.ExpiresAt.ValueString())
	return err == nil && !end.After(now)
}

// fill writes the facts of a record into the values that the provider computes and that are not known yet.
func (m *grantModel) fill(g jit.Grant) {
	for _, f := range []struct {
		into *types.String
		fact string
	}{
		{&m.ID, string(g.ID)},
		{&m.Scope, g.Scope},
		{&m.GrantedAt, jit.FormatTime(g.Start)},
		{&m.ExpiresAt, jit.FormatTime(g.End)},
		{&m.Enforcement, string(g.Enforcement)},
		{&m.SessionTail, jit.FormatTail(g.SessionTail)},
		{&m.Digest, g.Digest()},
	} {
		if f.into.IsUnknown() {
			*f.into = types.StringValue(f.fact)
		}
	}
}

// sync brings a state up to date with the record of a live grant: an end, a beginning or a
// length that was changed elsewhere. What means the same stays as it is written.
func (m *grantModel) sync(g jit.Grant) {
	if !m.TTL.IsNull() && !sameLength(m.TTL.ValueString(), g.TTL) {
		m.TTL = optional(g.TTL)
	}
	syncTime(&m.GrantedAt, g.Start)
	syncTime(&m.ExpiresAt, g.End)
}

func sameLength(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := jit.ParseTTL(a)
	y, errY := jit.ParseTTL(b)
	return errX == nil && errY == nil && x == y
}

func syncTime(v *types.String, fact time.Time) {
	if t, err := jit.ParseTime("", v.ValueString()); err != nil || !t.Equal(fact) {
		*v = types.StringValue(jit.FormatTime(fact))
	}
}

// recorded returns the state of a grant that is imported: everything the ledger tells of it. Its end is expires_at alone, so that
// configuration generated from it has one end.
func recorded(g jit.Grant) grantModel {
	m := grantModel{
		ID: types.StringUnknown(), GrantedAt: types.StringUnknown(), ExpiresAt: types.StringUnknown(),
		Enforcement: types.StringUnknown(), SessionTail: types.StringUnknown(), Digest: types.StringUnknown(),
		Target: types.StringValue(g.Target), Principal: types.StringValue(g.Principal),
		Role: types.StringValue(g.Role), Scope: types.StringValue(g.Scope),
		Reason: types.StringValue(g.Reason), Renewal: types.StringValue(strconv.FormatInt(g.Renewal, 10)),
		StartBy: optional(jit.FormatTime(g.StartBy)), Policy: optional(g.Policy),
		TerminateSessions: types.BoolValue(g.TerminateSessions),
		Timeouts:          noTimeouts,
	}
	if g.Deferred() {
		m.StartsAt = types.StringValue(jit.FormatTime(g.Start))
	}
	m.fill(g)
	return m
}

// optional is the value of an optional attribute that is not set when it is empty.
func optional(s string) types.String {
	if s == "" {
		return types.StringNull()
	}
	return types.StringValue(s)
}

func known(v attr.Value) bool { return !v.IsNull() && !v.IsUnknown() }
