package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// approved returns oncall with an approval by the leads, and a break_glass for those on call.
func approved(change ...func(*jit.Policy)) jit.Policy {
	return oncall(append([]func(*jit.Policy){func(p *jit.Policy) {
		p.Approval = []jit.Requirement{{Required: 1, From: []string{"group:leads"}}}
		p.BreakGlass = &jit.BreakGlass{From: []string{"group:oncall"}, MaxTTL: 3 * time.Hour, ReasonPattern: "^INC-"}
	}}, change...)...)
}

func unless(expression string) func(*jit.Policy) {
	return func(p *jit.Policy) { p.Approval[0].Unless = expression }
}

func TestJudgeApproval(t *testing.T) {
	alice := &jit.Person{Name: "alice", Groups: []string{"group:oncall"}}
	glass := func(p *jit.Person, change ...func(*Request)) func(*Request) {
		return func(r *Request) {
			r.Requester, r.BreakGlass = p, true
			for _, c := range change {
				c(r)
			}
		}
	}
	for name, c := range map[string]struct {
		policies  []jit.Policy
		change    func(*Request)
		outcome   jit.Outcome
		policy    string
		attribute string
		broke     bool
		required  int
	}{
		"asks for it":               {[]jit.Policy{approved()}, nil, jit.NeedsApproval, "prod-oncall", "", false, 1},
		"another needs none":        {[]jit.Policy{approved(), everything("z", jit.Permit)}, nil, jit.Permitted, "z", "", false, 0},
		"another refuses":           {[]jit.Policy{approved(), oncall(func(p *jit.Policy) { p.Name, p.MaxTTL = "z", time.Hour })}, nil, jit.NeedsApproval, "prod-oncall", "", false, 1},
		"a forbid wins":             {[]jit.Policy{approved(), everything("z", jit.Forbid)}, nil, jit.Refused, "z", "", false, 0},
		"a limit is broken":         {[]jit.Policy{approved()}, func(r *Request) { r.Length = 5 * time.Hour }, jit.Refused, "prod-oncall", "ttl", false, 0},
		"the exception holds":       {[]jit.Policy{approved(unless(`grant.ttl <= duration("2h")`))}, nil, jit.Permitted, "prod-oncall", "", false, 0},
		"the exception is false":    {[]jit.Policy{approved(unless(`grant.ttl < duration("2h")`))}, nil, jit.NeedsApproval, "prod-oncall", "", false, 1},
		"the exception fails":       {[]jit.Policy{approved(unless(`grant.principal.split(":")[7] == ""`))}, nil, jit.NeedsApproval, "prod-oncall", "", false, 1},
		"of a requester":            {[]jit.Policy{approved(unless(`"group:oncall" in requester.groups`))}, func(r *Request) { r.Requester = alice }, jit.Permitted, "prod-oncall", "", false, 0},
		"of a name":                 {[]jit.Policy{approved(unless(`requester.name == "alice"`))}, func(r *Request) { r.Requester = alice }, jit.Permitted, "prod-oncall", "", false, 0},
		"of a requester unknown":    {[]jit.Policy{approved(unless(`"group:oncall" in requester.groups`))}, nil, jit.NeedsApproval, "prod-oncall", "", false, 1},
		"not of an unknown one":     {[]jit.Policy{approved(unless(`!("group:oncall" in requester.groups)`))}, nil, jit.NeedsApproval, "prod-oncall", "", false, 1},
		"a condition, unknown":      {[]jit.Policy{oncall(func(p *jit.Policy) { p.Condition = `requester.name != "eve"` })}, nil, jit.Refused, "prod-oncall", "requester", false, 0},
		"a condition, known":        {[]jit.Policy{oncall(func(p *jit.Policy) { p.Condition = `requester.name != "eve"` })}, func(r *Request) { r.Requester = alice }, jit.Permitted, "prod-oncall", "", false, 0},
		"break-glass":               {[]jit.Policy{approved()}, glass(alice), jit.Permitted, "prod-oncall", "", true, 1},
		"break-glass not needed":    {[]jit.Policy{approved(unless("true"))}, glass(alice), jit.Permitted, "prod-oncall", "", false, 0},
		"break-glass by nobody":     {[]jit.Policy{approved()}, glass(nil), jit.Refused, "prod-oncall", "requester", false, 0},
		"break-glass by another":    {[]jit.Policy{approved()}, glass(&jit.Person{Name: "eve"}), jit.Refused, "prod-oncall", "requester", false, 0},
		"break-glass too long":      {[]jit.Policy{approved()}, glass(alice, func(r *Request) { r.Length = 4 * time.Hour }), jit.Refused, "prod-oncall", "ttl", false, 0},
		"break-glass, other reason": {[]jit.Policy{approved()}, glass(alice, func(r *Request) { r.Reason = "CHG-1: x" }), jit.Refused, "prod-oncall", "reason", false, 0},
		"break-glass, forbidden":    {[]jit.Policy{approved(), everything("z", jit.Forbid)}, glass(alice), jit.Refused, "z", "", false, 0},
		"break-glass, not offered":  {[]jit.Policy{oncall()}, glass(alice), jit.Refused, "prod-oncall", "break_glass", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := request()
			if c.change != nil {
				c.change(&r)
			}
			v, err := Judge(c.policies, r)
			if err != nil {
				t.Fatal(err)
			}
			if v.Outcome != c.outcome || v.Policy != c.policy || v.Attribute != c.attribute || v.BrokeGlass != c.broke ||
				len(v.Approval) != c.required {
				t.Errorf("got %+v\nwant %s by %q, attribute %q, broke %t, %d required", v, c.outcome, c.policy, c.attribute,
					c.broke, c.required)
			}
		})
	}
	if v, err := Foregone([]jit.Policy{approved()}, request()); err != nil || !v.Permitted() {
		t.Errorf("before the platform was asked: %+v, %v", v, err)
	}
}

func TestCheckApproval(t *testing.T) {
	for name, c := range map[string]struct {
		change    func(*jit.Policy)
		attribute string
	}{
		"nobody required":      {func(p *jit.Policy) { p.Approval[0].Required = 0 }, "approval[0].required"},
		"from nobody":          {func(p *jit.Policy) { p.Approval[0].From = nil }, "approval[0].from"},
		"from an empty name":   {func(p *jit.Policy) { p.Approval[0].From = []string{""} }, "approval[0].from"},
		"from an empty group":  {func(p *jit.Policy) { p.Approval[0].From = []string{"group:"} }, "approval[0].from"},
		"evidence by word":     {func(p *jit.Policy) { p.Approval[0].Evidence = []jit.Evidence{"mail"} }, "approval[0].evidence"},
		"valid for a second":   {func(p *jit.Policy) { p.Approval[0].ValidFor = time.Second }, "approval[0].valid_for"},
		"a misspelt field":     {unless("grant.tll > duration('1h')"), "approval[0].unless"},
		"an impossible one":    {unless("1/0 == 1"), "approval[0].unless"},
		"a misspelt requester": {unless("requester.team == 'x'"), "approval[0].unless"},
		"the requester itself": {unless("requester == requester"), "approval[0].unless"},
		"a forbid":             {func(p *jit.Policy) { *p = jit.Policy{Name: "p", Effect: jit.Forbid, Approval: p.Approval} }, "approval"},
		"glass without need":   {func(p *jit.Policy) { p.Approval = nil }, "break_glass"},
		"glass for nobody":     {func(p *jit.Policy) { p.BreakGlass.From = nil }, "break_glass.from"},
		"glass for a second":   {func(p *jit.Policy) { p.BreakGlass.MaxTTL = time.Second }, "break_glass.max_ttl"},
		"glass with a pattern": {func(p *jit.Policy) { p.BreakGlass.ReasonPattern = "(" }, "break_glass.reason_pattern"},
	} {
		t.Run(name, func(t *testing.T) {
			p := approved()
			c.change(&p)
			err := Check(p)
			if err == nil || !strings.HasPrefix(err.Error(), c.attribute+": ") {
				t.Errorf("got %v, want an error about %s", err, c.attribute)
			}
			if p.Effect == jit.Permit && c.attribute != "approval[0].required" {
				return
			}
			if v := mustVerdict(t, p); v.Permitted() {
				t.Errorf("and yet it permits: %+v", v)
			}
		})
	}
	if err := Check(approved(unless(`requester.name == "bob" || "group:x" in requester.groups`))); err != nil {
		t.Error(err)
	}
}
