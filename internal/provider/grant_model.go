package provider

import (
	"context"
	"strconv"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// grantModel is a jit_grant as configuration, plan and state hold it. Attributes of the configuration keep their
// spelling; the provider fills in those that are computed.
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
		"policy": m.Policy, "terminate_sessions": m.TerminateSessions,
	}
}

// unknown names the attributes of the request whose value is not known yet.
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

// request reads a configuration as a request. Unknown attributes are left empty. If both ttl and expires_at are set, ttl
// counts: see [grantModel.checkEnds]. Errors are *[jit.Error] that name the attribute.
func (m *grantModel) request() (broker.Request, error) {
	r := broker.Request{
		Binding: jit.Binding{
			Target: m.Target.ValueString(), Principal: m.Principal.ValueString(),
			Role: m.Role.ValueString(), Scope: m.Scope.ValueString(),
		},
		Reason: m.Reason.ValueString(), Renewal: 1, Policy: m.Policy.ValueString(),
		Terms: jit.Terms{TerminateSessions: m.TerminateSessions.ValueBool()},
	}
	if text := m.Renewal.ValueString(); known(m.Renewal) {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || strconv.FormatInt(n, 10) != text {
			return r, jit.Invalid("renewal", "count the renewals from 1: renewal = 2 grants for the second time",
				"%q is not a whole number", text)
		}
		r.Renewal = n
	}
	if known(m.TTL) {
		var err error
		if r.TTL, err = jit.ParseTTL(m.TTL.ValueString()); err != nil {
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
	if !r.TTL.IsZero() {
		r.ExpiresAt = time.Time{}
	}
	return r, nil
}

// change reads a configuration as a change of the grant that the state holds. A starts_at that did not change is not
// requested again, for it may have passed before the grant began.
func (m *grantModel) change(state *grantState) (broker.Request, error) {
	r, err := m.request()
	r.AnyPolicy = state.dropsPolicy(*m)
	switch {
	case sameTime(m.StartsAt, state.StartsAt):
		r.StartsAt = time.Time{}
	case m.StartsAt.IsNull():
		r.StartNow = true
	}
	return r, err
}

// checkEnds refuses a ttl beside an expires_at, unless g is a recorded grant that ends there. Terraform generates both
// for an import.
func (m *grantModel) checkEnds(g jit.Grant, recorded bool) error {
	end := g.End
	switch {
	case m.TTL.IsNull() || !known(m.ExpiresAt):
		return nil
	case !recorded:
		return jit.Invalid("expires_at", "keep one of the two", "the grant has two ends, ttl and expires_at")
	case sameTime(m.ExpiresAt, types.StringValue(jit.FormatTime(end))):
		return nil
	}
	return jit.Invalid("expires_at", "remove expires_at to let ttl decide, or remove ttl to let expires_at decide",
		"with ttl = %q the grant ends at %s, and expires_at says %s", m.TTL.ValueString(), jit.FormatTime(end), m.ExpiresAt.ValueString())
}

// fill sets those computed attributes that are not known yet to the facts of a recorded grant.
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
}

// recorded returns the state of an imported grant. It holds the end twice, as ttl and as expires_at, so that a block
// with either plans empty.
func recorded(v jit.View) grantModel {
	m := grantModel{
		Target: types.StringValue(v.Target), Principal: types.StringValue(v.Principal),
		Role: types.StringValue(v.Role), Scope: types.StringValue(v.Scope),
		Reason: types.StringValue(v.Reason), Renewal: types.StringValue(strconv.FormatInt(v.Renewal, 10)),
		TTL: optional(v.TTL.String()), StartBy: optional(jit.FormatTime(v.StartBy)), Policy: optional(v.Policy),
		TerminateSessions: types.BoolValue(v.TerminateSessions),
		Timeouts:          noTimeouts,
	}
	m.StartsAt = optional(jit.FormatTime(v.AskedStart()))
	m.open(grantModel{Scope: m.Scope, TTL: m.TTL, Policy: m.Policy})
	m.fill(v)
	return m
}

// grantState is a jit_grant as a state holds it, with its private part.
type grantState struct {
	grantModel
	// holder is the number by which the resource holds its grant (see [jit.Grant]).
	holder int64
	// start is the beginning of the window.
	start time.Time
	// ended is when a destroy ended the access without the ledger; zero if none did.
	ended time.Time
	// successor is the id of the grant that the plan creates in the place of this one.
	successor string
	// policyDecided: an import filled in the policy that decided.
	policyDecided bool
}

// readState reads a state and its private part.
func readState(ctx context.Context, state tfsdk.State, from private, diags *diag.Diagnostics) (s grantState) {
	diags.Append(state.Get(ctx, &s.grantModel)...)
	s.holder = readPrivate[int64](ctx, from, holderKey, diags)
	s.start = readPrivate[time.Time](ctx, from, startKey, diags)
	if s.start.IsZero() {
		s.start, _ = jit.ParseTime("granted_at", s.GrantedAt.ValueString())
	}
	s.ended = readPrivate[time.Time](ctx, from, endedKey, diags)
	s.successor = readPrivate[string](ctx, from, successorKey, diags)
	s.policyDecided = readPrivate[bool](ctx, from, policyDecidedKey, diags)
	return s
}

// remembered is the record of the grant as far as the state tells it: what the broker works from when the ledger has
// lost it.
func (s *grantState) remembered(b *backend) jit.Grant {
	r, _ := s.request() // a state holds what was once accepted
	end, _ := jit.ParseTime("expires_at", s.ExpiresAt.ValueString())
	g := jit.Grant{
		ID: jit.ID(s.ID.ValueString()), Owner: b.Broker.Owner, Binding: r.Binding, Reason: jit.RecordedReason(r.Reason), Renewal: r.Renewal,
		TTL: r.TTL, Window: jit.Window{Start: s.start, End: end}, Terms: r.Terms, Policy: r.Policy,
		StartAsked: jit.StartAsked(r.StartsAt), Enforcement: jit.Enforcement(s.Enforcement.ValueString()),
		RequestedAt: s.start, GrantedAt: s.start,
	}
	if p, ok := b.Broker.Targets[r.Binding.Target]; ok {
		if binding, traits, err := p.Check(r.Binding); err == nil {
			g.Binding, g.SessionTail = binding, traits.SessionTail
		}
	}
	return g
}

// reasonLost reports whether the state was imported from a record that had lost its reason.
func (m *grantModel) reasonLost() bool { return jit.RecordedReason(m.Reason.ValueString()) == "" }

// over reports whether the state itself says that the window has passed. Time does not undo that, so neither the
// ledger nor a platform needs to be asked.
func (m *grantModel) over(now time.Time) bool {
	end, err := jit.ParseTime("expires_at", m.ExpiresAt.ValueString())
	return err == nil && !end.After(now)
}

// sync brings a state up to date with the record of a live grant whose length or window was changed elsewhere. A value
// that means the same keeps its spelling. It reports whether anything has changed.
func (s *grantState) sync(v jit.View) bool {
	ttl, end := s.TTL, types.StringValue(jit.FormatTime(v.End))
	if !ttl.IsNull() && !sameLength(ttl.ValueString(), v.TTL.String()) {
		ttl = optional(v.TTL.String())
	}
	if ttl.Equal(s.TTL) && sameTime(end, s.ExpiresAt) && s.start.Equal(v.Start) {
		return false
	}
	if !sameTime(end, s.ExpiresAt) {
		s.ExpiresAt = end
	}
	s.TTL, s.start, s.GrantedAt = ttl, v.Start, optional(jit.FormatTime(v.GrantedAt))
	s.Summary, s.RequestDigest = types.StringValue(v.Summary), optional(v.RequestDigest)
	return true
}

func sameLength(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := jit.ParseTTL(a)
	y, errY := jit.ParseTTL(b)
	return errX == nil && errY == nil && x.Length() == y.Length()
}

func sameTime(a, b types.String) bool {
	if a.Equal(b) {
		return true
	}
	x, errX := jit.ParseTime("", a.ValueString())
	y, errY := jit.ParseTime("", b.ValueString())
	return errX == nil && errY == nil && x.Equal(y)
}

// optional is null for an empty text.
func optional(s string) types.String {
	if s == "" {
		return types.StringNull()
	}
	return types.StringValue(s)
}

func known(v attr.Value) bool { return !v.IsNull() && !v.IsUnknown() }
