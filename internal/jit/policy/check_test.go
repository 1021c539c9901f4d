package policy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func TestCheckAccepts(t *testing.T) {
	for name, p := range map[string]jit.Policy{
		"every limit": oncall(),
		"only a name": everything("a", jit.Permit),
		"forbid with a condition": {Name: "no-owner", Effect: jit.Forbid,
			Match:     jit.Matches{{Roles: []string{"roles/owner"}}},
			Condition: `grant.ttl > duration("1h")`},
		"every session is accepted": oncall(func(p *jit.Policy) { *p.MaxSessionTail = jit.Unlimited }),
		"no session may remain":     oncall(func(p *jit.Policy) { *p.MaxSessionTail = 0 }),
		"every field": oncall(func(p *jit.Policy) {
			p.Condition = `[grant.owner, grant.platform, grant.target, grant.principal, grant.role, grant.scope, grant.reason, grant.enforcement].all(s, s != "")
				&& grant.ttl > grant.session_tail
				&& (!has(grant.starts_at) || grant.starts_at.getDayOfWeek("Europe/Berlin") != 0)`
		}),
		"long list of alternatives":    oncall(func(p *jit.Policy) { p.Condition = strings.Repeat(`grant.role == "x" || `, 90) + "true" }),
		"strings extension":            oncall(func(p *jit.Policy) { p.Condition = `grant.principal.split("@")[1].lowerAscii() == "example.com"` }),
		"a role named so":              oncall(func(p *jit.Policy) { p.Match[0].Roles = []string{"Reader If Needed", "X if mfa"} }),
		"description of several lines": oncall(func(p *jit.Policy) { p.Description = "on call\nmay repair\n" }),
	} {
		t.Run(name, func(t *testing.T) {
			if err := Check(p); err != nil {
				t.Errorf("Check = %v", err)
			}
		})
	}
}

// TestHintsCanBeCopied: a hint names what to write in the place that it is about.
func TestHintsCanBeCopied(t *testing.T) {
	for want, c := range map[string]string{
		`timestamp("2026-12-01T00:00:00Z")`: `grant.starts_at > timestamp('2026-12-01')`,
		`duration("7d")`:                    `grant.ttl < duration('1w')`,
		"compare with ==":                   `grant.role = 'x'`,
	} {
		err := Check(oncall(func(p *jit.Policy) { p.Condition = c }))
		if about := (&jit.Error{}); !errors.As(err, &about) || !strings.Contains(about.Hint, want) {
			t.Errorf("%s: %v; want a hint with %s", c, err, want)
		}
	}
	match := []any{map[string]any{"targets": []any{"a"}}}
	entry := map[string]any{"required": "1", "from": []any{"bob"}}
	for want, w := range map[string]Written{
		`write valid_for = "7d"`: {"match": match, "approval": []any{map[string]any{"required": "1",
			"from": []any{"bob"}, "valid_for": "1w"}}},
		`write max_ttl = "7d"`: {"match": match, "approval": []any{entry},
			"break_glass": map[string]any{"from": []any{"bob"}, "max_ttl": "1w"}},
		"remove the entry; without the list": {"match": []any{map[string]any{"targets": []any{}}}},
		"remove the null":                    {"match": []any{map[string]any{"targets": []any{"a", nil}}}},
	} {
		_, err := w.Policy()
		if about := (&jit.Error{}); !errors.As(err, &about) || !strings.Contains(about.Hint, want) {
			t.Errorf("%v; want a hint with %s", err, want)
		}
	}
}

// TestCheckSurvivesBrokenParts: whatever cannot be compiled is refused beside approval too.
func TestCheckSurvivesBrokenParts(t *testing.T) {
	for attribute, breaks := range map[string]func(*jit.Policy){
		"match[0].roles":  func(p *jit.Policy) { p.Match[0].Roles = []string{"[a"} },
		"reason_pattern":  func(p *jit.Policy) { p.ReasonPattern = "(" },
		"condition":       func(p *jit.Policy) { p.Condition = "grant." },
		"approval.unless": func(p *jit.Policy) { p.Approval[0].Unless = "grant." },
	} {
		t.Run(attribute, func(t *testing.T) {
			err := Check(approved(unless("grant.ttl < duration(\"2h\")"), breaks))
			about := (&jit.Error{})
			attribute := strings.Replace(attribute, "approval", "approval[0]", 1)
			if !errors.As(err, &about) || about.Attribute != attribute {
				t.Errorf("Check = %v, want a refusal of %s", err, attribute)
			}
		})
	}
}

func TestCheckRefuses(t *testing.T) {
	forbid := func(change func(*jit.Policy)) func(*jit.Policy) {
		return func(p *jit.Policy) {
			*p = everything("none", jit.Forbid)
			change(p)
		}
	}
	condition := func(c string) func(*jit.Policy) { return func(p *jit.Policy) { p.Condition = c } }
	tail := func(d time.Duration) func(*jit.Policy) { return func(p *jit.Policy) { p.MaxSessionTail = &d } }
	for name, tc := range map[string]struct {
		change    func(*jit.Policy)
		attribute string
		problem   string // part of it
	}{
		"name":           {func(p *jit.Policy) { p.Name = "prod oncall" }, "name", `"prod oncall"`},
		"no effect":      {func(p *jit.Policy) { p.Effect = "" }, "effect", `""`},
		"another effect": {func(p *jit.Policy) { p.Effect = "allow" }, "effect", `"allow"`},
		"conditions after IF": {forbid(func(p *jit.Policy) {
			p.Match = jit.Matches{{Roles: []string{"Admin"}}, {Roles: []string{"Reader*", "Admin IF mfa"}}}
		}), "match[1].roles", `"Admin IF mfa"`},
		"control in description": {func(p *jit.Policy) { p.Description = "a\x1b[2J" }, "description", "U+001B"},
		"empty target": {func(p *jit.Policy) { p.Match[0].Targets = []string{"prod", ""} }, "match[0].targets",
			`""`},
		"open set in platform": {func(p *jit.Policy) { p.Match[0].Platforms = []string{"[a"} }, "match[0].platforms",
			`"[a"`},
		"lone backslash": {func(p *jit.Policy) { p.Match[0].Principals = []string{`user:\`} },
			"match[0].principals", `user:`},
		"descending set": {func(p *jit.Policy) { p.Match[0].Roles = []string{"[z-a]"} }, "match[0].roles",
			`"[z-a]"`},
		"line feed in scope": {func(p *jit.Policy) { p.Match[0].Scopes = []string{"a\nb"} }, "match[0].scopes",
			"U+000A"},
		"max_ttl of seconds": {func(p *jit.Policy) { p.MaxTTL = 59 * time.Second }, "max_ttl", `"59s"`},
		"max_ttl below zero": {func(p *jit.Policy) { p.MaxTTL = -time.Hour }, "max_ttl", `"-1h"`},
		"reason_pattern": {func(p *jit.Policy) { p.ReasonPattern = "(INC" }, "reason_pattern",
			"missing closing )"},
		"reason_pattern of PCRE": {func(p *jit.Policy) { p.ReasonPattern = "(?=INC)" }, "reason_pattern",
			`"(?=INC)"`},
		"reason_pattern too long": {func(p *jit.Policy) { p.ReasonPattern = strings.Repeat("a", 1001) },
			"reason_pattern", "1001 bytes"},
		"tail below zero": {tail(-time.Hour), "max_session_tail", `"-1h"`},
		"syntax":          {condition("grant.ttl <="), "condition", "line 1, column 13"},
		"second line": {condition("true &&\n  grant.prinicpal == \"a\""), "condition",
			"line 2, column 8, of the condition, \"  grant.prinicpal == \\\"a\\\"\": undefined field 'prinicpal'"},
		"no such variable": {condition("request.ttl > 1"), "condition", "undeclared reference to 'request'"},
		"wrong types":      {condition(`grant.ttl < "4h"`), "condition", "no matching overload"},
		"not a bool":       {condition("grant.ttl"), "condition", "google.protobuf.Duration"},
		"dynamic":          {condition(`dyn(grant.owner == "a")`), "condition", "dyn"},
		"bad duration literal": {condition(`grant.ttl < duration("2 days")`), "condition",
			`"2 days" is not a duration; it takes whole numbers of d, h, m and s`},
		"bad timestamp literal": {condition(`grant.starts_at < timestamp("tomorrow")`), "condition",
			"invalid timestamp"},
		"bad regex literal": {condition(`grant.reason.matches("(")`), "condition", "invalid matches"},
		"too long":          {condition(strings.Repeat("true && ", 300) + "true"), "condition", "2404 bytes"},
		"too deep": {condition(strings.Repeat("(", 400) + "true" + strings.Repeat(")", 400)),
			"condition", "recursion limit exceeded"},
		"construction of a grant": {condition(`jit.Grant{owner: "a"}.owner == "a"`), "condition", "as a whole"},
		"the whole grant":         {condition(`grant == grant`), "condition", "as a whole"},
		"a way around the types":  {condition(`dyn(grant).moon == 1`), "condition", "as a whole"},
		"forbid with max_ttl":     {forbid(func(p *jit.Policy) { p.MaxTTL = 4 * time.Hour }), "max_ttl", `"4h"`},
		"forbid with reason": {forbid(func(p *jit.Policy) { p.ReasonPattern = "INC" }), "reason_pattern",
			`"INC"`},
		"forbid with native":       {forbid(func(p *jit.Policy) { p.NativeOnly = true }), "enforcement", `"native"`},
		"forbid with session tail": {forbid(tail(0)), "max_session_tail", `"0s"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check(oncall(tc.change))
			var e *jit.Error
			if !errors.As(err, &e) || !errors.Is(err, jit.ErrInvalid) {
				t.Fatalf("Check = %v, want a *jit.Error of the kind ErrInvalid", err)
			}
			if e.Attribute != tc.attribute || !strings.Contains(e.Problem, tc.problem) || e.Hint == "" {
				t.Errorf("Check = attribute %q, problem %q, hint %q; want attribute %q, a problem with %q and a hint",
					e.Attribute, e.Problem, e.Hint, tc.attribute, tc.problem)
			}
		})
	}
}
