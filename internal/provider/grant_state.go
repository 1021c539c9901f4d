package provider

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The private state of a resource, by its keys.
const (
	// holderKey holds the number by which the resource holds its grant or policy (see [jit.Grant]).
	holderKey = "holder"
	// endedKey holds the time at which a destroy ended the access without the ledger, until the ledger has recorded it.
	endedKey = "ended_unrecorded"
	// startKey holds the beginning of the window, which no attribute has exactly.
	startKey = "start"
	// policyNamedKey is true if the block named the policy when it was last applied.
	policyNamedKey = "policy_named"
)

// private is the private state of a resource in requests and responses.
type private interface {
	GetKey(context.Context, string) ([]byte, diag.Diagnostics)
	SetKey(context.Context, string, []byte) diag.Diagnostics
}

// readPrivate returns the value of a key; the zero value if there is none.
func readPrivate[T any](ctx context.Context, from private, key string, diags *diag.Diagnostics) (value T) {
	text, problems := from.GetKey(ctx, key)
	diags.Append(problems...)
	if len(text) > 0 {
		if err := json.Unmarshal(text, &value); err != nil {
			diags.AddError("Cannot read the private state", err.Error())
		}
	}
	return value
}

// writePrivate writes the value of a key; the zero value removes the key.
func writePrivate[T comparable](ctx context.Context, into private, key string, value T) diag.Diagnostics {
	var zero T
	if value == zero {
		return into.SetKey(ctx, key, nil)
	}
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // texts, numbers and times in range always marshal
	}
	return into.SetKey(ctx, key, text)
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
	// successor is the id of the grant that the plan creates in place of this one.
	successor string
	// next is the request of that grant, if it needs approval.
	next broker.Request
	// policyNamed: the block named the policy when it was last applied; else an import has filled it in.
	policyNamed bool
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
	s.next = readPrivate[broker.Request](ctx, from, nextKey, diags)
	s.policyNamed = readPrivate[bool](ctx, from, policyNamedKey, diags)
	return s
}

// remembered returns the record of the grant as the state has it, for a ledger that has lost it.
func (s *grantState) remembered(b *backend) jit.Grant {
	r, _ := s.request() // the state was once valid
	end, _ := jit.ParseTime("expires_at", s.ExpiresAt.ValueString())
	g := jit.Grant{
		ID: jit.ID(s.ID.ValueString()), Owner: b.Broker.Owner, Binding: r.Binding, Reason: jit.RecordedReason(r.Reason),
		Renewal: r.Renewal,
		TTL:     r.TTL, Window: jit.Window{Start: s.start, End: end}, Terms: r.Terms, Policy: r.Policy,
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

// over reports whether the window in the state has passed. Time does not undo that, so no call is needed.
func (m *grantModel) over(now time.Time) bool {
	end, err := jit.ParseTime("expires_at", m.ExpiresAt.ValueString())
	return err == nil && !end.After(now)
}

// sync brings a state up to date with the record of a live grant whose length or window was changed elsewhere. A value
// that means the same keeps its spelling. It reports whether anything has changed.
func (s *grantState) sync(v jit.View) bool {
	sameTTL := s.TTL.IsNull() || sameLength(s.TTL.ValueString(), v.TTL.String())
	end := types.StringValue(jit.FormatTime(v.End))
	sameEnd := sameTime(end, s.ExpiresAt)
	if sameTTL && sameEnd && s.start.Equal(v.Start) {
		return false
	}
	if !sameTTL {
		s.TTL = optional(v.TTL.String())
	}
	if !sameEnd {
		s.ExpiresAt = end
	}
	s.measure()
	s.start, s.GrantedAt = v.Start, optional(jit.FormatTime(v.GrantedAt))
	s.Summary, s.RequestDigest = types.StringValue(v.Summary), optional(v.RequestDigest)
	return true
}

// change reads a configuration as a change of the grant that the state holds. An unchanged starts_at is not requested
// again, because it may have passed before the grant began.
func (m *grantModel) change(state *grantState) (broker.Request, error) {
	r, err := m.request()
	r.AnyPolicy, r.NewPolicy = state.dropsPolicy(*m), r.Policy != "" && !state.policyNamed
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
		"with ttl = %q the grant ends at %s, and expires_at says %s", m.TTL.ValueString(), jit.FormatTime(end),
		m.ExpiresAt.ValueString())
}

// dropsPolicy reports whether the configuration no longer names the policy that it named when it was last applied. The
// policy of an imported state may be the one that decided, so the configuration need not name it.
func (s *grantState) dropsPolicy(config grantModel) bool {
	return config.Policy.IsNull() && !s.Policy.IsNull() && s.policyNamed
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
