package provider

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// policyResource is jit_policy: a rule that judges every later grant.
type policyResource struct{ named }

var (
	_ resource.ResourceWithConfigure      = (*policyResource)(nil)
	_ resource.ResourceWithValidateConfig = (*policyResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*policyResource)(nil)
	_ resource.ResourceWithImportState    = (*policyResource)(nil)
	_ resource.ResourceWithUpgradeState   = (*policyResource)(nil)
	_ resource.ResourceWithIdentity       = (*policyResource)(nil)
)

// Schema describes jit_policy.
func (r *policyResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	optional := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, MarkdownDescription: description}
	}
	lists := map[string]schema.Attribute{}
	for _, l := range matchLists {
		lists[l.name] = schema.ListAttribute{Optional: true, ElementType: types.StringType,
			MarkdownDescription: l.description}
	}
	resp.Schema = schema.Schema{
		Version: policyVersion,
		MarkdownDescription: "Which grants are permitted or forbidden, for how long, and who must approve them. A " +
			"grant is permitted if it matches one policy that permits and stays within all of its limits, and " +
			"matches no policy that forbids. While the ledger has no policy, every grant within the provider's " +
			"`max_ttl` is permitted, with a warning. If a grant in the same configuration names the policy " +
			"(`policy = jit_policy.x.name`), the plan judges it by the planned policy. A value that is known only " +
			"after the apply, such as one of another resource, counts when the apply judges the grant.",
		Attributes: map[string]schema.Attribute{
			"name": schema.StringAttribute{
				Required:            true,
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
				MarkdownDescription: "The name, unique in the ledger, by which grants refer to the policy.",
			},
			"description": optional("What the policy is for. It has no effect on decisions."),
			"effect": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString(string(jit.Permit)),
				MarkdownDescription: "`permit`: a matching grant within the limits is permitted. `forbid`: a " +
					"matching grant is refused, even if another policy permits it. Default: `permit`.",
			},
			"match": schema.ListNestedAttribute{
				Required: true, NestedObject: schema.NestedAttributeObject{Attributes: lists},
				MarkdownDescription: "The grants that the policy covers: those that one of the entries matches. An " +
					"entry matches if one glob matches in each of its lists: `*` stands for any characters, `?` for " +
					"one character, `[a-z]` for one of a set. `[{}]` matches every grant.",
			},
			"max_ttl": optional("The longest time that a grant may last, such as `4h`."),
			"reason_pattern": optional("A regular expression (RE2) that must match some part of the reason, such as " +
				"`^(INC|CHG)-[0-9]+: `."),
			"enforcement": optional("`native` permits only grants that the platform itself ends. `any`, the " +
				"default, also permits grants that a sweeper ends. Plans warn about such grants, unless you write " +
				"`any`."),
			"max_session_tail": optional("The longest time that a session may outlive the grant, such as `12h`; `0s` " +
				"permits only platforms where sessions end with it, and `unlimited` accepts every session. Plans " +
				"warn about sessions that can outlive a grant, unless you set this."),
			"condition": optional("A CEL expression over the grant that must be true, such as `grant.ttl <= " +
				"duration(\"1h\")`."),
			"approval":    approvalAttribute(),
			"break_glass": breakGlassAttribute(),
		},
	}
}

// ValidateConfig compiles every expression and checks every limit that is known. It compares no names: it does not see
// the count of a block, and two blocks of one name may exclude each other. ModifyPlan compares the instances.
func (r *policyResource) ValidateConfig(
	ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse,
) {
	var m policyModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	m.checkForm(&resp.Diagnostics)
}

// ModifyPlan lays the planned policy over the recorded ones, so that it judges the grants of the same plan.
func (r *policyResource) ModifyPlan(
	ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse,
) {
	if !r.configured() {
		return
	}
	defer r.tellAhead(ctx, req, resp)
	exists := !req.State.Raw.IsNull()
	var before types.String
	if exists {
		resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("name"), &before)...)
	}
	var plan policyModel
	if req.Plan.Raw.IsNull() {
		r.Broker.Planned.Drop(before.ValueString())
		return
	}
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	p, err := plan.written().Policy()
	if err == nil && known(plan.Name) {
		err = r.Broker.Planned.Claim(p, exists)
	}
	if err != nil {
		addError(&resp.Diagnostics, "Invalid policy", err)
		return
	}
	complete := plan.written().Known()
	if !exists && complete {
		r.warnOfName(ctx, p, &resp.Diagnostics)
	}
	if !req.Plan.Raw.Equal(req.State.Raw) {
		plan.warnOfOpenMatch(p, &resp.Diagnostics)
	}
	r.checkApprovers(ctx, req, &plan, p, &resp.Diagnostics)
	r.notePlanned(&plan, p, before, complete)
	if err := r.Broker.CheckOrder(ctx, true); err != nil {
		addError(&resp.Diagnostics, "Cannot plan the policy", err)
	}
}

// notePlanned lays a planned policy over the recorded ones, in the place of the one with the name before.
func (r *policyResource) notePlanned(plan *policyModel, p jit.Policy, before types.String, complete bool) {
	if !before.IsNull() && known(plan.Name) && before.ValueString() != p.Name {
		r.Broker.Planned.Drop(before.ValueString())
	}
	if complete {
		r.Broker.Planned.Put(p)
	} else {
		r.Broker.Planned.PutIncomplete(plan.written().MostPermissive(p))
	}
}

// warnOfName warns if the ledger has another policy of the name of a new one; the same plan may remove it.
func (r *policyResource) warnOfName(ctx context.Context, p jit.Policy, diags *diag.Diagnostics) {
	switch err := r.Broker.CheckPolicyName(ctx, p); {
	case errors.Is(err, jit.ErrInvalid):
		addWarning(diags, "The name is taken", err)
	case err != nil:
		addWarning(diags, "The ledger cannot be read", err)
	}
}

// Create records the policy.
func (r *policyResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var holder int64
	r.remind(ctx, resp.Private, &resp.Diagnostics)
	r.put(ctx, req.Plan, outcome{&resp.State, resp.Identity, &resp.Diagnostics},
		func(ctx context.Context, p jit.Policy) (err error) {
			holder, err = r.Broker.MakePolicy(ctx, p)
			return err
		})
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.Private.SetKey(ctx, holderKey, fmt.Append(nil, holder))...)
		resp.Diagnostics.Append(r.rememberHead(ctx, resp.Private)...)
	}
}

// Update records the changed policy. Live grants stay as they are.
func (r *policyResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	r.remind(ctx, req.Private, &resp.Diagnostics)
	r.put(ctx, req.Plan, outcome{&resp.State, resp.Identity, &resp.Diagnostics},
		func(ctx context.Context, p jit.Policy) error { return r.Broker.PutPolicy(ctx, p) })
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(r.rememberHead(ctx, resp.Private)...)
	}
}

func (r *policyResource) put(
	ctx context.Context, plan tfsdk.Plan, o outcome, record func(context.Context, jit.Policy) error,
) {
	putNamed(ctx, &r.named, plan, o, func(ctx context.Context, m *policyModel) (types.String, error) {
		p, err := m.written().Policy()
		if err == nil {
			err = record(ctx, p)
		}
		return m.Name, err
	})
}

// Read compares the state with the ledger. A policy that the ledger does not have is gone.
func (r *policyResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m policyModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(identify(ctx, resp.Identity, "name", m.Name)...)
	if !r.configured() {
		return
	}
	recorded, ok, err := r.recordedPolicy(ctx, m.Name.ValueString())
	if err != nil {
		unread(err, &resp.Diagnostics)
		return
	}
	r.recall(ctx, req.Private, &resp.Diagnostics)
	if !ok {
		resp.State.RemoveResource(ctx)
		return
	}
	if p, err := m.written().Policy(); err != nil || !reflect.DeepEqual(p, recorded) {
		m = recordedPolicyModel(ctx, recorded, &resp.Diagnostics)
		resp.Diagnostics.Append(r.rememberHead(ctx, resp.Private)...)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// recordedPolicy returns the ledger's policy of that name, without its holder.
func (b *backend) recordedPolicy(ctx context.Context, name string) (jit.Policy, bool, error) {
	p, ok, err := b.Broker.RecordedPolicy(ctx, name)
	p.Holder = 0
	return p, ok, err
}

// ImportState imports a recorded policy by its name.
func (r *policyResource) ImportState(
	ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse,
) {
	importNamed(ctx, &r.named, req, resp, func(name string) (policyModel, error) {
		p, err := r.existingPolicy(ctx, name)
		if err != nil {
			return policyModel{}, err
		}
		return recordedPolicyModel(ctx, p, &resp.Diagnostics), nil
	})
}

// existingPolicy is [backend.recordedPolicy] with an error for an unknown policy.
func (b *backend) existingPolicy(ctx context.Context, name string) (jit.Policy, error) {
	p, ok, err := b.recordedPolicy(ctx, name)
	if err == nil && !ok {
		err = b.unknownName("policy", name)
	}
	return p, err
}
