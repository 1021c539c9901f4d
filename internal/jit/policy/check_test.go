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
			Match:     jit.Match{Roles: []string{"roles/owner"}},
			Condition: `grant.ttl > duration("1h")`},
		"no session may remain": oncall(func(p *jit.Policy) { *p.MaxSessionTail = 0 }),
		"every field": oncall(func(p *jit.Policy) {
			p.Condition = `[grant.owner, grant.platform, grant.target, grant.principal, grant.role, grant.scope, grant.reason, grant.enforcement].all(s, s != "")
				&& grant.ttl > grant.session_tail
				&& (!has(grant.starts_at) || grant.starts_at.getDayOfWeek("Europe/Berlin") != 0)`
		}),
		"long list of alternatives":    oncall(func(p *jit.Policy) { p.Condition = strings.Repeat(`grant.role == "x" || `, 90) + "true" }),
		"strings extension":            oncall(func(p *jit.Policy) { p.Condition = `grant.principal.split("@")[1].lowerAscii() == "example.com"` }),
		"description of several lines": oncall(func(p *jit.Policy) { p.Description = "on call\nmay repair\n" }),
	} {
		t.Run(name, func(t *testing.T) {
			if err := Check(p); err != nil {
				t.Errorf("Check = %v", err)
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
		"name":                   {func(p *jit.Policy) { p.Name = "prod oncall" }, "name", `"prod oncall"`},
		"no effect":              {func(p *jit.Policy) { p.Effect = "" }, "effect", `""`},
		"another effect":         {func(p *jit.Policy) { p.Effect = "allow" }, "effect", `"allow"`},
		"control in description": {func(p *jit.Policy) { p.Description = "a\x1b[2J" }, "description", "U+001B"},
		"empty target": {func(p *jit.Policy) { p.Match.Targets = []string{"prod", ""} }, "match.targets",
			`""`},
		"open set in platform": {func(p *jit.Policy) { p.Match.Platforms = []string{"[a"} }, "match.platforms",
			`"[a"`},
		"lone backslash": {func(p *jit.Policy) { p.Match.Principals = []string{`user:\`} },
			"match.principals", `user:`},
		"descending set": {func(p *jit.Policy) { p.Match.Roles = []string{"[z-a]"} }, "match.roles",
			`"[z-a]"`},
		"line feed in scope": {func(p *jit.Policy) { p.Match.Scopes = []string{"a\nb"} }, "match.scopes",
			"U+000A"},
		"max_ttl of seconds": {func(p *jit.Policy) { p.MaxTTL = 59 * time.Second }, "max_ttl", `"59s"`},
		"max_ttl below zero": {func(p *jit.Policy) { p.MaxTTL = -time.Hour }, "max_ttl", `"-1h"`},
		"reason_pattern": {func(p *jit.Policy) { p.ReasonPattern = "(INC" }, "reason_pattern",
			"missing closing )"},
		"reason_pattern of PCRE": {func(p *jit.Policy) { p.ReasonPattern = "(?=INC)" }, "reason_pattern",
			`"(?=INC)"`},
		"reason_pattern too long": {func(p *jit.Policy) { p.ReasonPattern = strings.Repeat("a", 1001) },
			"reason_pattern", "1001 bytes"},
		"unlimited tail as limit": {tail(jit.Unlimited), "max_session_tail", `"unlimited"`},
		"syntax":                  {condition("grant.ttl <="), "condition", "line 1, column 13"},
		"second line": {condition("true &&\n  grant.prinicpal == \"a\""), "condition",
			"line 2, column 8, of the condition, \"  grant.prinicpal == \\\"a\\\"\": undefined field 'prinicpal'"},
		"no such variable":     {condition("request.ttl > 1"), "condition", "undeclared reference to 'request'"},
		"wrong types":          {condition(`grant.ttl < "4h"`), "condition", "no matching overload"},
		"not a bool":           {condition("grant.ttl"), "condition", "google.protobuf.Duration"},
		"dynamic":              {condition(`dyn(grant.owner == "a")`), "condition", "dyn"},
		"bad duration literal": {condition(`grant.ttl < duration("2d")`), "condition", "invalid duration"},
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
