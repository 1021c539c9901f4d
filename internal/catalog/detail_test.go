package catalog

import (
	"encoding/json"
	"testing"
)

// What decides the access, and shows in none of its values, tells it apart. What decides nothing does not.
func TestDetail(t *testing.T) {
	const end = `request.time < timestamp(\"2026-11-24T00:00:00Z\")`
	for _, c := range []struct {
		resourceType, before, after string
		same                        bool
	}{
		{"azurerm_role_assignment", `{"principal_id":"p","scope":"s","role_definition_id":"r","condition":"x"}`,
			`{"principal_id":"p","scope":"s","role_definition_id":"r","condition":null}`, false},
		{"azurerm_role_assignment", `{"principal_id":"p","scope":"s","role_definition_id":"r","description":"x"}`,
			`{"principal_id":"p","scope":"s","role_definition_id":"r","description":"y"}`, true},
		{"google_project_iam_member", `{"member":"m","role":"r","condition":[{"expression":"` + end + ` && a == b"}]}`,
			`{"member":"m","role":"r","condition":[{"expression":"` + end + `"}]}`, false},
		{"google_project_iam_member", `{"member":"m","role":"r","condition":[{"expression":"` + end + `",` +
			`"title":"x"}]}`,
			`{"member":"m","role":"r","condition":[{"expression":"` + end + `","title":"y"}]}`, true},
		{"aws_s3_bucket_policy", `{"bucket":"b","policy":"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",` +
			`\"Action\":\"x\",\"Resource\":\"y\",\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":\"10.0.0.0/8\"}}}}"}`,
			`{"bucket":"b","policy":"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"x\",` +
				`\"Resource\":\"y\"}}"}`, false},
		{"aws_s3_bucket_policy", `{"bucket":"b","policy":"{\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\",` +
			`\"Action\":\"x\",\"Resource\":\"y\"}]}"}`, `{"bucket":"b","policy":"{ ` +
			` \"Statement\": [{\"Principal\":\"*\",\"Effect\":\"Allow\",\"Action\":\"x\",\"Resource\":\"y\"}]}"}`,
			true},
		{"aws_key_pair", `{"key_name":"k","public_key":"a"}`, `{"key_name":"k","public_key":"b"}`, false},
		{"postgresql_grant_role", `{"role":"a","grant_role":"b","with_admin_option":false}`,
			`{"role":"a","grant_role":"b","with_admin_option":true}`, false},
		{"github_repository_ruleset", `{"name":"n","bypass_actors":[{"actor_id":1,"bypass_mode":"pull_request"}]}`,
			`{"name":"n","bypass_actors":[{"actor_id":1,"bypass_mode":"always"}]}`, false},
		{"kubernetes_role_binding", `{"metadata":[{"labels":null}],"subject":[{"kind":"User","name":"a"}]}`,
			`{"metadata":[{"labels":{"a":"b"}}],"subject":[{"kind":"User","name":"a"}]}`, true},
	} {
		var sides [2]any
		for i, s := range []string{c.before, c.after} {
			if err := json.Unmarshal([]byte(s), &sides[i]); err != nil {
				t.Fatal(err)
			}
		}
		before := Of(now, "", c.resourceType, Object{Values: sides[0]})
		// After a change, a plan marks what is known with false, or with nothing.
		after := Of(now, "", c.resourceType, Object{Values: sides[1], Unknown: map[string]any{"subject": []any{false}}})
		if len(before) != 1 || len(after) != 1 || lines(before) != lines(after) {
			t.Errorf("%s: %s, then %s: want one access that looks the same", c.resourceType, lines(before),
				lines(after))
		} else if (before[0] == after[0]) != c.same {
			t.Errorf("%s: the same is %t, want %t, from %s to %s", c.resourceType, !c.same, c.same, c.before, c.after)
		}
	}
}
