package review

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// An apply writes over what the ledger has, whatever the state says of it.
func TestRulesAreComparedWithLedger(t *testing.T) {
	change := func(kind, actions, before, after string) string {
		return fmt.Sprintf(`{"mode":"managed","type":"jit_%s","address":"jit_%[1]s.a","change":{"actions":[%s],
			"before":%s,"after":%s}}`, kind, actions, before, after)
	}
	policy := func(name, more string) string {
		return fmt.Sprintf(`{"name":%q,"effect":"permit","match":[{}],"max_ttl":"8h"%s}`, name, more)
	}
	bob := func(groups string) string { return `{"name":"bob","groups":[` + groups + `],"signing_keys":[]}` }
	const forbid = `{"name":"f","effect":"forbid","match":[{}]}`
	for name, tc := range map[string]struct {
		changes string
		outcome Outcome
		says    string
	}{
		"the ledger is stricter than a stale state": {
			change("policy", `"update"`, policy("p", ""), policy("p", `,"description":"d"`)), Decide,
			"grows from 1h to 8h"},
		"the ledger forbids, the state permits": {
			change("policy", `"delete"`, strings.Replace(forbid, "forbid", "permit", 1), "null"), Decide,
			"forbids nothing any more"},
		"the ledger has lost it": {
			change("policy", `"update"`, policy("gone", ""), policy("gone", `,"description":"d"`)), Decide,
			"is new and permits"},
		"a deposed policy that forbids": {strings.Replace(change("policy", `"delete"`, forbid, "null"), `"mode"`,
			`"deposed":"ab","mode"`, 1), Decide, "forbids nothing any more"},
		"renamed onto another one": {
			change("policy", `"delete","create"`, policy("p", ""), policy("f", "")), Refused, "an apply refuses it"},
		"made onto another one": {change("policy", `"create"`, "null", policy("p", "")), Refused,
			"an apply refuses it"},
		"made as it is recorded":    {change("policy", `"create"`, "null", forbid), Nothing, ""},
		"replaced by the same name": {change("policy", `"delete","create"`, forbid, forbid), Nothing, ""},
		"a person onto another one": {change("person", `"create"`, "null", bob(`"group:x"`)), Refused,
			"an apply refuses it"},
		"out of a group that a policy asks": {change("person", `"update"`, bob(`"group:contractors"`), bob("")), Decide,
			"leaves"},
		"a person of such a group destroyed": {
			change("person", `"delete"`, bob(`"group:contractors"`), "null"), Decide, "no longer see their groups"},
		"a new attribute": {change("policy", `"update"`, policy("h", `,"audit":false`), policy("h", `,"audit":true`)),
			Decide, "does not know audit"},
		"a new attribute inside": {change("policy", `"update"`, policy("h", ""),
			strings.Replace(policy("h", ""), `"match":[{}]`, `"match":[{"regions":["x"]}]`, 1)), Decide,
			"does not know match.regions"},
		"a new attribute of a person": {
			change("person", `"update"`, bob(`"group:contractors"`), strings.Replace(bob(`"group:contractors"`),
				`"name"`, `"deputies":["eve"],"name"`, 1)), Decide, "does not know deputies"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := plan.Read("PLAN", "stdin", strings.NewReader(`{"format_version":"1.2","planned_values":{},
				"resource_changes":[`+tc.changes+`]}`))
			if err != nil {
				t.Fatal(err)
			}
			j := &judge{plan: p, ledger: "l", rules: ruleset{policies: []jit.Policy{
				{Name: "p", Effect: jit.Permit, Match: jit.Matches{{}}, MaxTTL: time.Hour, Holder: 1},
				{Name: "f", Effect: jit.Forbid, Match: jit.Matches{{}}, Holder: 2},
				{Name: "h", Effect: jit.Permit, Match: jit.Matches{{}}, MaxTTL: 8 * time.Hour},
				{Name: "c", Effect: jit.Forbid, Condition: "'group:contractors' in requester.groups"}},
				persons: []jit.Person{{Name: "bob", Groups: []string{"group:contractors"}, Holder: 1}}}}
			j.collectRules()
			j.conclude()
			told := fmt.Sprint(j.report.Rules, j.report.Doubts)
			if j.report.Outcome != tc.outcome || !strings.Contains(told, tc.says) {
				t.Errorf("%s: %s, want %s and %q", j.report.Outcome, told, tc.outcome, tc.says)
			}
		})
	}
}
