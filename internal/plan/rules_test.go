package plan_test

import (
	"encoding/json"
	"strings"
	"testing"

	strict "sigs.k8s.io/json"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/policy"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// A policy that is not known in full permits at least what it can come to permit.
func TestPolicyOfUnknown(t *testing.T) {
	const values = `{"name": "prod", "effect": "permit", "max_ttl": "4h",
		"match": [{"targets": ["prod"], "roles": ["view", null]}], "approval": [{"required": 1, "from": ["lea"]}]}`
	request := policy.Request{
		Owner: "jit", Platform: "ssh", Reason: "INC-1: look", Length: jit.MinTTL,
		Binding: jit.Binding{Target: "prod", Principal: "user:a@x", Role: "admin"},
	}
	request.Given = jit.AsWritten(request.Binding)
	for name, tc := range map[string]struct {
		unknown string
		want    jit.Outcome
	}{
		"nothing":                    {`{}`, jit.Refused},
		"no unknown part":            {`{"match": [{"roles": [false, false]}]}`, jit.Refused},
		"all":                        {`true`, jit.Permitted},
		"a part of a list":           {`{"match": [{"roles": [false, true]}]}`, jit.NeedsApproval},
		"a list of another length":   {`{"match": [{"roles": [true]}]}`, jit.NeedsApproval},
		"an entry more":              {`{"match": [{"roles": [false, false, true]}]}`, jit.NeedsApproval},
		"the match":                  {`{"match": true}`, jit.NeedsApproval},
		"the match and the approval": {`{"match": true, "approval": [{"from": [true]}]}`, jit.Permitted},
		"an object where a text is":  {`{"match": [{"roles": {"x": true}}]}`, jit.NeedsApproval},
		"the effect":                 {`{"effect": true, "match": true}`, jit.NeedsApproval},
	} {
		t.Run(name, func(t *testing.T) {
			var attributes map[string]any
			var unknown any
			text := values
			if tc.want == jit.Refused { // a null that is not unknown is an error
				text = strings.Replace(values, "null", `"edit"`, 1)
			}
			if _, err := strict.UnmarshalStrict([]byte(text), &attributes); err != nil { // as plans are read
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(tc.unknown), &unknown); err != nil {
				t.Fatal(err)
			}
			p, complete, err := plan.PolicyOf(attributes, unknown)
			if err != nil || complete != (tc.want == jit.Refused) {
				t.Fatalf("complete %v, %v", complete, err)
			}
			if v, err := policy.Judge([]jit.Policy{p}, request); err != nil || v.Outcome != tc.want {
				t.Errorf("%v: %s, %v; want %v", v.Outcome, v.Rule, err, tc.want)
			}
		})
	}
}

func TestPolicyOfNull(t *testing.T) {
	attributes := map[string]any{"name": "p", "match": []any{map[string]any{"roles": []any{"view", nil}}}}
	if _, _, err := plan.PolicyOf(attributes, map[string]any{}); err == nil ||
		!strings.Contains(err.Error(), "match[0].roles: an entry of the list is null") {
		t.Errorf("%v, want one that names the null", err)
	}
}
