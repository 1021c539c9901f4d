package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// policyData is the data source jit_policy.
type policyData struct{ dataBase }

var _ datasource.DataSourceWithConfigure = (*policyData)(nil)

// Schema describes the data source.
func (d *policyData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	text := func(description string) schema.Attribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: description}
	}
	lists := map[string]schema.Attribute{}
	for _, l := range matchLists {
		lists[l.name] = schema.ListAttribute{Computed: true, ElementType: types.StringType,
			MarkdownDescription: l.description}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "A policy in the ledger, for configurations whose policies another team writes.",
		Attributes: map[string]schema.Attribute{
			"name":        schema.StringAttribute{Required: true, MarkdownDescription: "The name of the policy."},
			"description": text("What the policy is for."),
			"effect":      text("`permit` or `forbid`."),
			"match": schema.ListNestedAttribute{
				Computed: true, NestedObject: schema.NestedAttributeObject{Attributes: lists},
				MarkdownDescription: "The grants that the policy covers: those that one of the entries matches.",
			},
			"max_ttl": text("The longest time that a grant may last; null if the policy sets no limit."),
			"reason_pattern": text("The regular expression that the reason must match; null if any reason is " +
				"permitted."),
			"enforcement": text("`any` or `native`; null if the policy leaves it out, which means `any`."),
			"max_session_tail": text("The longest time that a session may outlive the grant, or `unlimited`; null if the " +
				"policy leaves it out."),
			"condition":   text("The CEL expression that must be true; null if there is none."),
			"approval":    approvalData(),
			"break_glass": breakGlassData(),
		},
	}
}

// Read looks the policy up.
func (d *policyData) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var name types.String
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("name"), &name)...)
	if !d.opened(&resp.Diagnostics) {
		return
	}
	p, err := d.existingPolicy(ctx, name.ValueString())
	if err != nil {
		addError(&resp.Diagnostics, "Cannot read the policy", err)
		return
	}
	m := recordedPolicyModel(ctx, p, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}
