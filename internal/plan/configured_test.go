package plan

import "testing"

func TestBlocks(t *testing.T) {
	p := &Plan{Configuration: []byte(`{"root_module":{
		"resources":[{"address":"a_b.c","expressions":{"x":{"constant_value":1},"y":{}}}],
		"module_calls":{"m":{"module":{"module_calls":{"n":{"module":{
			"resources":[{"address":"a_b.c","expressions":{"z":{}}},{"address":"a_b.none"}]}}}}}}}}`)}
	of := p.Blocks()
	for _, c := range []struct {
		module, name, attribute string
		known, set              bool
	}{
		{"", "c", "x", true, true},
		{"", "c", "y", true, true},
		{"", "c", "z", true, false},
		{"", "d", "x", false, false},
		{"module.m.module.n", "c", "z", true, true},
		{"module.m.module.n", "c", "x", true, false},
		{"module.m.module.n", "none", "x", true, false},
		{`module.m["a\"].b[0]"].module.n[3]`, "c", "z", true, true},
		{"module.m", "c", "z", false, false},
	} {
		set := of(&Resource{ModuleAddress: c.module, Type: "a_b", Name: c.name}).Set
		if (set != nil) != c.known || set[c.attribute] != c.set {
			t.Errorf("%s.a_b.%s sets %v: want known %t, and %s %t", c.module, c.name, set, c.known, c.attribute, c.set)
		}
	}
	if set := (&Plan{}).Blocks()(&Resource{Type: "a_b", Name: "c"}).Set; set != nil {
		t.Errorf("a plan without its configuration sets %v", set)
	}
}
