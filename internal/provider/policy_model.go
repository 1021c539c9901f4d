package provider

import (
	"context"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/policy"
)

// policyModel is a jit_policy as configuration, plan and state hold it.
type policyModel struct {
	Name           types.String `tfsdk:"name"`
	Description    types.String `tfsdk:"description"`
	Effect         types.String `tfsdk:"effect"`
	Match          types.List   `tfsdk:"match"`
	MaxTTL         types.String `tfsdk:"max_ttl"`
	ReasonPattern  types.String `tfsdk:"reason_pattern"`
	Enforcement    types.String `tfsdk:"enforcement"`
	MaxSessionTail types.String `tfsdk:"max_session_tail"`
	Condition      types.String `tfsdk:"condition"`
	Approval       types.List   `tfsdk:"approval"`
	BreakGlass     types.Object `tfsdk:"break_glass"`
}

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

// written returns the values of the model.
func (m *policyModel) written() policy.Written {
	return policy.Written{
		"name": plain(m.Name), "description": plain(m.Description), "effect": plain(m.Effect), "match": plain(m.Match),
		"max_ttl": plain(m.MaxTTL), "reason_pattern": plain(m.ReasonPattern), "enforcement": plain(m.Enforcement),
		"max_session_tail": plain(m.MaxSessionTail), "condition": plain(m.Condition),
		"approval": plain(m.Approval), "break_glass": plain(m.BreakGlass),
	}
}

// plain returns a value as [policy.Written] holds it.
func plain(v attr.Value) any {
	if v.IsUnknown() {
		return policy.Unknown{}
	}
	if v.IsNull() {
		return nil
	}
	switch v := v.(type) {
	case interface{ Elements() []attr.Value }:
		list := []any{}
		for _, e := range v.Elements() {
			list = append(list, plain(e))
		}
		return list
	case interface{ Attributes() map[string]attr.Value }:
		object := map[string]any{}
		for name, e := range v.Attributes() {
			object[name] = plain(e)
		}
		return object
	case interface{ ValueString() string }:
		return v.ValueString()
	case interface{ ValueBigFloat() *big.Float }:
		return v.ValueBigFloat().Text('f', -1) // String would shorten it
	}
	return v.String()
}

// warnOfOpenMatch warns of a permit that matches every grant. Terraform drops the attributes of an object that the
// schema does not have, so an entry whose lists are misspelt has none.
func (m *policyModel) warnOfOpenMatch(p jit.Policy, diags *diag.Diagnostics) {
	open := func(entry jit.Match) bool { return reflect.DeepEqual(entry, jit.Match{}) }
	given := policy.Written{"match": plain(m.Match)}.Known()
	if p.Effect != jit.Permit || !given || !slices.ContainsFunc(p.Match.Entries(), open) {
		return
	}
	var names []string
	for _, l := range matchLists {
		names = append(names, l.name)
	}
	diags.AddAttributeWarning(path.Root("match"), "The policy matches every grant", fmt.Sprintf("The entry of match "+
		"has no list, so policy %q permits every grant within its limits.\n\nIf you wrote a list, check its name: %s. "+
		"Terraform drops other names.", p.Name, strings.Join(names, ", ")))
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
		m.Enforcement = types.StringValue(policy.AnyEnforcement)
	}
	if p.MaxTTL != 0 {
		m.MaxTTL = types.StringValue(jit.FormatDuration(p.MaxTTL))
	}
	if p.MaxSessionTail != nil {
		m.MaxSessionTail = types.StringValue(jit.FormatTail(*p.MaxSessionTail))
	}
	var entries []attr.Value
	for _, entry := range p.Match.Entries() {
		lists := map[string]attr.Value{}
		for _, l := range matchLists {
			patterns := *policy.Globs(&entry, l.name)
			if len(patterns) == 0 {
				patterns = nil // a null list
			}
			list, problems := types.ListValueFrom(ctx, types.StringType, patterns)
			diags.Append(problems...)
			lists[l.name] = list
		}
		entries = append(entries, types.ObjectValueMust(matchTypes(), lists))
	}
	m.Match = types.ListValueMust(types.ObjectType{AttrTypes: matchTypes()}, entries)
	m.recordApproval(ctx, p, diags)
	return m
}
