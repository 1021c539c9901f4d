package provider

import (
	"context"
	"fmt"
	"reflect"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// personResource is jit_person: somebody who asks for access or approves it.
type personResource struct{ named }

var (
	_ resource.ResourceWithConfigure      = (*personResource)(nil)
	_ resource.ResourceWithValidateConfig = (*personResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*personResource)(nil)
	_ resource.ResourceWithImportState    = (*personResource)(nil)
	_ resource.ResourceWithIdentity       = (*personResource)(nil)
)

// Schema describes jit_person.
func (r *personResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	attributes := map[string]schema.Attribute{
		"name": schema.StringAttribute{
			Required:            true,
			PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			MarkdownDescription: "The name, such as `bob@example.com`. It must be unique in the ledger; case does not count.",
		},
	}
	for _, s := range personSets {
		attributes[s.name] = schema.SetAttribute{Optional: true, ElementType: types.StringType,
			MarkdownDescription: s.description}
	}
	for _, l := range personLogins {
		attributes[l.name] = schema.StringAttribute{Optional: true, MarkdownDescription: l.description}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Somebody who asks for access or approves it. Approvals count by the keys and groups " +
			"that the ledger has without the changes of the run. So the change that adds somebody cannot use their " +
			"approval. The very first change is an exception: while no other run has ever recorded a person, the " +
			"persons of that change count.",
		Attributes: attributes,
	}
}

// ValidateConfig checks the name, the keys and the accounts that are known.
func (r *personResource) ValidateConfig(
	ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse,
) {
	var m personModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	m.checkForm(&resp.Diagnostics)
}

// ModifyPlan lays the planned person over the recorded ones and refuses one who cannot be recorded beside the others.
func (r *personResource) ModifyPlan(
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
	if req.Plan.Raw.IsNull() {
		r.Broker.Planned.DropPerson(before.ValueString())
		return
	}
	var plan personModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if exists && known(plan.Name) && !before.Equal(plan.Name) {
		r.Broker.Planned.DropPerson(before.ValueString())
	}
	p := plan.person()
	if plan.written().Known() {
		r.Broker.Planned.PutPerson(p)
	} else {
		r.Broker.Planned.PutIncompletePerson(p)
	}
	if plan.Name.IsUnknown() {
		return
	}
	err := r.Broker.Planned.ClaimPerson(p, exists)
	if err == nil && !req.Plan.Raw.Equal(req.State.Raw) {
		err = r.Broker.CheckPerson(ctx, p)
	}
	if err != nil {
		addError(&resp.Diagnostics, "Invalid person", err)
	}
}

// Create records the person.
func (r *personResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var holder int64
	r.remind(ctx, resp.Private, &resp.Diagnostics)
	r.put(ctx, req.Plan, outcome{&resp.State, resp.Identity, &resp.Diagnostics},
		func(ctx context.Context, p jit.Person) (err error) {
			holder, err = r.Broker.MakePerson(ctx, p)
			return err
		})
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.Private.SetKey(ctx, holderKey, fmt.Append(nil, holder))...)
		resp.Diagnostics.Append(r.rememberHead(ctx, resp.Private)...)
	}
}

// Update records the changed person. What they have approved before stays approved.
func (r *personResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	r.remind(ctx, req.Private, &resp.Diagnostics)
	r.put(ctx, req.Plan, outcome{&resp.State, resp.Identity, &resp.Diagnostics},
		func(ctx context.Context, p jit.Person) error { return r.Broker.PutPerson(ctx, p) })
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(r.rememberHead(ctx, resp.Private)...)
	}
}

func (r *personResource) put(
	ctx context.Context, plan tfsdk.Plan, o outcome, record func(context.Context, jit.Person) error,
) {
	putNamed(ctx, &r.named, plan, o, func(ctx context.Context, m *personModel) (types.String, error) {
		return m.Name, record(ctx, m.person())
	})
}

// Read compares the state with the ledger. A person whom the ledger does not have is gone.
func (r *personResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m personModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(identify(ctx, resp.Identity, "name", m.Name)...)
	if !r.configured() {
		return
	}
	recorded, ok, err := r.recordedPerson(ctx, m.Name.ValueString())
	if err != nil {
		unread(err, &resp.Diagnostics)
		return
	}
	r.recall(ctx, req.Private, &resp.Diagnostics)
	if !ok {
		resp.State.RemoveResource(ctx)
		return
	}
	if !reflect.DeepEqual(m.person(), recorded) {
		m = recordedPersonModel(ctx, recorded, &resp.Diagnostics)
		resp.Diagnostics.Append(r.rememberHead(ctx, resp.Private)...)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// ImportState imports a recorded person by their name.
func (r *personResource) ImportState(
	ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse,
) {
	importNamed(ctx, &r.named, req, resp, func(name string) (personModel, error) {
		p, ok, err := r.recordedPerson(ctx, name)
		if err == nil && !ok {
			err = r.unknownName("person", name)
		}
		return recordedPersonModel(ctx, p, &resp.Diagnostics), err
	})
}

// recordedPerson returns the ledger's person of that name, without their holder.
func (b *backend) recordedPerson(ctx context.Context, name string) (jit.Person, bool, error) {
	p, ok, err := b.Broker.RecordedPerson(ctx, name)
	p.Holder = 0
	return p, ok, err
}
