package policy

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func TestJudge(t *testing.T) {
	condition := func(c string) jit.Policy { return oncall(func(p *jit.Policy) { p.Condition = c }) }
	forbid := func(c string, m jit.Match) jit.Policy {
		return jit.Policy{Name: "deny", Effect: jit.Forbid, Match: jit.Matches{m}, Condition: c}
	}
	strict := oncall(func(p *jit.Policy) { p.Name = "strict"; p.MaxTTL = time.Hour })
	other := oncall(func(p *jit.Policy) {
		p.Name = "a-other"
		p.Match[0].Targets = []string{"dev"}
		p.Match[0].Roles = []string{"viewer"}
	})
	for name, tc := range map[string]struct {
		policies  []jit.Policy
		change    func(*Request)
		permitted bool
		policy    string
		attribute string
		rule      string // part of it
	}{
		"the second entry": {policies: []jit.Policy{oncall(func(p *jit.Policy) {
			p.Match = jit.Matches{{Roles: []string{"viewer"}}, p.Match[0]}
		})}, permitted: true, policy: "prod-oncall"},
		"lists of two entries": {policies: []jit.Policy{oncall(func(p *jit.Policy) {
			p.Match = jit.Matches{{Roles: p.Match[0].Roles, Targets: []string{"dev"}}, {Roles: []string{"viewer"},
				Targets: p.Match[0].Targets, Owners: []string{"nobody"}}}
		})}, policy: "prod-oncall", attribute: "target", rule: "match[0].targets of policy \"prod-oncall\""},
		"every entry as near": {policies: []jit.Policy{oncall(func(p *jit.Policy) {
			p.Match = jit.Matches{{Roles: []string{"viewer"}}, {Roles: []string{"editor"}}, {Targets: []string{"dev"},
				Roles: []string{"owner"}}}
		})}, policy: "prod-oncall", attribute: "role", rule: "match[0].roles of policy \"prod-oncall\" are \"viewer\"; the " +
			"grant's role is \"roles/cloudsql.client\"; or match[1].roles of policy \"prod-oncall\" are \"editor\"; the grant's " +
			"role is \"roles/cloudsql.client\""},
		"very many entries as near": {policies: []jit.Policy{oncall(func(p *jit.Policy) {
			p.Match = slices.Repeat(jit.Matches{{Roles: []string{"viewer"}}}, 50)
		})}, policy: "prod-oncall", attribute: "role", rule: "; or one of 47 other entries"},
		"entries as near do not count twice": {policies: []jit.Policy{oncall(func(p *jit.Policy) {
			p.Match = slices.Repeat(jit.Matches{{Roles: []string{"viewer"}}}, 3)
		}), everything("z", jit.Permit)}, permitted: true, policy: "z"},
		"forbid by the second entry": {policies: []jit.Policy{oncall(), {Name: "deny", Effect: jit.Forbid,
			Match: jit.Matches{{Roles: []string{"viewer"}}, {Targets: []string{"prod*"}}}}}, policy: "deny"},
		"forbid by lists of two entries": {policies: []jit.Policy{oncall(), {Name: "deny", Effect: jit.Forbid,
			Match: jit.Matches{{Roles: []string{"viewer"}, Targets: []string{"*"}}, {Targets: []string{"dev"},
				Roles: []string{"*"}}}}}, permitted: true, policy: "prod-oncall"},
		"a condition in days": {policies: []jit.Policy{condition("grant.ttl <= duration('1d12h')")}, permitted: true,
			policy: "prod-oncall"},
		"too short in days": {policies: []jit.Policy{condition("grant.ttl >= duration('7d')")}, policy: "prod-oncall",
			attribute: "ttl", rule: "is false"},
		"no policy":    {permitted: true, rule: "no policy"},
		"kept in full": {policies: []jit.Policy{oncall()}, permitted: true, policy: "prod-oncall", rule: "permits"},
		"exactly max_ttl": {policies: []jit.Policy{oncall()}, change: func(r *Request) { r.Length = 4 * time.Hour },
			permitted: true, policy: "prod-oncall"},
		"a second more": {policies: []jit.Policy{oncall()},
			change: func(r *Request) { r.Length = 4*time.Hour + time.Second },
			policy: "prod-oncall", attribute: "ttl",
			rule: `max_ttl of policy "prod-oncall" is 4h; the grant asks for 4h1s`},
		"target": {policies: []jit.Policy{oncall()}, change: func(r *Request) { r.Binding.Target = "dev" },
			policy: "prod-oncall", attribute: "target",
			rule: `targets of policy "prod-oncall" are "prod*"; the grant's target is "dev"`},
		"platform": {policies: []jit.Policy{oncall()}, change: func(r *Request) { r.Platform = "ssh" },
			policy: "prod-oncall", attribute: "target", rule: `platforms of policy "prod-oncall" are "gcp", "aws_*"`},
		"platform glob": {policies: []jit.Policy{oncall()}, change: func(r *Request) { r.Platform = "aws_iam" },
			permitted: true, policy: "prod-oncall"},
		"principal": {policies: []jit.Policy{oncall()},
			change: func(r *Request) { r.Binding.Principal = "user:eve@example.org" },
			policy: "prod-oncall", attribute: "principal", rule: `"user:eve@example.org"`},
		"role": {policies: []jit.Policy{oncall()}, change: func(r *Request) { r.Binding.Role = "roles/owner" },
			policy: "prod-oncall", attribute: "role", rule: `"roles/owner"`},
		"second glob of a list": {policies: []jit.Policy{oncall()},
			change: func(r *Request) { r.Binding.Role = "ClusterRole/view" }, permitted: true, policy: "prod-oncall"},
		"scope": {policies: []jit.Policy{oncall(func(p *jit.Policy) { p.Match[0].Scopes = []string{"projects/dev-*"} })},
			policy: "prod-oncall", attribute: "scope", rule: `"projects/payments-prod"`},
		"reason": {policies: []jit.Policy{oncall()}, change: func(r *Request) { r.Reason = "because" },
			policy: "prod-oncall", attribute: "reason", rule: `the reason "because" does not match it`},
		"enforcement": {policies: []jit.Policy{oncall()},
			change: func(r *Request) { r.Traits.Enforcement = jit.Sweeper },
			policy: "prod-oncall", attribute: "target", rule: `enforcement of policy "prod-oncall" is native`},
		"session tail": {policies: []jit.Policy{oncall()},
			change: func(r *Request) { r.Traits.SessionTail = 13 * time.Hour },
			policy: "prod-oncall", attribute: "target", rule: `is 12h; on target "prod" the session tail is 13h`},
		"unlimited tail": {policies: []jit.Policy{oncall()},
			change: func(r *Request) { r.Traits.SessionTail = jit.Unlimited },
			policy: "prod-oncall", attribute: "target", rule: "unlimited"},
		"several limits": {policies: []jit.Policy{oncall()},
			change: func(r *Request) { r.Length, r.Reason = 6*time.Hour, "x" },
			policy: "prod-oncall", attribute: "ttl", rule: `asks for 6h; reason_pattern of`},

		"condition false": {policies: []jit.Policy{condition(`grant.ttl < duration("1h")`)},
			policy: "prod-oncall", attribute: "ttl", rule: "is false; grant.ttl is 2h"},
		"condition over several": {policies: []jit.Policy{condition(`grant.ttl < duration("1h") && grant.role == "x"`)},
			policy: "prod-oncall", attribute: "",
			rule: `is false; grant.role is "roles/cloudsql.client"; grant.ttl is 2h`},
		"condition over a person": {policies: []jit.Policy{condition(`"group:leads" in requester.groups`)},
			change: func(r *Request) { r.Requester = &jit.Person{Name: "alice", Groups: []string{"group:a", "group:b"}} },
			policy: "prod-oncall", attribute: "requester",
			rule: `is false; requester.name is "alice"; requester.groups are "group:a", "group:b"`},
		"condition over nobody": {policies: []jit.Policy{condition(`has(requester.name) && has(grant.starts_at)`)},
			policy: "prod-oncall", attribute: "", rule: `is false; requester is not set; grant.starts_at is not set`},
		"condition over an unknown person": {policies: []jit.Policy{condition(`requester.name != "eve"`)},
			change: func(r *Request) { r.Asks = "alice" }, policy: "prod-oncall", attribute: "requester",
			rule: `(no person "alice" is known)`},
		"condition without a start": {policies: []jit.Policy{condition(`grant.starts_at > timestamp("2026-01-01T00:00:00Z")`)},
			policy: "prod-oncall", attribute: "starts_at", rule: "ask has(grant.starts_at) first"},
		"has start": {policies: []jit.Policy{condition(`!has(grant.starts_at)`)}, permitted: true,
			policy: "prod-oncall"},
		"with a start": {policies: []jit.Policy{condition(`has(grant.starts_at) && grant.starts_at.getHours() == 18`)},
			change:    func(r *Request) { r.StartsAt = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC) },
			permitted: true, policy: "prod-oncall"},
		"unlimited tail accepted": {policies: []jit.Policy{oncall(func(p *jit.Policy) { *p.MaxSessionTail = jit.Unlimited })},
			change: func(r *Request) { r.Traits.SessionTail = jit.Unlimited }, policy: "prod-oncall", permitted: true},
		"unlimited tail in a condition": {policies: []jit.Policy{{Name: "tail", Effect: jit.Permit,
			Condition: `grant.session_tail <= duration("100000h")`}},
			change: func(r *Request) { r.Traits.SessionTail = jit.Unlimited },
			policy: "tail", attribute: "target", rule: "is false; grant.session_tail is unlimited"},
		"every field": {policies: []jit.Policy{condition(`grant.owner == "payments" && grant.platform == "gcp" && grant.target == "prod" &&
			grant.principal == "user:alice@example.com" && grant.role == "roles/cloudsql.client" && grant.scope == "projects/payments-prod" &&
			grant.reason.startsWith("INC-4211") && grant.ttl == duration("2h") && grant.enforcement == "native" && grant.session_tail == duration("1h")`)},
			permitted: true, policy: "prod-oncall"},
		"too costly": {policies: []jit.Policy{condition(`[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c,
			[1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, grant.reason.matches("(.*)*z$") == false)))))`)},
			policy: "prod-oncall", attribute: "reason", rule: "cost limit exceeded"},

		"first permit by name": {policies: []jit.Policy{everything("b", jit.Permit), everything("a", jit.Permit)},
			permitted: true, policy: "a"},
		"another permits": {policies: []jit.Policy{strict, oncall()}, permitted: true, policy: "prod-oncall"},
		"nearest by lists": {policies: []jit.Policy{other, strict}, policy: "strict", attribute: "ttl",
			rule: `max_ttl of policy "strict"`},
		"nearest by limits": {policies: []jit.Policy{oncall(func(p *jit.Policy) { p.Name = "a"; p.MaxTTL = time.Hour; p.ReasonPattern = "CHG" }), strict}, policy: "strict", attribute: "ttl"},
		"nearest, tie, by name": {policies: []jit.Policy{strict,
			oncall(func(p *jit.Policy) { p.Name = "a"; p.ReasonPattern = "CHG" })}, policy: "a", attribute: "reason"},

		"forbid wins": {policies: []jit.Policy{oncall(), forbid("", jit.Match{Roles: []string{"*"}})},
			policy: "deny", attribute: "role", rule: `policy "deny" forbids it`},
		"forbid of another target": {policies: []jit.Policy{oncall(),
			forbid("", jit.Match{Roles: []string{"*"}, Targets: []string{"dev"}})}, permitted: true,
			policy: "prod-oncall"},
		"forbid by condition": {policies: []jit.Policy{oncall(),
			forbid(`grant.ttl > duration("1h")`, jit.Match{})}, policy: "deny", attribute: "ttl", rule: "is true"},
		"forbid by a false condition": {policies: []jit.Policy{oncall(),
			forbid(`grant.ttl > duration("3h")`, jit.Match{})}, permitted: true, policy: "prod-oncall"},
		"forbid by an error": {policies: []jit.Policy{oncall(),
			forbid(`grant.starts_at < timestamp("2020-01-01T00:00:00Z")`, jit.Match{})}, policy: "deny",
			attribute: "starts_at", rule: "cannot be evaluated"},
		"only forbids, none matches": {policies: []jit.Policy{forbid("false", jit.Match{})},
			rule: "no policy permits it"},
		"forbid says why": {policies: []jit.Policy{{Name: "deny", Effect: jit.Forbid,
			Description: "never on\nFridays"}}, policy: "deny", rule: "(never on Fridays)"},
		"unknown effect": {policies: []jit.Policy{oncall(), everything("new", "escalate")}, policy: "new",
			rule: `the effect "escalate"`},
		"unknown effect, not matching": {policies: []jit.Policy{oncall(),
			{Name: "new", Effect: "escalate", Match: jit.Matches{{Targets: []string{"dev"}}}}},
			permitted: true, policy: "prod-oncall"},
		"unknown effect, condition false": {policies: []jit.Policy{oncall(),
			{Name: "new", Effect: "escalate", Condition: "false"}}, policy: "new", rule: "escalate"},

		"permit that cannot be read": {policies: []jit.Policy{oncall(func(p *jit.Policy) { p.Match[0].Targets = []string{"["} })},
			policy: "prod-oncall", attribute: "policy", rule: "cannot be read"},
		"permit with an unreadable condition": {policies: []jit.Policy{condition("grant.moon == 1")},
			policy: "prod-oncall", attribute: "policy", rule: "undefined field 'moon'"},
		"permit with an unreadable pattern": {policies: []jit.Policy{oncall(func(p *jit.Policy) { p.ReasonPattern = "(" })}, policy: "prod-oncall", attribute: "policy", rule: "RE2"},
		"forbid that cannot be read": {policies: []jit.Policy{oncall(),
			forbid("grant.moon == 1", jit.Match{Targets: []string{"dev"}})}, policy: "deny",
			rule: "forbids everything until it is corrected"},

		"named": {policies: []jit.Policy{everything("a", jit.Permit), oncall()},
			change: func(r *Request) { r.Named = "prod-oncall" }, permitted: true, policy: "prod-oncall"},
		"named is not kept": {policies: []jit.Policy{everything("a", jit.Permit), strict},
			change: func(r *Request) { r.Named = "strict" },
			policy: "strict", attribute: "ttl", rule: "max_ttl"},
		"named does not match": {policies: []jit.Policy{everything("a", jit.Permit), other},
			change: func(r *Request) { r.Named = "a-other" },
			policy: "a-other", attribute: "target", rule: `roles of policy "a-other" are "viewer"`},
		"named and forbidden": {policies: []jit.Policy{oncall(), everything("deny", jit.Forbid)},
			change: func(r *Request) { r.Named = "prod-oncall" }, policy: "deny"},
		"named forbids": {policies: []jit.Policy{oncall(), forbid("false", jit.Match{})},
			change: func(r *Request) { r.Named = "deny" }, policy: "deny", attribute: "policy",
			rule: "permits nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			r := request()
			if tc.change != nil {
				tc.change(&r)
			}
			v, err := Judge(tc.policies, r)
			if err != nil {
				t.Fatal(err)
			}
			if v.Permitted() != tc.permitted || v.Policy != tc.policy || v.Attribute != tc.attribute || v.Rule == "" ||
				!strings.Contains(v.Rule, tc.rule) {
				t.Errorf("Judge = %+v\nwant permitted %t, policy %q, attribute %q, a rule with %q", v, tc.permitted,
					tc.policy, tc.attribute, tc.rule)
			}
			if compiled, err := compile(tc.policies, &set{}).judge(r); err != nil || !reflect.DeepEqual(compiled, v) {
				t.Errorf("compile(…).judge = %+v, %v; Judge = %+v", compiled, err, v)
			}
		})
	}
}

func TestJudgeUnknownPolicy(t *testing.T) {
	for _, tc := range []struct {
		policies []jit.Policy
		problem  string
	}{
		{nil, "has no policy yet"},
		{[]jit.Policy{everything("b", jit.Permit), everything("a", jit.Forbid)}, `there are "a", "b"`},
	} {
		v, err := Judge(tc.policies, request(func(r *Request) { r.Named = "c" }))
		var e *jit.Error
		if !errors.As(err, &e) || !errors.Is(err, jit.ErrUnknown) || e.Attribute != "policy" ||
			!strings.Contains(e.Problem, tc.problem) || v.Permitted() {
			t.Errorf("Judge = %+v, %v; want not permitted, ErrUnknown about policy with %s", v, err, tc.problem)
		}
	}
}

// Judge sees every change of a policy, although it keeps compiled policies between calls.
func TestJudgeSeesEveryChange(t *testing.T) {
	longer := 13 * time.Hour
	for name, change := range map[string]func(*jit.Policy){
		"name":               func(p *jit.Policy) { p.Name = "renamed" },
		"effect":             func(p *jit.Policy) { p.Effect = jit.Forbid },
		"targets":            func(p *jit.Policy) { p.Match[0].Targets[0] = "dev" },
		"platforms":          func(p *jit.Policy) { p.Match[0].Platforms = []string{"ssh"} },
		"principals":         func(p *jit.Policy) { p.Match[0].Principals[0] = "user:bob@*" },
		"roles":              func(p *jit.Policy) { p.Match[0].Roles = p.Match[0].Roles[1:] },
		"scopes":             func(p *jit.Policy) { p.Match[0].Scopes[0] = "projects/dev" },
		"max_ttl":            func(p *jit.Policy) { p.MaxTTL = time.Hour },
		"reason_pattern":     func(p *jit.Policy) { p.ReasonPattern = "CHG" },
		"condition":          func(p *jit.Policy) { p.Condition = "false" },
		"max_session_tail":   func(p *jit.Policy) { *p.MaxSessionTail = time.Minute },
		"other session tail": func(p *jit.Policy) { p.MaxSessionTail = &longer; p.MaxTTL = time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			policies := []jit.Policy{oncall()}
			before, err := Judge(policies, request())
			if err != nil || !before.Permitted() {
				t.Fatalf("Judge = %+v, %v", before, err)
			}
			change(&policies[0]) // in place: the compiled policies must not share memory
			after, err := Judge(policies, request())
			if err != nil {
				t.Fatal(err)
			}
			if fresh, _ := compile(policies, &set{}).judge(request()); !reflect.DeepEqual(after, fresh) ||
				reflect.DeepEqual(after, before) {
				t.Errorf("after the change Judge = %+v, want %+v", after, fresh)
			}
		})
	}
	t.Run("native", func(t *testing.T) {
		sweeper := request(func(r *Request) { r.Traits.Enforcement = jit.Sweeper })
		for _, native := range []bool{true, false, true} {
			v, err := Judge([]jit.Policy{oncall(func(p *jit.Policy) { p.NativeOnly = native })}, sweeper)
			if err != nil || v.Permitted() == native {
				t.Errorf("Judge with native only %t = %+v, %v", native, v, err)
			}
		}
	})
}

func TestJudgeIsSafeForConcurrentUse(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 50 {
				max := time.Duration(1+(i+n)%3) * time.Hour
				v, err := Judge([]jit.Policy{oncall(func(p *jit.Policy) { p.MaxTTL = max })}, request())
				if err != nil || v.Permitted() != (max >= 2*time.Hour) {
					t.Errorf("Judge with max_ttl %s = %+v, %v", max, v, err)
				}
			}
		})
	}
	wg.Wait()
}

// A condition of the greatest permitted cost ends soon.
func TestConditionIsBounded(t *testing.T) {
	list := "[" + strings.TrimSuffix(strings.Repeat("1,", 100), ",") + "]"
	c := fmt.Sprintf(`%s.all(a, %s.all(b, %s.all(c, grant.reason.matches("(a*)*(b*)*z$") || true)))`, list, list, list)
	reason := func(r *Request) { r.Reason = strings.Repeat("ab", 250) }
	started := time.Now()
	v, err := Judge([]jit.Policy{oncall(func(p *jit.Policy) { p.Condition = c; p.ReasonPattern = "" })},
		request(reason))
	if err != nil || v.Permitted() || !strings.Contains(v.Rule, "cost limit") {
		t.Errorf("Judge = %+v, %v; want the cost limit", v, err)
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestForbidNamesWhatItIsAbout(t *testing.T) {
	for _, tc := range []struct {
		match jit.Match
		want  string
	}{
		{jit.Match{}, ""},
		{jit.Match{Targets: []string{"*"}, Platforms: []string{"*"}}, "target"},
		{jit.Match{Principals: []string{"*"}}, "principal"},
		{jit.Match{Principals: []string{"*"}, Scopes: []string{"*"}}, ""},
	} {
		v, err := Judge([]jit.Policy{{Name: "deny", Effect: jit.Forbid, Match: jit.Matches{tc.match}}}, request())
		if err != nil || v.Permitted() || v.Attribute != tc.want {
			t.Errorf("Judge by %+v = %+v, %v; want attribute %q", tc.match, v, err, tc.want)
		}
	}
}

// A file of a public key has a comment after the key, and the principal of a grant has none.
func TestKeysAreComparedWithoutComments(t *testing.T) {
	const alice = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPJgH1zRz9Nz5vRUOtRnL8+6ujQPyYrwK3uXk5Y0v8m"
	const other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH1zRz9Nz5vRUOtRnL8+6ujQPyYrwK3uXk5Y0v8mGPJg"
	for glob, matches := range map[string]bool{
		alice: true, alice + " alice@laptop": true, alice + " Alice Smith [work] *": true, "ssh-ed25519  " + alice[12:] + " a": true,
		other + " alice@laptop": false, "ssh-rsa " + alice[12:] + " alice": false, alice[:40] + " alice": false,
		"ssh-ed25519 AAAA* alice": false, "ssh-ed25519 AAAA*": true,
	} {
		in := jit.Matches{{Principals: []string{glob}}}
		asks := request(func(r *Request) { r.Binding.Principal = alice })
		if Check(jit.Policy{Name: "keys", Effect: jit.Permit, Match: jit.Matches{{Principals: []string{glob + "\n" + other}}}}) == nil {
			t.Errorf("a file of two keys is accepted: %q", glob)
		}
		for _, effect := range []jit.Effect{jit.Permit, jit.Forbid} {
			p := jit.Policy{Name: "keys", Effect: effect, Match: in}
			if err := Check(p); err != nil {
				t.Errorf("%s %q: %v", effect, glob, err)
			}
			v, err := Judge([]jit.Policy{p, everything("z", jit.Permit)}, asks)
			if effect == jit.Permit {
				v, err = Judge([]jit.Policy{p}, asks)
			}
			if want := matches == (effect == jit.Permit); err != nil || v.Permitted() != want {
				t.Errorf("%s %q: %+v, %v; want permitted %t", effect, glob, v, err, want)
			}
		}
	}
}

// Messages list the names of the fields, so each must exist.
func TestKnownFields(t *testing.T) {
	for name := range fields {
		if err := Check(oncall(func(p *jit.Policy) { p.Condition = "has(grant." + name + ")" })); err != nil {
			t.Errorf("grant.%s: %v", name, err)
		}
	}
	if names, _ := (grants{}).FindStructFieldNames(variables[grantVariable].kind); !slices.Contains(names, "session_tail") ||
		len(names) != len(fields) {
		t.Errorf("CEL knows the fields %v", names)
	}
}
