// Command nothing is a provider whose one resource has the attributes of jit_grant and does
// nothing: the floor under what any provider with such a resource costs, for the benchmarks to measure against.
package main

import (
	"context"
	"errors"
	"log"
	"runtime/debug"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	framework "github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/provider"
)

func main() {
	debug.SetGCPercent(400) // as the released program with a small heap
	provider.Quiet()
	err := providerserver.Serve(context.Background(), func() framework.Provider { return nothing{} },
		providerserver.ServeOpts{Address: "registry.terraform.io/jitaccess/nothing"})
	if err != nil {
		log.Fatal(err)
	}
}

type nothing struct{}

func (nothing) Metadata(_ context.Context, _ framework.MetadataRequest, resp *framework.MetadataResponse) {
	resp.TypeName = "nothing"
}
func (nothing) Schema(context.Context, framework.SchemaRequest, *framework.SchemaResponse) {}

func (nothing) Configure(context.Context, framework.ConfigureRequest, *framework.ConfigureResponse) {
}
func (nothing) DataSources(context.Context) []func() datasource.DataSource { return nil }

func (nothing) Resources(ctx context.Context) []func() resource.Resource {
	unopened := func(context.Context, config.Settings) (*config.Runtime, error) {
		return nil, errors.New("nothing is opened")
	}
	grant := provider.New("", unopened)().Resources(ctx)[0]
	return []func() resource.Resource{func() resource.Resource { return thing{grant()} }}
}

// thing has the name and the attributes of the grant it wraps, and none of its ways.
type thing struct{ grant resource.Resource }

func (t thing) Metadata(ctx context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	t.grant.Metadata(ctx, req, resp)
}

func (t thing) Schema(ctx context.Context, req resource.SchemaRequest, resp *resource.SchemaResponse) {
	t.grant.Schema(ctx, req, resp)
}

// Create makes up what the configuration leaves to the provider.
func (thing) Create(_ context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var attributes map[string]tftypes.Value
	if err := req.Plan.Raw.As(&attributes); err != nil {
		resp.Diagnostics.AddError("Cannot read the plan", err.Error())
		return
	}
	for name, value := range attributes {
		switch {
		case value.IsKnown():
		case value.Type().Is(tftypes.Number):
			attributes[name] = tftypes.NewValue(tftypes.Number, 0)
		default:
			attributes[name] = tftypes.NewValue(tftypes.String, "nothing at all")
		}
	}
	resp.State.Raw = tftypes.NewValue(req.Plan.Raw.Type(), attributes)
}

func (thing) Read(context.Context, resource.ReadRequest, *resource.ReadResponse) {}

func (thing) Update(_ context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	resp.State.Raw = req.Plan.Raw
}

func (thing) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {}
