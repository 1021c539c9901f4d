package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// texts returns the attributes of the model that are texts, by their names.
func (m *grantModel) texts() map[string]*types.String {
	return map[string]*types.String{
		"id": &m.ID, "target": &m.Target, "principal": &m.Principal, "role": &m.Role, "scope": &m.Scope,
		"reason": &m.Reason, "renewal": &m.Renewal, "ttl": &m.TTL, "expires_at": &m.ExpiresAt,
		"starts_at": &m.StartsAt, "start_by": &m.StartBy, "policy": &m.Policy, "granted_at": &m.GrantedAt,
		"enforcement": &m.Enforcement, "session_tail": &m.SessionTail, "digest": &m.Digest,
	}
}

// get reads the model from a configuration, plan or state. It does what the framework's own Get does, without its
// reflection, which would be most of what the provider adds to a plan of many grants.
func (m *grantModel) get(ctx context.Context, raw tftypes.Value) (diags diag.Diagnostics) {
	if err := m.decode(ctx, raw); err != nil {
		diags.AddError("Cannot read the grant", "This is a bug of the provider: "+err.Error())
	}
	return diags
}

func (m *grantModel) decode(ctx context.Context, raw tftypes.Value) error {
	var attributes map[string]tftypes.Value
	if err := raw.As(&attributes); err != nil {
		return err
	}
	for name, into := range m.texts() {
		v, ok := attributes[name]
		if !ok {
			return fmt.Errorf("there is no attribute %s", name)
		}
		switch {
		case !v.IsKnown():
			*into = types.StringUnknown()
		case v.IsNull():
			*into = types.StringNull()
		default:
			var s string
			if err := v.As(&s); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			*into = types.StringValue(s)
		}
	}
	switch v := attributes["terminate_sessions"]; {
	case !v.IsKnown():
		m.TerminateSessions = types.BoolUnknown()
	case v.IsNull():
		m.TerminateSessions = types.BoolNull()
	default:
		var b bool
		if err := v.As(&b); err != nil {
			return fmt.Errorf("terminate_sessions: %w", err)
		}
		m.TerminateSessions = types.BoolValue(b)
	}
	m.Timeouts = noTimeouts
	if v := attributes["timeouts"]; !v.IsKnown() || !v.IsNull() {
		value, err := noTimeouts.Type(ctx).ValueFromTerraform(ctx, v)
		if err != nil {
			return fmt.Errorf("timeouts: %w", err)
		}
		limits, ok := value.(timeouts.Value)
		if !ok {
			return fmt.Errorf("timeouts is a %T", value)
		}
		m.Timeouts = limits
	}
	return nil
}

// set writes the texts of the model into a plan or state, in place: all else is configuration, which
// the provider never changes.
func (m *grantModel) set(raw *tftypes.Value) (diags diag.Diagnostics) {
	var attributes map[string]tftypes.Value
	if err := raw.As(&attributes); err != nil {
		diags.AddError("Cannot write the grant", "This is a bug of the provider: "+err.Error())
		return diags
	}
	for name, text := range m.texts() {
		switch {
		case text.IsUnknown():
			attributes[name] = tftypes.NewValue(tftypes.String, tftypes.UnknownValue)
		case text.IsNull():
			attributes[name] = tftypes.NewValue(tftypes.String, nil)
		default:
			attributes[name] = tftypes.NewValue(tftypes.String, text.ValueString())
		}
	}
	*raw = tftypes.NewValue(raw.Type(), attributes)
	return diags
}
