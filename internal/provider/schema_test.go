package provider

import (
	"reflect"
	"slices"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/resource"

	"github.com/jitaccess/terraform-provider-jit/internal/platform"
)

// Every platform has a row with exactly the attributes of its Config.
func TestTargetsMatchTheirConfigs(t *testing.T) {
	config := reflect.TypeFor[platform.Config]()
	for i := range config.NumField() {
		field := config.Field(i)
		kind := field.Tag.Get("tfsdk")
		row, ok := platformAttributes[kind]
		if !ok {
			t.Errorf("targets.go has no row for %s", kind)
			continue
		}
		var want, got []string
		for _, field := range reflect.VisibleFields(field.Type.Elem()) {
			if !field.Anonymous {
				want = append(want, field.Tag.Get("tfsdk"))
			}
		}
		for name, attribute := range row.Attributes {
			got = append(got, name)
			if attribute.GetMarkdownDescription() == "" {
				t.Errorf("%s.%s has no description", kind, name)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s has the attributes %q, its Config %q", kind, got, want)
		}
	}
	if got, want := len(platformAttributes), config.NumField(); got != want {
		t.Errorf("targets.go has %d rows for %d platforms", got, want)
	}
}

// The schemas satisfy the framework and describe every attribute.
func TestSchemas(t *testing.T) {
	ctx := t.Context()
	p := &jitProvider{}
	var ps provider.SchemaResponse
	p.Schema(ctx, provider.SchemaRequest{}, &ps)
	if diags := ps.Schema.ValidateImplementation(ctx); diags.HasError() {
		t.Errorf("provider: %v", diags)
	}
	for _, make := range p.Resources(ctx) {
		var resp resource.SchemaResponse
		make().Schema(ctx, resource.SchemaRequest{}, &resp)
		if diags := resp.Schema.ValidateImplementation(ctx); diags.HasError() {
			t.Errorf("%T: %v", make(), diags)
		}
		for name, attribute := range resp.Schema.Attributes {
			if attribute.GetMarkdownDescription() == "" {
				t.Errorf("%T: %s has no description", make(), name)
			}
		}
	}
	for _, make := range p.DataSources(ctx) {
		var resp datasource.SchemaResponse
		make().Schema(ctx, datasource.SchemaRequest{}, &resp)
		if diags := resp.Schema.ValidateImplementation(ctx); diags.HasError() {
			t.Errorf("%T: %v", make(), diags)
		}
	}
}
