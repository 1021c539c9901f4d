package provider

import (
	"encoding/json"
	"math/big"
	"reflect"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"pgregory.net/rapid"
	strict "sigs.k8s.io/json"

	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// drawer draws values of attributes: null, one of some texts, or unknown.
type drawer struct {
	texts    map[string][]string
	unknowns bool
}

func (d drawer) value(t *rapid.T, name string, kind tftypes.Type) tftypes.Value {
	switch rapid.IntRange(0, 9).Draw(t, name+" is") {
	case 0:
		return tftypes.NewValue(kind, nil)
	case 1:
		if d.unknowns {
			return tftypes.NewValue(kind, tftypes.UnknownValue)
		}
	}
	list := func(element tftypes.Type) (all []tftypes.Value) {
		for range rapid.IntRange(0, 3).Draw(t, name+" has") {
			all = append(all, d.value(t, name, element))
		}
		return all
	}
	switch kind := kind.(type) {
	case tftypes.List:
		return tftypes.NewValue(kind, list(kind.ElementType))
	case tftypes.Set:
		return tftypes.NewValue(kind, list(kind.ElementType))
	case tftypes.Object:
		return d.object(t, kind)
	}
	choices := d.texts[name]
	if choices == nil {
		choices = []string{"", "a", "b "}
	}
	text := rapid.SampledFrom(choices).Draw(t, name)
	if kind.Is(tftypes.Number) {
		number, _, err := big.ParseFloat(text, 10, 512, big.ToNearestEven) // with Terraform's precision
		if err != nil {
			t.Fatal(err)
		}
		return tftypes.NewValue(kind, number)
	}
	return tftypes.NewValue(kind, text)
}

func (d drawer) object(t *rapid.T, kind tftypes.Object) tftypes.Value {
	all := map[string]tftypes.Value{}
	for name, attribute := range kind.AttributeTypes {
		all[name] = d.value(t, name, attribute)
	}
	return tftypes.NewValue(kind, all)
}

// shown returns a value and what is unknown of it, as terraform show -json shows them.
func shown(t *rapid.T, v tftypes.Value) (value, unknown any) {
	if !v.IsKnown() {
		return nil, true
	}
	if v.IsNull() {
		return nil, false
	}
	var text string
	var list []tftypes.Value
	var object map[string]tftypes.Value
	switch v.Type().(type) {
	case tftypes.List, tftypes.Set:
		values, unknowns := []any{}, []any{}
		if err := v.As(&list); err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			value, unknown := shown(t, e)
			values, unknowns = append(values, value), append(unknowns, unknown)
		}
		return values, unknowns
	case tftypes.Object:
		values, unknowns := map[string]any{}, map[string]any{}
		if err := v.As(&object); err != nil {
			t.Fatal(err)
		}
		for name, e := range object {
			value, unknown := shown(t, e)
			if e.IsKnown() {
				values[name] = value
			}
			if unknown != false {
				unknowns[name] = unknown
			}
		}
		return values, unknowns
	}
	if v.Type().Is(tftypes.Number) {
		var number big.Float
		if err := v.As(&number); err != nil {
			t.Fatal(err)
		}
		return json.RawMessage(number.Text('f', -1)), false
	}
	if err := v.As(&text); err != nil {
		t.Fatal(err)
	}
	return text, false
}

// attributes returns what terraform show -json shows, after its way through JSON, read as plans are.
func attributes(t *rapid.T, v tftypes.Value) (values map[string]any, unknown any) {
	value, parts := shown(t, v)
	text, err := json.Marshal([]any{value, parts})
	if err != nil {
		t.Fatal(err)
	}
	var both [2]any
	if _, err := strict.UnmarshalStrict(text, &both); err != nil {
		t.Fatal(err)
	}
	values, _ = both[0].(map[string]any)
	return values, both[1]
}

// A reviewer reads a policy of a plan as the provider does, also if some of it is unknown.
func TestPlannedPoliciesReadTheSame(t *testing.T) {
	texts := map[string][]string{
		"effect": {"permit", "forbid"}, "max_ttl": {"4h", "2d"}, "enforcement": {"any", "native"},
		"max_session_tail": {"0s", "12h", "unlimited"}, "required": {"1", "2", "0", "-1", "1.5", "100000000000"},
		"valid_for": {"24h"}, "evidence": {"signature"},
	}
	var schema resource.SchemaResponse
	(&policyResource{}).Schema(t.Context(), resource.SchemaRequest{}, &schema)
	rapid.Check(t, func(t *rapid.T) {
		d := drawer{texts, rapid.Bool().Draw(t, "some are unknown")}
		raw := d.object(t, schema.Schema.Type().TerraformType(t.Context()).(tftypes.Object))
		var m policyModel
		if diags := (tfsdk.Plan{Raw: raw, Schema: schema.Schema}).Get(t.Context(), &m); diags.HasError() {
			t.Fatal(diags)
		}
		want, wantErr := m.written().Policy()
		known := m.written().Known()
		if wantErr == nil && !known {
			want = m.written().MostPermissive(want)
		}
		got, complete, err := plan.PolicyOf(attributes(t, raw))
		if m.Match.IsNull() {
			if err == nil {
				t.Error("a policy without match is read")
			}
			return
		}
		if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
			t.Fatalf("error %v, want %v", err, wantErr)
		}
		if err == nil && (!reflect.DeepEqual(got, want) || complete != known) {
			t.Errorf("got  %+v, complete %v\nwant %+v, complete %v", got, complete, want, known)
		}
	})
}

func TestPlannedPersonsReadTheSame(t *testing.T) {
	var schema resource.SchemaResponse
	(&personResource{}).Schema(t.Context(), resource.SchemaRequest{}, &schema)
	rapid.Check(t, func(t *rapid.T) {
		d := drawer{nil, rapid.Bool().Draw(t, "some are unknown")}
		raw := d.object(t, schema.Schema.Type().TerraformType(t.Context()).(tftypes.Object))
		var m personModel
		if diags := (tfsdk.Plan{Raw: raw, Schema: schema.Schema}).Get(t.Context(), &m); diags.HasError() {
			t.Skip() // a set that has a value twice
		}
		got, complete, err := plan.PersonOf(attributes(t, raw))
		if err != nil || !reflect.DeepEqual(got, m.person()) || complete != m.written().Known() {
			t.Errorf("got  %+v, complete %v, %v\nwant %+v", got, complete, err, m.person())
		}
	})
}
