package provider

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/policy"
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
	Approval       types.List   `tfsdk:"approval"`
	BreakGlass     types.Object `tfsdk:"break_glass"`
}

// anyEnforcement is the enforcement of a policy that leaves it to the platform.
const anyEnforcement = "any"

// matchLists describe the lists of a policy's match.
var matchLists = []struct{ name, description string }{
	{"targets", "Globs over the names of targets."},
	{"platforms", "Globs over the kinds of targets, such as `ssh`."},
	{"owners", "Globs over the owners of grants, such as `payments`."},
	{"principals", "Globs over principals, by any of their names. A group that contains everybody is permitted by " +
		"its literal name only."},
	{"roles", "Globs over roles, by any of their names. No wildcard matches across ` on ` or ` if `: `X on A*` " +
		"permits the resources, `X if *` any condition."},
	{"scopes", "Globs over scopes, by any of their names."},
}

var globs = types.ListType{ElemType: types.StringType}

func matchTypes() map[string]attr.Type {
	all := map[string]attr.Type{}
	for _, l := range matchLists {
		all[l.name] = globs
	}
	return all
}

// known reports whether every value that grants are judged by is known.
func (m *policyModel) known(ctx context.Context) bool {
	judging := []attr.Value{
		m.Name, m.Effect, m.Match, m.MaxTTL, m.ReasonPattern, m.Enforcement, m.MaxSessionTail, m.Condition,
		m.Approval, m.BreakGlass,
	}
	return !slices.ContainsFunc(judging, func(v attr.Value) bool { return !fullyKnown(ctx, v) })
}

func fullyKnown(ctx context.Context, v attr.Value) bool {
	value, err := v.ToTerraformValue(ctx)
	return err == nil && value.IsFullyKnown()
}

// mostPermissive returns the most permissive reading of a policy with unknown values: unknown limits and lists are
// dropped. p is the model as it was read.
func (m *policyModel) mostPermissive(ctx context.Context, p jit.Policy) jit.Policy {
	if m.Name.IsUnknown() {
		p.Name = "known-after-apply" // no grant can name it yet
	}
	if p.Effect == jit.Forbid {
		return jit.Policy{Name: p.Name, Effect: jit.Forbid, Condition: "false"}
	}
	for name, v := range m.Match.Attributes() {
		if !fullyKnown(ctx, v) {
			*policy.Globs(&p.Match, name) = nil
		}
	}
	return p
}

// policy reads the model. Unknown values are left out. Errors are *[jit.Error].
func (m *policyModel) policy(ctx context.Context) (p jit.Policy, err error) {
	p = jit.Policy{
		Name: m.Name.ValueString(), Description: m.Description.ValueString(), Effect: jit.Permit,
		ReasonPattern: m.ReasonPattern.ValueString(), Condition: m.Condition.ValueString(),
	}
	if known(m.Effect) {
		p.Effect = jit.Effect(m.Effect.ValueString())
	}
	for name, v := range m.Match.Attributes() {
		if *policy.Globs(&p.Match, name), err = readGlobs(name, v); err != nil {
			return p, err
		}
	}
	if p.Approval, p.BreakGlass, err = m.approval(ctx); err != nil {
		return p, err
	}
	if p.NativeOnly, p.SweeperAccepted, err = m.enforcement(); err != nil {
		return p, err
	}
	if known(m.MaxTTL) {
		if p.MaxTTL, err = jit.ParseDuration("max_ttl", m.MaxTTL.ValueString()); err != nil {
			return p, err
		}
		err = policy.CheckMaxTTL(p.MaxTTL)
	}
	if known(m.MaxSessionTail) && err == nil {
		var tail time.Duration
		tail, err = jit.ParseDuration("max_session_tail", m.MaxSessionTail.ValueString())
		p.MaxSessionTail = &tail
	}
	return p, err
}

// readGlobs returns the known entries of a list of a match.
func readGlobs(name string, v attr.Value) (patterns []string, err error) {
	list, ok := v.(types.List)
	if !ok || !known(list) {
		return nil, nil
	}
	for _, e := range list.Elements() {
		if s, ok := e.(types.String); ok && !s.IsUnknown() {
			patterns = append(patterns, s.ValueString())
		}
	}
	if len(list.Elements()) == 0 {
		err = jit.Invalid("match."+name, "leave the list out to match everything",
			"the list is empty and would match nothing")
	}
	return patterns, err
}

// enforcement reads the demand on who ends a grant.
func (m *policyModel) enforcement() (nativeOnly, sweeperAccepted bool, err error) {
	switch e := m.Enforcement.ValueString(); {
	case !known(m.Enforcement):
	case e == anyEnforcement:
		return false, true, nil
	case e == string(jit.Native):
		return true, false, nil
	default:
		err = jit.Invalid("enforcement", `write enforcement = "native", or leave it out`,
			"%q is not a demand; it is any or native", e)
	}
	return false, false, err
}

// recordedPolicyModel returns the model of a recorded policy.
func recordedPolicyModel(ctx context.Context, p jit.Policy, diags *diag.Diagnostics) policyModel {
	m := policyModel{
		Name: types.StringValue(p.Name), Description: optional(p.Description),
		Effect:        types.StringValue(string(p.Effect)),
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
		patterns := *policy.Globs(&p.Match, l.name)
		if len(patterns) == 0 {
			patterns = nil // a null list
		}
		list, problems := types.ListValueFrom(ctx, types.StringType, patterns)
		diags.Append(problems...)
		lists[l.name] = list
	}
	m.Match = types.ObjectValueMust(matchTypes(), lists)
	m.recordApproval(ctx, p, diags)
	return m
}
