package catalog

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// FuzzOf judges resources of any form. Each access has a class and a reason, none that is unknown or sensitive shows a
// text, and nothing that a resource hides makes it bounded.
func FuzzOf(f *testing.F) {
	for _, c := range readCases(f) {
		parts := [3]string{}
		for i, v := range []any{c.Values, c.Unknown, c.Sensitive} {
			raw, err := json.Marshal(v)
			if err != nil {
				f.Fatal(err)
			}
			parts[i] = string(raw)
		}
		f.Add(c.Type, parts[0], parts[1], parts[2])
	}
	deep := strings.Repeat(`[`, 2000) + strings.Repeat(`]`, 2000)
	f.Add("aws_iam_group_membership", `{"users":`+deep+`}`, `{"users":`+deep+`}`, `true`)
	f.Add("kubernetes_role_binding", `{"subject":[[{"kind":7}],null,"x"]}`, `{"subject":[[{"name":true}]]}`, `[]`)
	f.Add("aws_iam_policy", `{"policy":"{\"Statement\":{\"Effect\":\"Allow\",\"Action\":`+deep+`}}"}`, `7`, `"x"`)
	f.Fuzz(func(t *testing.T, resourceType, values, unknown, sensitive string) {
		var parts [3]any
		for i, s := range []string{values, unknown, sensitive} {
			if json.Unmarshal([]byte(s), &parts[i]) != nil {
				return
			}
		}
		accesses := Of(now, "registry.terraform.io/x/x", resourceType, Object{Values: parts[0], Unknown: parts[1],
			Sensitive: parts[2], Configured: map[string]bool{}})
		if len(accesses) > maxAccess+1 {
			t.Errorf("%d accesses", len(accesses))
		}
		hidden := parts[1] == true || parts[2] == true
		for _, a := range accesses {
			if fault := faultOf(a); fault != "" || hidden && a.Class == Bounded {
				t.Errorf("%s: %+v", fault, a)
			}
		}
	})
}

// faultOf says what no access may be, whatever it comes from.
func faultOf(a Access) string {
	if a.Why == "" || !slices.Contains([]Class{Bounded, Standing, Opaque, Guard}, a.Class) {
		return "no class or reason"
	}
	if a.Class == Bounded && a.End.Text == "" {
		return "bounded without an end"
	}
	for _, v := range []Value{a.Principal, a.Role, a.Scope, a.End} {
		if v.Unknown && v.Sensitive || (v.Unknown || v.Sensitive) && v.Text != "" {
			return "a value that is hidden and shown"
		}
	}
	return ""
}
