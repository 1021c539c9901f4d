package provider

import (
	"context"
	"math/big"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	datasource "github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// nested describes an attribute of an object in a policy. One that is neither a list nor a number is a text.
type nested struct {
	name                   string
	list, number, required bool
	description            string
}

// approvalAttributes are those of an entry of approval.
var approvalAttributes = []nested{
	{name: "required", number: true, required: true, description: "How many distinct people must approve."},
	{name: "from", list: true, required: true,
		description: "Whose approval counts: names of `jit_person`, and groups such as `group:payments-leads`."},
	{name: "unless", description: "A CEL expression. If it is true for a grant, the grant does not need this entry: " +
		"`grant.ttl <= duration(\"30m\")`, `\"group:oncall\" in requester.groups`."},
	{name: "evidence", list: true, description: "What counts as an approval: `signature`, a signed statement; " +
		"`pull_request`, an approving review, which nobody can check offline. Default: `signature`."},
	{name: "valid_for", description: "How long after an approval the access can begin, such as `24h`."},
}

// breakGlassAttributes are those of break_glass.
var breakGlassAttributes = []nested{
	{name: "from", list: true, required: true,
		description: "Which requesters may begin without approval: names of `jit_person`, and groups."},
	{name: "max_ttl", description: "The longest time that such a grant may last, such as `1h`."},
	{name: "reason_pattern", description: "A regular expression (RE2) that must match some part of the reason."},
}

const (
	approvalDescription = "Who must approve a grant before it begins. Every entry must be met. The grant's " +
		"principal, its `requester` and the person who runs the apply do not count."
	breakGlassDescription = "Who may begin a grant with `break_glass = true` without approval. The skipped " +
		"approvers are notified. One of them must sign the grant off before the requester can do it again."
)

func approvalAttribute() schema.Attribute {
	return schema.ListNestedAttribute{Optional: true, MarkdownDescription: approvalDescription,
		NestedObject: schema.NestedAttributeObject{Attributes: nestedAttributes(approvalAttributes)}}
}

func breakGlassAttribute() schema.Attribute {
	return schema.SingleNestedAttribute{Optional: true, MarkdownDescription: breakGlassDescription,
		Attributes: nestedAttributes(breakGlassAttributes)}
}

func approvalData() datasource.Attribute {
	return datasource.ListNestedAttribute{Computed: true, MarkdownDescription: approvalDescription,
		NestedObject: datasource.NestedAttributeObject{Attributes: nestedData(approvalAttributes)}}
}

func breakGlassData() datasource.Attribute {
	return datasource.SingleNestedAttribute{Computed: true, MarkdownDescription: breakGlassDescription,
		Attributes: nestedData(breakGlassAttributes)}
}

func nestedAttributes(all []nested) map[string]schema.Attribute {
	attributes := map[string]schema.Attribute{}
	for _, a := range all {
		switch {
		case a.list:
			attributes[a.name] = schema.ListAttribute{Required: a.required, Optional: !a.required,
				ElementType: types.StringType, MarkdownDescription: a.description}
		case a.number: // of an Int64Attribute, 1.5 is an error that asks for a report
			attributes[a.name] = schema.NumberAttribute{Required: a.required, Optional: !a.required,
				MarkdownDescription: a.description}
		default:
			attributes[a.name] = schema.StringAttribute{Required: a.required, Optional: !a.required,
				MarkdownDescription: a.description}
		}
	}
	return attributes
}

func nestedData(all []nested) map[string]datasource.Attribute {
	attributes := map[string]datasource.Attribute{}
	for _, a := range all {
		switch {
		case a.list:
			attributes[a.name] = datasource.ListAttribute{Computed: true, ElementType: types.StringType,
				MarkdownDescription: a.description}
		case a.number:
			attributes[a.name] = datasource.NumberAttribute{Computed: true, MarkdownDescription: a.description}
		default:
			attributes[a.name] = datasource.StringAttribute{Computed: true, MarkdownDescription: a.description}
		}
	}
	return attributes
}

func nestedTypes(all []nested) map[string]attr.Type {
	kinds := map[string]attr.Type{}
	for _, a := range all {
		switch {
		case a.list:
			kinds[a.name] = globs
		case a.number:
			kinds[a.name] = types.NumberType
		default:
			kinds[a.name] = types.StringType
		}
	}
	return kinds
}

type requirementModel struct {
	Required types.Number   `tfsdk:"required"`
	From     []string       `tfsdk:"from"`
	Unless   types.String   `tfsdk:"unless"`
	Evidence []jit.Evidence `tfsdk:"evidence"`
	ValidFor types.String   `tfsdk:"valid_for"`
}

type breakGlassModel struct {
	From          []string     `tfsdk:"from"`
	MaxTTL        types.String `tfsdk:"max_ttl"`
	ReasonPattern types.String `tfsdk:"reason_pattern"`
}

// recordApproval sets what a recorded policy says about approval.
func (m *policyModel) recordApproval(ctx context.Context, p jit.Policy, diags *diag.Diagnostics) {
	m.Approval = types.ListNull(types.ObjectType{AttrTypes: nestedTypes(approvalAttributes)})
	m.BreakGlass = types.ObjectNull(nestedTypes(breakGlassAttributes))
	if len(p.Approval) > 0 {
		var entries []requirementModel
		for _, r := range p.Approval {
			entries = append(entries, requirementModel{
				Required: types.NumberValue(big.NewFloat(float64(r.Required))), From: r.From, Unless: optional(r.Unless),
				Evidence: r.Evidence, ValidFor: formatted(r.ValidFor),
			})
		}
		list, problems := types.ListValueFrom(ctx, m.Approval.ElementType(ctx), entries)
		diags.Append(problems...)
		m.Approval = list
	}
	if g := p.BreakGlass; g != nil {
		object, problems := types.ObjectValueFrom(ctx, m.BreakGlass.AttributeTypes(ctx), breakGlassModel{
			From: g.From, MaxTTL: formatted(g.MaxTTL), ReasonPattern: optional(g.ReasonPattern),
		})
		diags.Append(problems...)
		m.BreakGlass = object
	}
}

// formatted is null for no duration.
func formatted(d time.Duration) types.String {
	if d == 0 {
		return types.StringNull()
	}
	return types.StringValue(jit.FormatDuration(d))
}

// checkApprovers refuses approvers who do not exist, or who are too few. What the state already says is not judged
// again: people come and go, and that keeps no plan from working.
func (r *policyResource) checkApprovers(
	ctx context.Context, req resource.ModifyPlanRequest, plan *policyModel, p jit.Policy, diags *diag.Diagnostics,
) {
	if !req.State.Raw.IsNull() {
		var before policyModel
		diags.Append(req.State.Get(ctx, &before)...)
		if before.Approval.Equal(plan.Approval) && before.BreakGlass.Equal(plan.BreakGlass) {
			return
		}
	}
	if err := r.Broker.CheckApprovers(ctx, p); err != nil {
		addError(diags, "Invalid policy", err)
	}
}
