package review

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// planned judges a plan with these changes, and these fields beside them.
func planned(t *testing.T, fields string, changes ...string) Report {
	t.Helper()
	p, err := plan.Read("plan", "plan.json", strings.NewReader(fmt.Sprintf(`{"format_version":"1.2",
		"terraform_version":"1.14.0","complete":true,"planned_values":{},"resource_changes":[%s]%s}`,
		strings.Join(changes, ","), fields)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Judge(t.Context(), p, Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// changeOfX is a change of the resource KIND.x.
func changeOfX(kind, actions, before, after string) string {
	provider := "hashicorp/aws"
	if strings.HasPrefix(kind, "jit_") {
		provider = source
	}
	return fmt.Sprintf(`{"address":"%s.x","mode":"managed","type":"%[1]s","name":"x",
		"provider_name":"registry.terraform.io/%s","change":{"actions":[%s],"before":%s,"after":%s,
		"after_unknown":{}}}`,
		kind, provider, actions, before, after)
}

// What somebody else has changed is told unless the plan undoes it, whatever else the plan changes there.
func TestDoubtDrift(t *testing.T) {
	const same, update, remove, forget = `"no-op"`, `"update"`, `"delete"`, `"forget"`
	bucket := func(principal, tag string) string {
		return fmt.Sprintf(`{"bucket":"b","tags":{"a":%q},"policy":"{\"Statement\":[{\"Effect\":\"Allow\",`+
			`\"Principal\":\"%s\",\"Action\":\"*\",\"Resource\":\"*\"}]}"}`, tag, principal)
	}
	rule := func(ttl, description string) string {
		return fmt.Sprintf(`{"name":"p","effect":"permit","match":[{}],"max_ttl":%q,"description":%q}`, ttl, description)
	}
	grant := func(end, drift, reason string) string {
		return fmt.Sprintf(`{"expires_at":%q,"drift":%s,"reason":%q}`, end, drift, reason)
	}
	const outside = "by a change outside"
	const leaves = "changed outside of this configuration, and the plan leaves that"
	for name, tc := range map[string]struct {
		kind, before, after string // the drift
		actions, planned    string
		says                string
	}{
		"access": {"aws_s3_bucket", bucket("alice", "1"), bucket("*", "1"), same, bucket("*", "1"), outside},
		"access and a tag": {"aws_s3_bucket", bucket("alice", "1"), bucket("*", "1"), update, bucket("*", "2"),
			outside},
		"access undone": {"aws_s3_bucket", bucket("alice", "1"), bucket("*", "1"), update, bucket("alice", "1"), ""},
		"access ended":  {"aws_s3_bucket", bucket("alice", "1"), bucket("*", "1"), remove, `null`, ""},
		"a policy":      {"jit_policy", rule("1h", "a"), rule("90d", "a"), same, rule("90d", "a"), leaves},
		"a policy and its description": {"jit_policy", rule("1h", "a"), rule("90d", "a"), update, rule("90d", "b"),
			leaves},
		"a policy shortened": {"jit_policy", rule("1h", "a"), rule("90d", "a"), update, rule("80d", "a"), leaves},
		"a policy undone":    {"jit_policy", rule("1h", "a"), rule("90d", "a"), update, rule("1h", "b"), ""},
		"a policy ended":     {"jit_policy", rule("1h", "a"), rule("90d", "a"), remove, `null`, ""},
		"a policy forgotten": {"jit_policy", rule("1h", "a"), rule("90d", "a"), forget, `null`, leaves},
		"a policy taken out": {"jit_policy", rule("1h", "a"), `null`, `"create"`, rule("1h", "a"), ""},
		"a grant": {"jit_grant", grant("2099-01-01T00:00:00Z", "null", "a"), grant("2099-02-01T00:00:00Z", "null", "a"),
			update, grant("2099-02-01T00:00:00Z", "null", "b"), leaves},
		"a grant's drift": {"jit_grant", grant("2099-01-01T00:00:00Z", "null", "a"),
			grant("2099-01-01T00:00:00Z", `"altered"`, "a"), update,
			grant("2099-01-01T00:00:00Z", `"altered"`, "b"), leaves},
		"a grant undone": {"jit_grant", grant("2099-01-01T00:00:00Z", "null", "a"),
			grant("2099-02-01T00:00:00Z", `"altered"`, "a"), update, grant("2099-01-01T00:00:00Z", "null", "a"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			drift := `,"resource_drift":[` + changeOfX(tc.kind, update, tc.before, tc.after) + `]`
			doubts := func(changes ...string) string { return strings.Join(planned(t, drift, changes...).Doubts, "\n") }
			got := doubts(changeOfX(tc.kind, tc.actions, tc.after, tc.planned))
			if tc.says == "" && strings.Contains(got, "outside of this") || !strings.Contains(got, tc.says) {
				t.Errorf("doubts %q, want %q", got, tc.says)
			}
			deposed := strings.Replace(changeOfX(tc.kind, remove, tc.before, `null`), `"name"`,
				`"deposed":"0a","name"`, 1)
			if got := doubts(changeOfX(tc.kind, same, tc.after, tc.after), deposed); tc.after != "null" &&
				!strings.Contains(got, "outside of this") {
				t.Errorf("what happens to a deposed object hides the drift of the current one: %q", got)
			}
		})
	}
}

// A provisioner runs when a resource is created or destroyed. What it does, no plan says.
func TestDoubtProvisioners(t *testing.T) {
	const blocks = `,"configuration":{"root_module":{"module_calls":{"m":{"module":{"resources":[
		{"address":"terraform_data.x","provisioners":[{"type":"local-exec","expressions":{}}]}]}}}}}`
	for actions, want := range map[string]bool{`"create"`: true, `"delete"`: true, `"delete","create"`: true,
		`"update"`: false, `"no-op"`: false, `"forget"`: false} {
		in := strings.Replace(changeOfX("terraform_data", actions, `{"input":1}`, `{"input":1}`), `"name"`,
			`"module_address":"module.m[\"a\"]","name"`, 1)
		r := planned(t, blocks, in)
		doubted := strings.Contains(strings.Join(r.Doubts, "\n"), "a provisioner (local-exec)")
		if doubted != want || doubted != (r.Outcome == Decide) {
			t.Errorf("%s: %s, %q", actions, r.Outcome, r.Doubts)
		}
	}
}
