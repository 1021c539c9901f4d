package provider

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// policyModel is a jit_policy as configuration, plan and state hold it.
type policyModel struct {
	Name           types.String `tfsdk:"name"`
	Description    types.String `tfsdk:"description"`
	Effect         types.String `tfsdk:"effect"`
	Match          types.Object `tfsdk:"match"`
	MaxTTL         types.String `tfsdk:"max_ttl"`
	ReasonPattern  types.String `tfsdk:"reason_pattern"`
	Enforcement    types.String `tfsdk:"enforcement"`
	MaxSessionTail types.String `tfsdk:"max_session_tail"`
	Condition      types.String `tfsdk:"condition"`
}

// anyEnforcement is the enforcement of a policy that leaves it to the platform.
const anyEnforcement = "any"

// matchLists holds one row for each list of a policy's match.
var matchLists = []struct {
	name, description string
	of                func(*jit.Match) *[]string
}{
	{"targets", "Globs over the names of targets.", func(m *jit.Match) *[]string { return &m.Targets }},
	{"platforms", "Globs over the kinds of targets, such as `ssh`.", func(m *jit.Match) *[]string { return &m.Platforms }},
	{"owners", "Globs over the owners of grants, such as `payments`.", func(m *jit.Match) *[]string { return &m.Owners }},
	{"principals", "Globs over principals, by any of their names. A group that contains everybody is permitted by its literal name only.", func(m *jit.Match) *[]string { return &m.Principals }},
	{"roles", "Globs over roles, by any of their names. No wildcard reaches past ` on ` or ` if `: `X on A*` permits the resources, `X if *` any condition.", func(m *jit.Match) *[]string { return &m.Roles }},
	{"scopes", "Globs over scopes, by any of their names.", func(m *jit.Match) *[]string { return &m.Scopes }},
}

var globs = types.ListType{ElemType: types.StringType}

func matchTypes() map[string]attr.Type {
	all := map[string]attr.Type{}
	for _, l := range matchLists {
		all[l.name] = globs
	}
	return all
}

// known reports whether every value is known that grants are judged by.
func (m *policyModel) known(ctx context.Context) bool {
	for _, v := range []attr.Value{m.Name, m.Effect, m.MaxTTL, m.ReasonPattern, m.Enforcement, m.MaxSessionTail, m.Condition} {
		if v.IsUnknown() {
			return false
		}
	}
	return fullyKnown(ctx, m.Match)
}

func fullyKnown(ctx context.Context, v attr.Value) bool {
	value, err := v.ToTerraformValue(ctx)
	return err == nil && value.IsFullyKnown()
}

// foreseen returns the most that a policy can come to permit of which not all is known; p is the model as it was read.
func (m *policyModel) foreseen(ctx context.Context, p jit.Policy) jit.Policy {
	if m.Name.IsUnknown() {
		p.Name = "known-after-apply" // no grant can name it yet
	}
	if p.Effect == jit.Forbid {
		return jit.Policy{Name: p.Name, Effect: jit.Forbid, Condition: "false"}
	}
	for name, v := range m.Match.Attributes() {
		for _, l := range matchLists {
			if l.name == name && !fullyKnown(ctx, v) {
				*l.of(&p.Match) = nil
			}
		}
	}
	return p
}

// policy reads the model. Values that are not known are left out. Errors are *[jit.Error].
func (m *policyModel) policy() (jit.Policy, error) {
	p := jit.Policy{
		Name: m.Name.ValueString(), Description: m.Description.ValueString(), Effect: jit.Permit,
		ReasonPattern: m.ReasonPattern.ValueString(), Condition: m.Condition.ValueString(),
	}
	if known(m.Effect) {
		p.Effect = jit.Effect(m.Effect.ValueString())
	}
	for name, v := range m.Match.Attributes() {
		list, ok := v.(types.List)
		if !ok || !known(list) {
			continue
		}
		for _, l := range matchLists {
			if l.name != name {
				continue
			}
			for _, e := range list.Elements() {
				if s, ok := e.(types.String); ok && !s.IsUnknown() {
					*l.of(&p.Match) = append(*l.of(&p.Match), s.ValueString())
				}
			}
			if len(list.Elements()) == 0 {
				return p, jit.Invalid("match."+name, "leave the list out to match everything", "the list is empty and would match nothing")
			}
		}
	}
	switch e := m.Enforcement.ValueString(); {
	case !known(m.Enforcement):
	case e == anyEnforcement:
		p.SweeperAccepted = true
	case e == string(jit.Native):
		p.NativeOnly = true
	default:
		return p, jit.Invalid("enforcement", `write enforcement = "native", or leave it out`, "%q is not a demand; it is any or native", e)
	}
	for _, d := range []struct {
		attribute string
		value     types.String
		into      func(time.Duration)
	}{
		{"max_ttl", m.MaxTTL, func(d time.Duration) { p.MaxTTL = d }},
		{"max_session_tail", m.MaxSessionTail, func(d time.Duration) { p.MaxSessionTail = &d }},
	} {
		if !known(d.value) {
			continue
		}
		length, err := jit.ParseDuration(d.attribute, d.value.ValueString())
		if err != nil {
			return p, err
		}
		if d.attribute == "max_ttl" && length < jit.MinTTL {
			return p, jit.Invalid("max_ttl", `write for example max_ttl = "4h"; to allow nothing, write effect = "forbid"`,
				"%q is shorter than the shortest grant, %s", d.value.ValueString(), jit.FormatDuration(jit.MinTTL))
		}
		d.into(length)
	}
	return p, nil
}

// policyState returns the model of a recorded policy.
func policyState(ctx context.Context, p jit.Policy, diags *diag.Diagnostics) policyModel {
	m := policyModel{
		Name: types.StringValue(p.Name), Description: optional(p.Description), Effect: types.StringValue(string(p.Effect)),
		ReasonPattern: optional(p.ReasonPattern), Condition: optional(p.Condition),
	}
	switch {
	case p.NativeOnly:
		m.Enforcement = types.StringValue(string(jit.Native))
	case p.SweeperAccepted:
		m.Enforcement = types.StringValue(anyEnforcement)
	}
	if p.MaxTTL != 0 {
		m.MaxTTL = types.StringValue(jit.FormatDuration(p.MaxTTL))
	}
	if p.MaxSessionTail != nil {
		m.MaxSessionTail = types.StringValue(jit.FormatDuration(*p.MaxSessionTail))
	}
	lists := map[string]attr.Value{}
	for _, l := range matchLists {
		lists[l.name] = types.ListNull(types.StringType)
		if patterns := *l.of(&p.Match); len(patterns) > 0 {
			list, more := types.ListValueFrom(ctx, types.StringType, patterns)
			diags.Append(more...)
			lists[l.name] = list
		}
	}
	match, more := types.ObjectValue(matchTypes(), lists)
	diags.Append(more...)
	m.Match = match
	return m
}
