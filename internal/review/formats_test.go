package review

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	gosarif "github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/catalog"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Each sort of finding is in each format.
func TestFindings(t *testing.T) {
	for name, f := range map[string]struct {
		report                      Report
		outcome                     Outcome
		verdict                     string
		markdown, text, json, sarif []string
	}{
		"nothing": {Report{Others: 3}, Nothing, "Nothing to decide",
			[]string{"### ✅ Nothing to decide\n", "3 other changes"}, []string{"Nothing to decide\n",
				"3 other changes"},
			[]string{`"outcome": "nothing"`, `"doubts": []`, `"grants": []`, `"access": []`, `"rules": []`,
				`"commands": []`,
				`"other_changes": 3`}, []string{`"results": []`}},
		"doubt": {Report{Doubts: []string{"the plan is errored"}}, Decide, "Needs a decision: 1 doubt",
			[]string{"### ⚠️ Needs a decision: 1 doubt\n", "- ❓ the plan is errored"},
			[]string{"decide   the plan is errored"},
			[]string{`"outcome": "decide"`, `"the plan is errored"`}, []string{`"ruleId": "doubt"`,
				`"level": "warning"`}},
		"note": {Report{Notes: []string{"not compared"}}, Nothing, "Nothing to decide", []string{"- ℹ️ not compared\n"},
			[]string{"not compared\n"}, []string{`"not compared"`}, []string{`"ruleId": "note"`, `"level": "note"`}},
		"refused": {Report{Grants: []Grant{{Address: "jit_grant.a", Outcome: Refused, Refusal: "too long",
			Hint: "shorter"}}},
			Refused, "Refused: 1 of 1 grant", []string{"### ❌ Refused: 1 of 1 grant\n", "| ❌ |",
				"refused: too long<br>instead: shorter"},
			[]string{"refused: too long; instead: shorter"}, []string{`"outcome": "refused"`, `"refusal": "too long"`,
				`"hint": "shorter"`}, []string{`"ruleId": "grant-refused"`, `"level": "error"`, "too long"}},
		"waits": {Report{Grants: []Grant{{Outcome: Decide, Judged: true, Awaits: "erin",
			Verdict: jit.Verdict{Outcome: jit.NeedsApproval, Policy: "prod"}}}}, Decide, "Needs a decision: 1 grant",
			[]string{"| ⚠️ |", "needs the approval of erin"}, []string{"needs the approval of erin"},
			[]string{`"awaits": "erin"`,
				`"outcome": "needs approval"`}, []string{`"ruleId": "grant-to-decide"`, "needs the approval of erin"}},
		"permitted": {Report{Grants: []Grant{{Judged: true, Verdict: jit.Verdict{Outcome: jit.Permitted,
			Policy: "prod"}}}},
			Nothing, "Nothing to decide", []string{"| ✅ |", "permitted by `prod`"}, []string{"ok", "permitted by prod"},
			[]string{`"judged": true`, `"policy": "prod"`}, []string{`"ruleId": "grant"`, `"level": "note"`}},
		"glass": {Report{Grants: []Grant{{Outcome: Decide, Judged: true, BreakGlass: true, Awaits: "erin",
			Verdict: jit.Verdict{Outcome: jit.Permitted, BrokeGlass: true}}}}, Decide, "Needs a decision: 1 grant",
			[]string{"begins without the approval of erin"}, []string{"begins without the approval of erin"},
			[]string{`"broke_glass": true`}, []string{"begins without the approval of erin"}},
		"unknown": {Report{Grants: []Grant{{Outcome: Decide, Principal: Text{Unknown: true}}}}, Decide,
			"Needs a decision: 1 grant", []string{"*(known after apply)*"}, []string{"(known after apply)"},
			[]string{`"unknown": true`}, []string{"(known after apply)"}},
		"standing": {Report{Access: []Access{{Address: "x.y", Gives: true, Outcome: Decide, Access: catalog.Access{
			Class: catalog.Standing}}}}, Decide, "Needs a decision: 1 access without an end",
			[]string{"🔴", "**never ends**", "`x.y`"}, []string{"access without an end", "never"},
			[]string{`"class": "standing"`,
				`"gives": true`}, []string{`"ruleId": "standing-access"`, `"level": "error"`}},
		"opaque": {Report{Access: []Access{{Gives: true, Outcome: Decide}}}, Decide,
			"Needs a decision: 1 access whose end is unknown", []string{"🟠", "*(end unknown)*"},
			[]string{"end is unknown"},
			[]string{`"class": ""`}, []string{`"ruleId": "opaque-access"`, `"level": "warning"`}},
		"bounded": {Report{Access: []Access{{Gives: true, Outcome: Decide,
			Access: catalog.Access{Class: catalog.Bounded,
				End: Text{Text: "2026-11-24"}}}}}, Decide, "Needs a decision: 1 access that ends by itself",
			[]string{"🟡", "`2026-11-24`"}, []string{"2026-11-24"}, []string{`"class": "bounded"`},
			[]string{`"ruleId": "bounded-access"`}},
		"bounded by a length": {Report{Access: []Access{{Gives: true, Outcome: Decide, Access: catalog.Access{
			Class: catalog.Bounded, End: Text{Text: "8h"}}}}}, Decide, "Needs a decision: 1 access that ends by itself",
			[]string{"`8h` after it begins"}, []string{"8h after it begins"}, []string{`"text": "8h"`},
			[]string{`"ruleId": "bounded-access"`}},
		"stays": {Report{Access: []Access{{Address: "x.y", Action: Import, Stays: true, Outcome: Decide}}},
			Decide, "Needs a decision: 1 access that stays", []string{"🔵", "1 access that stays"},
			[]string{"stays"}, []string{`"gives": false`, `"stays": true`},
			[]string{`"ruleId": "access-stays"`}},
		"taken": {Report{Access: []Access{{Address: "x.y", Action: Destroy,
			Access: catalog.Access{Class: catalog.Standing}}}},
			Nothing, "Nothing to decide", []string{"⚪", "taken away"}, []string{"taken away"},
			[]string{`"gives": false`},
			[]string{`"ruleId": "access-taken"`, `"level": "note"`}},
		"loosened": {Report{Rules: []Rule{{Address: "jit_policy.p", Loosens: true, Outcome: Decide,
			What: "longer"}}}, Decide,
			"Needs a decision: 1 loosened rule", []string{"🔓", "⚠️ `jit_policy.p`: longer"},
			[]string{"loosened: jit_policy.p: longer"},
			[]string{`"loosens": true`}, []string{`"ruleId": "rule-loosened"`, `"level": "warning"`}},
		"tightened": {Report{Rules: []Rule{{Address: "jit_policy.p", What: "shorter"}}}, Nothing, "Nothing to decide",
			[]string{"🔒 `jit_policy.p`: shorter"}, []string{"jit_policy.p: shorter"}, []string{`"loosens": false`},
			[]string{`"ruleId": "rule-changed"`, `"level": "note"`}},
		"command": {Report{Commands: []string{"jit approve --plan plan.json"}}, Nothing, "Nothing to decide",
			[]string{"```sh\njit approve --plan plan.json\n```\n"}, []string{"  jit approve --plan plan.json\n"},
			[]string{`"jit approve --plan plan.json"`}, nil},
	} {
		if got := f.report.Worst(); got != f.outcome {
			t.Errorf("%s: the outcome is %s, want %s", name, got, f.outcome)
		}
		if got := f.report.Verdict(); got != f.verdict {
			t.Errorf("%s: the verdict is %q, want %q", name, got, f.verdict)
		}
		comment := markdownOf(t, f.report)
		if first := strings.SplitN(comment, "\n", 2)[0]; first != "### "+icons[f.outcome]+" "+f.verdict {
			t.Errorf("%s: the comment begins with %q", name, first)
		}
		contains(t, name+" as Markdown", comment, f.markdown)
		contains(t, name+" as text", textOf(t, f.report, false), f.text)
		contains(t, name+" as JSON", jsonOf(t, f.report), f.json)
		contains(t, name+" as SARIF", sarifOf(t, f.report), f.sarif)
	}
}

func contains(t *testing.T, name, got string, want []string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("%s: %q is missing in:\n%s", name, w, got)
		}
	}
}

// No format shows a text beside the mark that it is sensitive or unknown.
func TestSensitive(t *testing.T) {
	const secret = "hunter2"
	for _, hidden := range []Text{{Text: secret, Sensitive: true}, {Text: secret, Unknown: true}} {
		r := Report{
			Grants: []Grant{{Target: hidden, Principal: hidden, Role: hidden, Scope: hidden, Reason: hidden,
				Requester: hidden,
				Length:    hidden, Ends: hidden, Starts: hidden, StartBy: hidden,
				Changes: []Difference{{"role", hidden, hidden}}}},
			Access: []Access{{Gives: true, Access: catalog.Access{Principal: hidden, Role: hidden, Scope: hidden,
				End: hidden}}},
		}
		for format, got := range map[string]string{"markdown": markdownOf(t, r), "text": textOf(t, r, true),
			"json": jsonOf(t, r), "sarif": sarifOf(t, r)} {
			if strings.Contains(got, secret) {
				t.Errorf("%s shows %+v:\n%s", format, hidden, got)
			}
		}
	}
}

// A comment of a huge plan fits, shows the worst, and counts the rest.
func TestLimit(t *testing.T) {
	long := strings.Repeat("long text ", 30)
	var r Report
	for i := range 5000 {
		g := Grant{Address: fmt.Sprintf("jit_grant.g[%d]", i), Principal: Text{Text: long}, Reason: Text{Text: long}}
		if i%50 == 49 {
			g.Outcome, g.Refusal = Refused, long
		} else if i%2 == 1 {
			g.Outcome = Decide
		}
		r.Grants = append(r.Grants, g)
		r.Access = append(r.Access, Access{Address: fmt.Sprintf("a.b[%d]", i), Gives: i%3 == 0, Outcome: Outcome(i % 2),
			Access: catalog.Access{Class: catalog.Standing, Why: long}})
		r.Rules = append(r.Rules, Rule{Address: fmt.Sprintf("jit_policy.p[%d]", i), Loosens: i%2 == 1, What: long,
			Outcome: Outcome(i % 2)})
		r.Doubts = append(r.Doubts, fmt.Sprintf("doubt %d", i))
		r.Notes = append(r.Notes, long)
		r.Commands = append(r.Commands, fmt.Sprintf("jit approve --plan plan%d.json", i))
	}
	comment := markdownOf(t, r)
	if len(comment) > mostBytes || len(comment) < mostBytes*9/10 {
		t.Errorf("the comment has %d bytes", len(comment))
	}
	contains(t, "the comment", comment, []string{"### ❌ Refused: 100 of 5000 grants; also to decide: 2400 grants, ",
		"\njit approve --plan plan0.json\n", "more commands: jit review --format text\n", "- ❓ doubt 0\n",
		"more doubts: read",
		"**And ", "\n<!-- jit-review -->\n"})
	if strings.Count(comment, "| ❌ |") < 10 || strings.Contains(comment, "| ✅ |") || !strings.Contains(comment, "🔴") {
		t.Error("the comment does not show the worst first")
	}
	shown := strings.Count(comment, "| ❌ |")
	contains(t, "the comment", comment, []string{fmt.Sprintf("**And %d more, none of them worse than these: "+
		"%d refused, 2400 to decide, 2500 with nothing to decide.**", 5000-shown, 100-shown)})
	found, faults := nodes(t, comment)
	if strings.Count(found, "<details>") != 1 || strings.Count(found, "</details>") != 1 || len(faults) > 0 {
		t.Errorf("the comment is not whole: %v", faults)
	}
}

// A table tells each thing once, and short; the details have all of it.
func TestTold(t *testing.T) {
	key := "ssh-ed25519 " + strings.Repeat("A", 60) + "end"
	r := Report{Grants: []Grant{{Principal: Text{Text: key}, Awaits: "erin", SessionTail: "unlimited", Outcome: Decide,
		Warnings: []broker.Warning{{Summary: broker.NeedsApproval, Detail: "ask with `jit approve`."},
			{Summary: broker.SessionsGoOn}, {Summary: "Another"}}}}}
	table, details, _ := strings.Cut(markdownOf(t, r), "<details>")
	contains(t, "the table", table, []string{"needs the approval of erin<br>warning: Another |", "end`<br>"})
	contains(t, "the details", details, []string{"principal: `" + key + "`",
		"  - warning: The grant needs approval: ask with " +
			"`jit approve`.\n", "  - warning: Sessions can outlive the grant\n"})
	if strings.Contains(table, key) {
		t.Errorf("the table has a whole key:\n%s", table)
	}
}

// Each list has the worst first, also if the report has not.
func TestSorted(t *testing.T) {
	r := Report{
		Grants: []Grant{{Address: "c"}, {Address: "b", Outcome: Decide}, {Address: "a", Outcome: Refused}},
		Access: []Access{{Address: "e", Gives: true, Access: catalog.Access{Class: catalog.Standing}},
			{Address: "d"}, {Address: "c", Gives: true, Outcome: Decide,
				Access: catalog.Access{Class: catalog.Bounded}},
			{Address: "b", Gives: true, Outcome: Decide},
			{Address: "a", Gives: true, Outcome: Decide, Access: catalog.Access{Class: catalog.Standing}}},
		Rules: []Rule{{Address: "c"}, {Address: "b", Loosens: true}, {Address: "a", Loosens: true, Outcome: Decide}},
	}
	got := ""
	s := r.sorted()
	for _, g := range s.Grants {
		got += g.Address
	}
	for _, a := range s.Access {
		got += " " + a.Address
	}
	for _, rule := range s.Rules {
		got += rule.Address
	}
	if want := "abc a b c e dabc"; got != want || r.Grants[0].Address != "c" {
		t.Errorf("the order is %s, want %s", got, want)
	}
}

// A report with so many findings of one kind that they alone fill the comment still has room for the others.
func TestLimitIsShared(t *testing.T) {
	r := everything(asIs)
	for range 5000 {
		r.Grants = append(r.Grants, r.Grants[1])
	}
	contains(t, "the comment", markdownOf(t, r), []string{"aws_iam_user_policy_attachment.eve", "jit_policy.prod",
		"To approve", "the plan is errored"})
}

func FuzzText(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ours := strings.NewReplacer(red, "", yellow, "", green, "", bold, "", off, "")
		got := ours.Replace(textOf(t, everything(func(string) string { return s }), true))
		want := textOf(t, everything(func(string) string { return "word" }), false)
		if strings.TrimSpace(s) != "" && strings.Count(got, "\n") != strings.Count(want, "\n") {
			t.Errorf("with %q, the text has other lines:\n%s", s, got)
		}
		for _, r := range got {
			if r != '\n' && jit.Hidden(r) {
				t.Errorf("with %q, the text has the hidden character %U", s, r)
			}
		}
	})
}

// JSON keeps every text, and shows no hidden character as it is.
func FuzzJSON(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := jsonOf(t, everything(func(string) string { return s }))
		for _, r := range got {
			if r != '\n' && jit.Hidden(r) {
				t.Errorf("with %q, the JSON has the hidden character %U", s, r)
			}
		}
		var view reportView
		if err := json.Unmarshal([]byte(got),
			&view); err != nil || view.Grants[0].Reason.Text != strings.ToValidUTF8(s, "\ufffd") &&
			strings.ToValidUTF8(s, "\ufffd") == s {
			t.Errorf("%q becomes %q (%v)", s, view.Grants[0].Reason.Text, err)
		}
		if strings.Contains(got, "null") && !strings.Contains(s, "null") {
			t.Errorf("with %q, the JSON has a null", s)
		}
	})
}

// checkSARIF fails the test if a log does not follow the schema of SARIF 2.1.0.
func checkSARIF(t *testing.T, log string) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(log))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&gosarif.Report{})
	report, unread := gosarif.FromBytes([]byte(log))
	if err = errors.Join(err, unread); err == nil && len(report.Runs) == 1 {
		run := report.Runs[0] // the library writes what a log leaves out, and wrongly
		run.Language, run.Tool.Driver.Language, run.NewlineSequences = "en-US", "en-US", []string{"\n"}
		err = report.Validate()
	}
	if err != nil {
		t.Fatalf("%v in\n%s", err, log)
	}
}

func FuzzSARIF(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := sarifOf(t, everything(func(string) string { return s }))
		for _, r := range got {
			if r != '\n' && jit.Hidden(r) {
				t.Errorf("with %q, the log has the hidden character %U", s, r)
			}
		}
		var log sarifLog
		if err := json.Unmarshal([]byte(got), &log); err != nil {
			t.Fatal(err)
		}
		for _, result := range log.Runs[0].Results {
			if strings.ContainsAny(result.Message.Text, "[\n") {
				t.Errorf("with %q, a message may have a link or lines: %q", s, result.Message.Text)
			}
		}
	})
}

// The guide has the rules with their levels, and the names of the JSON.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile("../../templates/guides/review.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range sarifRules {
		row := regexp.MustCompile("(?m)^\\|.*`" + rule.ID + "`.*\\| " + rule.Configuration.Level + " \\|$")
		if !row.Match(text) {
			t.Errorf("the guide does not say that %s has the level %s", rule.ID, rule.Configuration.Level)
		}
	}
	for _, view := range []any{reportView{}, accessView{}, ruleView{}, grantView{}, valueView{}} {
		of := reflect.TypeOf(view)
		for field := range of.Fields() {
			value := field.Type == reflect.TypeFor[valueView]() && of == reflect.TypeFor[grantView]()
			if name := field.Tag.Get("json"); !value && !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("the guide does not name %s", name)
			}
		}
	}
}

func TestSARIF(t *testing.T) {
	for _, s := range []string{"word", "", "\xff\u202e", "[x](javascript:alert(1))"} {
		checkSARIF(t, sarifOf(t, everything(func(string) string { return s })))
	}
	checkSARIF(t, sarifOf(t, Report{}))
	contains(t, "a refused rule", sarifOf(t, Report{Rules: []Rule{{Outcome: Refused}}}), []string{`"ruleIndex": 10,
          "level": "error"`})
	seen := map[string]bool{}
	var log sarifLog
	if err := json.Unmarshal([]byte(sarifOf(t, everything(asIs))), &log); err != nil {
		t.Fatal(err)
	}
	for _, r := range log.Runs[0].Results {
		rule := log.Runs[0].Tool.Driver.Rules[r.RuleIndex]
		if rule.ID != r.RuleID || rule.Help.Text == "" {
			t.Errorf("the rule of %s is %+v", r.RuleID, rule)
		}
		seen[r.RuleID] = true
		if hash := r.Fingerprints["primaryLocationLineHash"]; seen[hash] {
			t.Errorf("two findings have one fingerprint: %+v", r)
		} else {
			seen[hash] = true
		}
	}
	for _, rule := range sarifRules {
		if !seen[rule.ID] {
			t.Errorf("nothing breaks the rule %s", rule.ID)
		}
	}
	grants := log.Runs[0].Results[2].Locations[0]
	if grants.Physical.Artifact.URI != "access/grants.tf" || grants.Physical.Region.StartLine != 7 ||
		grants.Logical[0].Name != "jit_grant.dave" {
		t.Errorf("the place of a grant is %+v", grants)
	}
}
