// Command nothing is a provider that does nothing: the floor under what any
// provider costs, for the benchmarks to measure against.
package main

import (
	"context"
	"log"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func main() {
	err := providerserver.Serve(context.Background(), func() provider.Provider { return nothing{} },
		providerserver.ServeOpts{Address: "registry.terraform.io/jitaccess/nothing"})
	if err != nil {
		log.Fatal(err)
	}
}

type nothing struct{}

func (nothing) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "nothing"
}
func (nothing) Schema(context.Context, provider.SchemaRequest, *provider.SchemaResponse) {}

func (nothing) Configure(context.Context, provider.ConfigureRequest, *provider.ConfigureResponse) {
}
func (nothing) DataSources(context.Context) []func() datasource.DataSource { return nil }
func (nothing) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{func() resource.Resource { return thing{} }}
}

// thing has the attributes that a grant is written with, and as many computed ones.
type thing struct{}

type model struct {
	Target      types.String `tfsdk:"target"`
	Principal   types.String `tfsdk:"principal"`
	Role        types.String `tfsdk:"role"`
	Reason      types.String `tfsdk:"reason"`
	TTL         types.String `tfsdk:"ttl"`
	ID          types.String `tfsdk:"id"`
	Scope       types.String `tfsdk:"scope"`
	GrantedAt   types.String `tfsdk:"granted_at"`
	ExpiresAt   types.String `tfsdk:"expires_at"`
	Enforcement types.String `tfsdk:"enforcement"`
	SessionTail types.String `tfsdk:"session_tail"`
	Digest      types.String `tfsdk:"digest"`
}

func (thing) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "nothing_thing"
}

func (thing) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema.Attributes = map[string]schema.Attribute{}
	for _, name := range []string{"target", "principal", "role", "reason", "ttl"} {
		resp.Schema.Attributes[name] = schema.StringAttribute{Required: true}
	}
	for _, name := range []string{"id", "scope", "granted_at", "expires_at", "enforcement", "session_tail", "digest"} {
		resp.Schema.Attributes[name] = schema.StringAttribute{Computed: true, PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()}}
	}
}

func (thing) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m model
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	m.ID, m.Scope, m.GrantedAt, m.ExpiresAt = m.Principal, m.Target, m.TTL, m.TTL
	m.Enforcement, m.SessionTail, m.Digest = m.Role, m.Role, m.Reason
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

func (thing) Read(context.Context, resource.ReadRequest, *resource.ReadResponse) {}

func (thing) Update(_ context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	resp.State.Raw = req.Plan.Raw
}

func (thing) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {}
