package provider

import (
	"context"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	listing "github.com/hashicorp/terraform-plugin-framework/list"
	"github.com/hashicorp/terraform-plugin-framework/list/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// grantList lists jit_grant resources: the grants in the ledger.
type grantList struct{ resourceBase }

var _ listing.ListResourceWithConfigure = (*grantList)(nil)

// ListResourceConfigSchema describes the filters.
func (l *grantList) ListResourceConfigSchema(
	_ context.Context, _ listing.ListResourceSchemaRequest, resp *listing.ListResourceSchemaResponse,
) {
	filter := func(description string) schema.Attribute {
		return schema.StringAttribute{Optional: true, MarkdownDescription: description}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "The grants in the ledger, live and over, in the order of their end. `terraform query " +
			"-generate-config-out=FILE` writes blocks for them that plan empty. Needs Terraform 1.14.",
		Attributes: map[string]schema.Attribute{
			"target":    filter("Only grants on this target."),
			"principal": filter("Only grants to this principal, in its canonical form or as its target spells it."),
			"state": filter("Only grants in this state: `requested`, `pending`, `scheduled`, `active`, `expired`, " +
				"`revoked` or `failed`. Default: all except `requested` and `failed`, which gave nothing and cannot be " +
				"imported."),
			"owner": filter("Only grants of this owner. Default: the owner of the provider block, which is the only one " +
				"whose grants it can import."),
		},
	}
}

type listModel struct {
	Target    types.String `tfsdk:"target"`
	Principal types.String `tfsdk:"principal"`
	State     types.String `tfsdk:"state"`
	Owner     types.String `tfsdk:"owner"`
}

// List streams the grants, at most as many as Terraform asks for.
func (l *grantList) List(ctx context.Context, req listing.ListRequest, stream *listing.ListResultsStream) {
	var diags diag.Diagnostics
	var m listModel
	diags.Append(req.Config.Get(ctx, &m)...)
	state := jit.State(m.State.ValueString())
	if l.opened(&diags) && !m.State.IsNull() {
		if err := checkState(state); err != nil {
			addError(&diags, "Invalid filter", err)
		}
	}
	if diags.HasError() {
		stream.Results = listing.ListResultsStreamDiagnostics(diags)
		return
	}
	f := jit.Filter{Owner: l.Broker.Owner, Target: m.Target.ValueString()}
	if !m.Owner.IsNull() {
		f.Owner = m.Owner.ValueString()
	}
	named := l.principals(m.Principal.ValueString())
	stream.Results = func(push func(listing.ListResult) bool) {
		now, left := l.Broker.Now(), req.Limit
		for g, err := range l.Broker.Ledger.Grants(ctx, f) {
			if err != nil {
				var diags diag.Diagnostics
				addError(&diags, "Cannot list the grants", err)
				push(listing.ListResult{Diagnostics: diags})
				return
			}
			if !inState(g.State(now), state) || !named(g) {
				continue
			}
			if left--; left < 0 || !push(l.result(ctx, req, g)) {
				return
			}
		}
	}
}

// inState reports whether a state is the wanted one; without one, whether a grant in it can be imported.
func inState(state, wanted jit.State) bool {
	if wanted == "" {
		return state != jit.StateRequested && state != jit.StateFailed
	}
	return state == wanted
}

// checkState refuses a text that is no state of a grant.
func checkState(state jit.State) error {
	if slices.Contains(jit.States(), state) {
		return nil
	}
	return jit.Invalid("state", "write one of requested, pending, scheduled, active, expired, revoked and failed",
		"%q is not a state of a grant", state)
}

// result is the resource of a grant, as an import would make it.
func (l *grantList) result(ctx context.Context, req listing.ListRequest, g jit.Grant) listing.ListResult {
	v := l.view(ctx, g)
	r := req.NewListResult(ctx)
	r.DisplayName = v.Summary
	m := recordedModel(v)
	r.Diagnostics.Append(identify(ctx, r.Identity, "id", m.ID)...)
	if req.IncludeResource {
		r.Diagnostics.Append(r.Resource.Set(ctx, &m)...)
	}
	return r
}
