package review

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

func loosened(aspects []aspect) bool {
	return slices.ContainsFunc(aspects, func(a aspect) bool { return a.loosens })
}

// Whatever permits more is loosened, and its reverse is not, unless the two cannot be compared.
func TestComparePolicy(t *testing.T) {
	tail := func(d time.Duration) *time.Duration { return &d }
	asks := func(r jit.Requirement) []jit.Requirement { return []jit.Requirement{r} }
	lead := jit.Requirement{Required: 2, From: []string{"group:leads"}, ValidFor: time.Hour}
	entry := func(edit func(*jit.Requirement)) []jit.Requirement {
		r := lead
		edit(&r)
		return asks(r)
	}
	glass := jit.BreakGlass{From: []string{"group:oncall"}, MaxTTL: time.Hour, ReasonPattern: "^SEV1"}
	roles := func(entries ...string) (p jit.Policy) {
		for _, globs := range entries {
			p.Match = append(p.Match, jit.Match{Roles: strings.Fields(globs)})
		}
		return p
	}
	forbids := func(entries ...string) jit.Policy {
		p := roles(entries...)
		p.Effect = jit.Forbid
		return p
	}
	for name, tc := range map[string]struct {
		was, is jit.Policy
		both    bool
		says    string
	}{
		"max_ttl": {jit.Policy{MaxTTL: 4 * time.Hour}, jit.Policy{MaxTTL: 8 * time.Hour}, false,
			"grows from 4h to 8h"},
		"no max_ttl": {jit.Policy{MaxTTL: 4 * time.Hour}, jit.Policy{}, false, "from 4h to no limit"},
		"a list dropped": {jit.Policy{Match: jit.Matches{{Roles: []string{"a"}}}}, jit.Policy{}, false,
			"matches all roles, not only a"},
		"a glob added": {jit.Policy{Match: jit.Matches{{Roles: []string{"a"}}}},
			jit.Policy{Match: jit.Matches{{Roles: []string{"a", "b"}}}}, false, "also matches the roles b"},
		"a glob changed": {jit.Policy{Match: jit.Matches{{Scopes: []string{"a*"}}}},
			jit.Policy{Match: jit.Matches{{Scopes: []string{"a"}}}}, true, "also matches the scopes a"},
		"native dropped": {jit.Policy{NativeOnly: true}, jit.Policy{}, false, "no longer asks for enforcement"},
		"native to any": {jit.Policy{NativeOnly: true}, jit.Policy{SweeperAccepted: true}, false,
			"no longer asks"},
		"tail dropped": {jit.Policy{MaxSessionTail: tail(0)}, jit.Policy{}, false, "max_session_tail"},
		"tail grows": {jit.Policy{MaxSessionTail: tail(0)}, jit.Policy{MaxSessionTail: tail(time.Hour)},
			false, "from 0s to 1h"},
		"tail unlimited": {jit.Policy{MaxSessionTail: tail(time.Hour)}, jit.Policy{MaxSessionTail: tail(jit.Unlimited)},
			false, "from 1h to unlimited"},
		"pattern dropped": {jit.Policy{ReasonPattern: "^INC"}, jit.Policy{}, false, "^INC, is dropped"},
		"pattern changed": {jit.Policy{ReasonPattern: "^INC"}, jit.Policy{ReasonPattern: "^IN"}, true,
			"from ^INC to ^IN"},
		"condition dropped": {jit.Policy{Condition: "a"}, jit.Policy{}, false, "no condition any more"},
		"condition changed": {jit.Policy{Condition: "a"}, jit.Policy{Condition: "b"}, true, "from a to b"},
		"approval dropped": {jit.Policy{Approval: asks(lead)}, jit.Policy{}, false,
			"no longer asks for the approval of 2 of group:leads"},
		"one of two dropped": {jit.Policy{Approval: []jit.Requirement{lead, {Required: 1, From: []string{"cto"}}}},
			jit.Policy{Approval: asks(lead)}, false, "1 of cto"},
		"fewer": {jit.Policy{Approval: asks(lead)},
			jit.Policy{Approval: entry(func(r *jit.Requirement) { r.Required = 1 })}, false, "falls from 2 to 1"},
		"from wider": {jit.Policy{Approval: asks(lead)},
			jit.Policy{Approval: entry(func(r *jit.Requirement) { r.From = []string{"group:leads", "eve"} })}, false,
			"also has eve"},
		"from changed": {jit.Policy{Approval: asks(lead)},
			jit.Policy{Approval: entry(func(r *jit.Requirement) { r.From = []string{"eve"} })}, true, "also has eve"},
		"unless": {jit.Policy{Approval: asks(lead)},
			jit.Policy{Approval: entry(func(r *jit.Requirement) { r.Unless = "true" })}, false, "unless is true"},
		"unless changed": {jit.Policy{Approval: entry(func(r *jit.Requirement) { r.Unless = "false" })},
			jit.Policy{Approval: entry(func(r *jit.Requirement) { r.Unless = "true" })}, true, "from false to true"},
		"evidence": {jit.Policy{Approval: asks(lead)},
			jit.Policy{Approval: entry(func(r *jit.Requirement) {
				r.Evidence = []jit.Evidence{jit.Signature,
					jit.PullRequest}
			})}, false, "pull_request"},
		"other evidence": {jit.Policy{Approval: asks(lead)},
			jit.Policy{Approval: entry(func(r *jit.Requirement) { r.Evidence = []jit.Evidence{jit.PullRequest} })},
			true, "pull_request"},
		"valid for longer": {jit.Policy{Approval: asks(lead)},
			jit.Policy{Approval: entry(func(r *jit.Requirement) { r.ValidFor = 2 * time.Hour })}, false,
			"valid_for grows"},
		"valid for ever": {jit.Policy{Approval: asks(lead)},
			jit.Policy{Approval: entry(func(r *jit.Requirement) { r.ValidFor = 0 })}, false, "valid_for grows"},
		"break_glass": {jit.Policy{}, jit.Policy{BreakGlass: &glass}, false,
			"lets group:oncall break the glass"},
		"break_glass from": {jit.Policy{BreakGlass: &glass},
			jit.Policy{BreakGlass: &jit.BreakGlass{From: []string{"group:oncall", "eve"}, MaxTTL: time.Hour,
				ReasonPattern: "^SEV1"}}, false, "also lets eve"},
		"break_glass longer": {jit.Policy{BreakGlass: &glass},
			jit.Policy{BreakGlass: &jit.BreakGlass{From: glass.From, ReasonPattern: "^SEV1"}}, false,
			"break_glass.max_ttl"},
		"break_glass reason": {jit.Policy{BreakGlass: &glass},
			jit.Policy{BreakGlass: &jit.BreakGlass{From: glass.From, MaxTTL: time.Hour}}, false,
			"break_glass.reason_pattern"},
		"forbid to permit": {jit.Policy{Effect: jit.Forbid}, jit.Policy{Effect: jit.Permit}, false,
			"changes from forbid to permit"},
		"a forbid narrowed": {jit.Policy{Effect: jit.Forbid}, jit.Policy{Effect: jit.Forbid,
			Match: jit.Matches{{Roles: []string{"a"}}}}, false, "matches only the roles a"},
		"a forbid's glob dropped": {jit.Policy{Effect: jit.Forbid, Match: jit.Matches{{Roles: []string{"a", "b"}}}},
			jit.Policy{Effect: jit.Forbid, Match: jit.Matches{{Roles: []string{"a"}}}}, false,
			"no longer matches the roles b"},
		"an entry added":         {roles("a"), roles("a", "b"), false, "also has the entry roles b"},
		"every grant added":      {roles("a"), roles("a", ""), false, "also has the entry every grant"},
		"an entry widened":       {roles("a", "b"), roles("a", "b c"), false, "also matches the roles c"},
		"an entry exchanged":     {roles("a", "b"), roles("a", "c"), true, "also matches the roles c"},
		"entries merged":         {roles("a", "b"), roles("a b"), false, "also has the entry roles a, b"},
		"a forbid's entry gone":  {forbids("a", "b"), forbids("b"), false, "no longer has the entry roles a"},
		"a forbid's entry split": {forbids("a b"), forbids("a", "b"), false, "no longer has the entry roles a, b"},
		"a forbid's condition": {jit.Policy{Effect: jit.Forbid}, jit.Policy{Effect: jit.Forbid, Condition: "a"},
			false, "has the condition a"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, p := range []*jit.Policy{&tc.was, &tc.is} {
				if p.Name = "p"; p.Effect == "" {
					p.Effect = jit.Permit
				}
			}
			got := comparePolicy(&tc.was, tc.is, "policy p")
			told := slices.ContainsFunc(
				got,
				func(a aspect) bool { return a.loosens && strings.Contains(a.what, tc.says) },
			)
			if !told {
				t.Errorf("got %+v, want a loosened %q", got, tc.says)
			}
			back := comparePolicy(&tc.is, tc.was, "policy p")
			if loosened(back) != tc.both || len(back) == 0 {
				t.Errorf("the reverse: %+v", back)
			}
			if same := comparePolicy(&tc.is, tc.is, "policy p"); len(same) > 0 {
				t.Errorf("the same: %+v", same)
			}
		})
	}
	if !loosened(comparePolicy(nil, jit.Policy{Effect: jit.Permit}, "policy p")) {
		t.Error("a new permit is not loosened")
	}
	if loosened(comparePolicy(nil, jit.Policy{Effect: jit.Forbid}, "policy p")) {
		t.Error("a new forbid is loosened")
	}
}

func TestComparePerson(t *testing.T) {
	bob := jit.Person{
		Name:        "bob",
		Groups:      []string{"group:a"},
		SigningKeys: []string{"k1"},
		Principals:  []string{"u"},
		GitHub:      "bob-gh",
	}
	for name, tc := range map[string]struct {
		edit      func(*jit.Person)
		more, old bool // loosened there and back
	}{
		"key added":         {func(p *jit.Person) { p.SigningKeys = []string{"k1", "k2"} }, true, false},
		"key changed":       {func(p *jit.Person) { p.SigningKeys = []string{"k2"} }, true, true},
		"group added":       {func(p *jit.Person) { p.Groups = []string{"group:a", "group:b"} }, true, false},
		"principal removed": {func(p *jit.Person) { p.Principals = nil }, true, false},
		"login changed":     {func(p *jit.Person) { p.GitHub = "eve" }, true, true},
		"login added":       {func(p *jit.Person) { p.GitLab = "bob" }, true, false},
		"another name":      {func(p *jit.Person) { p.Name = "eve" }, true, true},
	} {
		other := bob
		tc.edit(&other)
		if got := comparePerson(&bob, other, "person bob", false); loosened(got) != tc.more {
			t.Errorf("%s: %+v", name, got)
		}
		if got := comparePerson(&other, bob, "person bob", false); loosened(got) != tc.old {
			t.Errorf("%s, the reverse: %+v", name, got)
		}
	}
	left := bob
	left.Groups = nil
	if loosened(comparePerson(&bob, left, "person bob", false)) ||
		!loosened(comparePerson(&bob, left, "person bob", true)) {
		t.Error("to leave a group loosens exactly if a condition may ask for it")
	}
	if !loosened(comparePerson(nil, bob, "person bob", false)) {
		t.Error("a new person is not loosened")
	}
}

// A plan changes rules by creating, renaming and removing them too.
func TestRulesOfPlan(t *testing.T) {
	const permit = `{"name":"p","effect":"permit","match":[{}],"max_ttl":"1h"}`
	const forbid = `{"name":"f","effect":"forbid","match":[{}]}`
	const bob = `{"name":"bob","signing_keys":[],"groups":null,"principals":null,"github":null,"gitlab":null}`
	rule := func(kind, address, actions, before, after, more string) string {
		return `{"mode":"managed","type":"jit_` + kind + `","address":"jit_` + kind + "." + address +
			`","change":{"actions":[` +
			actions + `],"before":` + before + `,"after":` + after + more + `}}`
	}
	for name, tc := range map[string]struct {
		changes string
		want    string
	}{
		"permit destroyed": {rule("policy", "a", `"delete"`, permit, "null", "") + "," + rule("policy", "b",
			`"no-op"`, forbid, forbid, ""),
			"jit_policy.a destroy nothing"},
		"forbid destroyed": {rule("policy", "a", `"delete"`, forbid, "null", "") + "," + rule("policy", "b",
			`"no-op"`, permit, permit, ""),
			"jit_policy.a destroy decide"},
		"all destroyed": {rule("policy", "a", `"delete"`, permit, "null", "") + "," + rule("policy", "b", `"delete"`,
			forbid, "null", ""),
			"jit_policy destroy decide\njit_policy.b destroy decide\njit_policy.a destroy nothing"},
		"moved to another block": {rule("policy", "a", `"delete"`, forbid, "null", "") + "," + rule("policy", "b",
			`"create"`, "null", forbid, ""),
			""},
		"moved and loosened": {rule("policy", "a", `"delete"`, permit, "null", "") + "," +
			rule("policy", "b", `"create"`, "null", `{"name":"p","effect":"permit","match":[{}],"max_ttl":"2h"}`, ""),
			"jit_policy.b create decide"},
		"forgotten": {rule("policy", "a", `"forget"`, forbid, "null", ""), "jit_policy.a forget nothing"},
		"unknown": {rule("policy", "a", `"update"`, permit, `{"name":"p","effect":"permit","match":[{}]}`,
			`,"after_unknown":{"max_ttl":true}`),
			"jit_policy.a change decide\njit_policy.a change decide"},
		"no policy": {rule("policy", "a", `"create"`, "null", `{"name":"p"}`, ""),
			"jit_policy.a create decide"},
		"no such action":   {rule("policy", "a", `"x"`, permit, permit, ""), "jit_policy.a replace decide"},
		"person destroyed": {rule("person", "a", `"delete"`, bob, "null", ""), "jit_person.a destroy nothing"},
		"person created": {rule("person", "a", `"create"`, "null", strings.Replace(bob, "bob", "eve", 1), ""),
			"jit_person.a create decide"},
		"person is unknown": {rule("person", "a", `"update"`, bob, `{"name":"bob"}`,
			`,"after_unknown":{"groups":true}`), "jit_person.a change decide"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := plan.Read(
				"PLAN",
				"stdin",
				strings.NewReader(`{"format_version":"1.2","terraform_version":"1.14.0",
				"planned_values":{},"resource_changes":[`+tc.changes+`]}`),
			)
			if err != nil {
				t.Fatal(err)
			}
			j := &judge{plan: p, ledger: "l", rules: ruleset{policies: []jit.Policy{
				{Name: "p", Effect: jit.Permit, Match: jit.Matches{{}}, MaxTTL: time.Hour},
				{Name: "f", Effect: jit.Forbid, Match: jit.Matches{{}}}},
				persons: []jit.Person{{Name: "bob"}}}}
			j.collectRules()
			r := j.report.sorted()
			var got []string
			for _, rule := range r.Rules {
				got = append(got, strings.Join([]string{rule.Address, string(rule.Action), rule.Outcome.String()}, " "))
			}
			if strings.Join(got, "\n") != tc.want {
				t.Errorf("got %q, want %q: %+v", got, tc.want, r.Rules)
			}
		})
	}
}

// The provider block and jit.hcl are compared with those of the base branch.
func TestCompareSettings(t *testing.T) {
	const head = `provider "jit" {
  max_ttl = "4h"
  owner   = "payments"
  ledger  = var.ledger
  targets = {
    a = { ssh = { authorized_keys = "/a" } }
    b = { ssh = { authorized_keys = var.b } }
  }
}
`
	replaced := func(old, with string) string { return strings.Replace(head, old, with, 1) }
	for name, tc := range map[string]struct {
		base, head map[string]string
		want       []string
	}{
		"the same": {map[string]string{"a.tf": head}, map[string]string{"b.tf": replaced("  owner   =",
			"  owner =")}, nil},
		"longer": {map[string]string{"a.tf": head}, map[string]string{"a.tf": replaced(`"4h"`, `"8h"`)},
			[]string{"provider.jit true max_ttl is changed from 4h to 8h"}},
		"shorter": {map[string]string{"a.tf": head}, map[string]string{"a.tf": replaced(`"4h"`, `"1h"`)},
			[]string{"provider.jit false max_ttl is changed from 4h to 1h"}},
		"the default": {map[string]string{"a.tf": head}, map[string]string{"a.tf": replaced(`  max_ttl = "4h"`,
			"")}, []string{"provider.jit true max_ttl is changed from 4h to 1d"}},
		"no literal": {map[string]string{"a.tf": head}, map[string]string{"a.tf": replaced(`"4h"`, `var.max`)},
			[]string{"provider.jit true max_ttl is changed from 4h to another value"}},
		"owner": {map[string]string{"a.tf": head}, map[string]string{"a.tf": replaced(`"payments"`,
			`"search"`)}, []string{"provider.jit true owner is changed from payments to search"}},
		"ledger": {map[string]string{"a.tf": head}, map[string]string{"a.tf": replaced(`var.ledger`,
			`"postgres://u:secret@h/db"`)},
			[]string{"provider.jit true ledger is changed: other policies judge, and other records count"}},
		"approvals_dir": {map[string]string{"a.tf": head}, map[string]string{"a.tf": replaced(`  owner`,
			"  approvals_dir = \"mine\"\n  owner")},
			[]string{"provider.jit true approvals_dir is changed from approvals to mine"}},
		"config": {map[string]string{"a.tf": head}, map[string]string{"a.tf": replaced(`  owner`,
			"  config = \"x.hcl\"\n  owner")},
			[]string{"provider.jit true config is changed from another value to x.hcl", "? x.hcl"}},
		"a target": {map[string]string{"a.tf": head}, map[string]string{"a.tf": replaced(`"/a"`, `"/c"`)},
			[]string{"provider.jit true target a is changed: the same name may be another system"}},
		"a new target": {map[string]string{"a.tf": head}, map[string]string{"a.tf": replaced(`    a =`,
			"    c = { gcp = {} }\n    a =")}, []string{"provider.jit true target c is new"}},
		"no target": {map[string]string{"a.tf": head},
			map[string]string{"a.tf": replaced(`    a = { ssh = { authorized_keys = "/a" } }`, "")},
			[]string{"provider.jit false target a is removed"}},
		"computed": {map[string]string{"a.tf": head}, map[string]string{"a.tf": replaced(`  targets = {`,
			"  targets = merge(var.t, {}) \n x = {")}, []string{"provider.jit true targets is changed"}},
		"an override": {map[string]string{"a.tf": head}, map[string]string{"a.tf": head,
			"override.tf": `provider "jit" { max_ttl = "9h" }`},
			[]string{"provider.jit true max_ttl is changed from 4h to 9h"}},
		"jit.hcl": {map[string]string{"jit.hcl": `max_ttl = "1h"`},
			map[string]string{"jit.hcl": `max_ttl = "2h"`}, []string{"jit.hcl true max_ttl is changed from 1h to 2h"}},
		"a new block": {map[string]string{"a.tf": head}, map[string]string{"a.tf": head +
			"provider \"jit\" {\n  alias = \"x\"\n}\n"},
			[]string{"provider.jit.x true the settings are new: their targets, owner and max_ttl are not " +
				"compared"}},
		"a removed block": {map[string]string{"jit.hcl": ""}, map[string]string{},
			[]string{"jit.hcl false the settings are removed"}},
		"a local name": {map[string]string{"a.tf": "terraform {\n  required_providers {\n    x = { source = " +
			"\"jitaccess/jit\" }\n  }\n}\nprovider \"x\" {}\n"},
			map[string]string{"a.tf": "terraform {\n  required_providers {\n    x = { source = \"jitaccess/jit\" " +
				"}\n  }\n}\nprovider \"x\" {\n  max_ttl = \"48h\"\n}\n"},
			[]string{"provider.x true max_ttl is changed from 1d to 48h"}},
		"another provider": {map[string]string{"a.tf": `provider "aws" {}`},
			map[string]string{"a.tf": `provider "aws" { owner = "x" }`}, nil},
		"broken": {map[string]string{"a.tf": head}, map[string]string{"a.tf": head, "b.tf": "provider {"},
			[]string{"? b.tf"}},
		"in JSON": {map[string]string{"a.tf": head}, map[string]string{"a.tf": head,
			"b.tf.json": `{"provider":{"jit":{"max_ttl":"9h"}}}`}, []string{"? b.tf.json"}},
		"other JSON": {map[string]string{"a.tf": head}, map[string]string{"a.tf": head,
			"b.tf.json": `{"resource":{}}`}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			j := &judge{Options: Options{Head: t.TempDir(), Base: t.TempDir()}, plan: &plan.Plan{}}
			for dir, files := range map[string]map[string]string{j.Head: tc.head, j.Base: tc.base} {
				for file, text := range files {
					if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			j.compareSettings()
			var got []string
			for _, r := range j.report.Rules {
				got = append(
					got,
					strings.Join(
						[]string{r.Address, map[bool]string{true: "true", false: "false"}[r.Loosens], r.What},
						" ",
					),
				)
				if r.Loosens != (r.Outcome == Decide) || strings.Contains(r.What, "secret") {
					t.Errorf("%+v", r)
				}
			}
			for _, d := range j.doubts.list() {
				name, _, _ := strings.Cut(strings.TrimPrefix(d, j.Head+"/"), ":")
				got = append(got, "? "+name)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	j := &judge{Options: Options{Head: t.TempDir(), Base: filepath.Join(t.TempDir(), "none")}, plan: &plan.Plan{}}
	if j.compareSettings(); len(j.doubts.list()) != 1 {
		t.Errorf("a folder that does not exist: %q", j.doubts.list())
	}
}
