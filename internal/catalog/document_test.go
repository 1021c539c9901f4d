package catalog

import (
	"strings"
	"testing"
)

func TestReadAWS(t *testing.T) {
	const until = `"Condition":{"DateLessThan":{"aws:CurrentTime":"2026-11-24T00:00:00Z"}}`
	for _, c := range []struct{ name, document, want string }{
		{"several principals", `{"Statement":[{"Effect":"Allow","Principal":{"AWS":["a","b"],"Service":"s"},` +
			`"Action":"x","Resource":"y"}]}`, "standing|a|x|y|\nstanding|b|x|y|\nstanding|s|x|y|"},
		{"everyone but", `{"Statement":{"Effect":"Allow","NotPrincipal":{"AWS":"a"},"NotAction":["x","y"],` +
			`"NotResource":"z"}}`,
			"standing|all but a|all but x, y|all but z|"},
		{"wildcards first", `{"Statement":{"Effect":"Allow","Action":["a:Get","z:*"],"Resource":["b","*"]}}`,
			"standing||z:*, a:Get|*, b|"},
		{"bounded", `{"Statement":{"Effect":"Allow","Action":"x","Resource":"y",` + until + `}}`,
			"bounded||x|y|2026-11-24T00:00:00Z"},
		{"bounded, with more that has to hold", `{"Statement":{"Effect":"Allow","Action":"x","Resource":"y",` +
			`"Condition":{"StringEquals":{"a":"b"},"DateLessThan":{"aws:CurrentTime":"2026-11-24T00:00:00Z"}}}}`,
			"bounded||x|y|2026-11-24T00:00:00Z"},
		{"any of two times", `{"Statement":{"Effect":"Allow","Action":"x","Resource":"y","Condition":{"DateLessThan":` +
			`{"aws:CurrentTime":["2026-11-24T00:00:00Z","2099-01-01T00:00:00Z"]}}}}`, "standing||x|y|"},
		{"both of two times", `{"Statement":{"Effect":"Allow","Action":"x","Resource":"y","Condition":{` +
			`"DateLessThan":{"aws:CurrentTime":"2026-12-24T00:00:00Z"},` +
			`"DateLessThanEquals":{"aws:CurrentTime":"2026-11-24T00:00:00Z"}}}}`, "bounded||x|y|2026-11-24T00:00:00Z"},
		{"another key", `{"Statement":{"Effect":"Allow","Action":"x","Resource":"y","Condition":{"DateLessThan":` +
			`{"aws:TokenIssueTime":"2026-11-24T00:00:00Z"}}}}`, "standing||x|y|"},
		{"another operator", `{"Statement":{"Effect":"Allow","Action":"x","Resource":"y",` +
			`"Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-11-24T00:00:00Z"}}}}`, "standing||x|y|"},
		{"a time that cannot be read", `{"Statement":{"Effect":"Allow","Action":"x","Resource":"y",` +
			`"Condition":{"DateLessThan":{"aws:CurrentTime":"soon"}}}}`, "opaque||x|y|soon"},
		{"no time", `{"Statement":{"Effect":"Allow","Action":"x","Resource":"y","Condition":{"DateLessThan":` +
			`{"aws:CurrentTime":[]}}}}`, "standing||x|y|"},
		{"deny", `{"Statement":[{"Effect":"Deny","Action":"*","Resource":"*",` + until + `}]}`, "guard||*|*|"},
		{"deny all but", `{"Statement":{"Effect":"Deny","NotPrincipal":{"AWS":"a"},"Action":"x","Resource":"y"}}`,
			"guard|all but a|x|y|"},
		{"deny nothing", `{"Statement":{"Effect":"Deny","Resource":"y"}}`, "error"},
		{"no statements", `{"Version":"2012-10-17","Statement":[]}`, ""},
		{"no JSON", `{"Statement":[`, "error"},
		{"another form", `[]`, "error"},
		{"no Statement", `{}`, "error"},
		{"an Effect in the wrong case", `{"Statement":{"Effect":"allow","Action":"x","Resource":"y"}}`, "error"},
		{"an element in the wrong case", `{"Statement":{"Effect":"Allow","action":"x","Action":"y","Resource":"y"}}`,
			"error"},
		{"a name twice", `{"Statement":{"Effect":"Allow","Action":"x","Resource":"y",` + until + `,"Condition":{}}}`,
			"error"},
		{"statements twice", `{"Statement":[],"Statement":{"Effect":"Allow","Action":"x","Resource":"y"}}`, "error"},
		{"statements in another case", `{"statement":{"Effect":"Allow","Action":"x","Resource":"y"}}`, "error"},
		{"no Action", `{"Statement":{"Effect":"Allow","Resource":"y"}}`, "error"},
		{"an Action of numbers", `{"Statement":{"Effect":"Allow","Action":[1],"Resource":"y"}}`, "error"},
		{"an Action of objects", `{"Statement":{"Effect":"Allow","Action":{"a":"b"},"Resource":"y"}}`, "error"},
		{"a statement that is none", `{"Statement":["x"]}`, "error"},
	} {
		permissions, err := readAWS(now, c.document)
		got := "error"
		if err == nil {
			var accesses []Access
			for _, p := range permissions {
				accesses = append(accesses, p.fill(Access{Class: p.bound.class, End: p.bound.end})...)
			}
			got = lines(accesses)
		}
		if got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

// Sensitive values are shown nowhere, also not in the reasons.
func TestSensitive(t *testing.T) {
	const secret = "geheim"
	for resourceType, o := range map[string]Object{
		"aws_iam_access_key": {Values: map[string]any{"user": secret}, Sensitive: map[string]any{"user": true}},
		"aws_iam_group_membership": {Values: map[string]any{"group": "g", "users": []any{secret, "b"}},
			Sensitive: map[string]any{"users": []any{true, false}}},
		"aws_iam_policy": {Values: map[string]any{"policy": secret}, Sensitive: map[string]any{"policy": true}},
		"aws_ssm_activation": {Values: map[string]any{"expiration_date": secret},
			Sensitive: map[string]any{"expiration_date": true}},
		"kubernetes_role_binding": {
			Values:    map[string]any{"subject": []any{map[string]any{"kind": "User", "name": secret}}},
			Sensitive: map[string]any{"subject": true}},
		"azurerm_key_vault_access_policy": {
			Values:    map[string]any{"object_id": "o", "secret_permissions": []any{secret}},
			Sensitive: map[string]any{"secret_permissions": []any{true}}},
		"kubernetes_manifest": {Values: map[string]any{"manifest": map[string]any{"kind": "Secret", "type": secret}},
			Sensitive: map[string]any{"manifest": true}},
		"google_project_iam_member": {Values: map[string]any{"member": secret}, Sensitive: true},
	} {
		accesses := Of(now, "", resourceType, o)
		shown := lines(accesses)
		for _, a := range accesses {
			shown += a.Why
			if a.Class == Bounded {
				t.Errorf("%s: %s", resourceType, shown)
			}
		}
		if !strings.Contains(shown, "*") && !strings.Contains(shown, "sensitive") || strings.Contains(shown, secret) {
			t.Errorf("%s shows %s", resourceType, shown)
		}
	}
}
