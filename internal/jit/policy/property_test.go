package policy

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The generators draw from few values, so that policies often match requests.
var (
	drawRequest = rapid.Custom(func(t *rapid.T) Request {
		r := Request{
			Owner:    rapid.SampledFrom([]string{"jit", "payments"}).Draw(t, "owner"),
			Platform: rapid.SampledFrom([]string{"gcp", "ssh"}).Draw(t, "platform"),
			Binding: jit.Binding{
				Target:    rapid.SampledFrom([]string{"prod", "dev"}).Draw(t, "target"),
				Principal: rapid.SampledFrom([]string{"user:a@x", "user:b@x"}).Draw(t, "principal"),
				Role:      rapid.SampledFrom([]string{"view", "admin"}).Draw(t, "role"),
				Scope:     rapid.SampledFrom([]string{"", "s/1"}).Draw(t, "scope"),
			},
			Reason: rapid.SampledFrom([]string{"INC-1: x", "why not"}).Draw(t, "reason"),
			Length: time.Duration(rapid.IntRange(1, 5).Draw(t, "hours")) * time.Hour,
			Traits: jit.Traits{
				Enforcement: rapid.SampledFrom([]jit.Enforcement{jit.Native, jit.Sweeper}).Draw(t, "enforcement"),
				SessionTail: rapid.SampledFrom([]time.Duration{0, time.Hour, jit.Unlimited}).Draw(t, "tail"),
			},
		}
		if rapid.Bool().Draw(t, "starts later") {
			r.StartsAt = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
		}
		return r
	})
	drawMatches = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) jit.Match {
		globs := func(name string, from ...string) []string {
			return rapid.SliceOfN(rapid.SampledFrom(from), 0, 2).Draw(t, name)
		}
		return jit.Match{
			Targets:    globs("targets", "*", "prod", "d*"),
			Platforms:  globs("platforms", "*", "ssh"),
			Principals: globs("principals", "user:*", "user:[!a]@x"),
			Roles:      globs("roles", "*", "view"),
			Scopes:     globs("scopes", "*", "s/?", "["),
		}
	}), 0, 3)
	drawCondition = rapid.SampledFrom([]string{"", "", "true", "false", `grant.ttl < duration("3h")`,
		`grant.starts_at.getHours() == 18`, `grant.nothing == 1`})
)

func drawPolicy(name string, effects ...jit.Effect) *rapid.Generator[jit.Policy] {
	return rapid.Custom(func(t *rapid.T) jit.Policy {
		p := jit.Policy{
			Name:      name,
			Effect:    rapid.SampledFrom(effects).Draw(t, "effect"),
			Match:     drawMatches.Draw(t, "match"),
			Condition: drawCondition.Draw(t, "condition"),
		}
		if p.Effect == jit.Permit {
			p.MaxTTL = time.Duration(rapid.IntRange(0, 4).Draw(t, "max_ttl")) * time.Hour
			p.ReasonPattern = rapid.SampledFrom([]string{"", "^INC-"}).Draw(t, "reason_pattern")
			p.NativeOnly = rapid.Bool().Draw(t, "native")
			if rapid.Bool().Draw(t, "has tail") {
				limit := time.Duration(rapid.IntRange(0, 2).Draw(t, "max_session_tail")) * time.Hour
				p.MaxSessionTail = &limit
			}
		}
		return p
	})
}

// drawPolicies draws policies with different names.
func drawPolicies(t *rapid.T, least int, effects ...jit.Effect) []jit.Policy {
	policies := make([]jit.Policy, rapid.IntRange(least, 5).Draw(t, "policies"))
	for i := range policies {
		policies[i] = drawPolicy(fmt.Sprintf("p%d", i), effects...).Draw(t, "policy")
	}
	return policies
}

func mustJudge(t *rapid.T, policies []jit.Policy, r Request) jit.Verdict {
	v, err := Judge(policies, r)
	if err != nil {
		t.Fatalf("Judge: %v", err)
	}
	return v
}

var anyEffect = []jit.Effect{jit.Permit, jit.Permit, jit.Forbid, "unheard of"}

func TestPropertyForbidWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policies := append(drawPolicies(t, 0, anyEffect...),
			everything(rapid.SampledFrom([]string{"a", "z"}).Draw(t, "name"), jit.Forbid))
		r := drawRequest.Draw(t, "request")
		if rapid.Bool().Draw(t, "named") {
			r.Named = policies[0].Name
		}
		if v := mustJudge(t, policies, r); v.Permitted() {
			t.Fatalf("%+v, although a policy forbids everything", v)
		}
	})
}

// A policy with several entries permits and forbids what as many policies with one entry each would.
func TestPropertyEntriesAreAlternatives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policies := append(drawPolicies(t, 1, anyEffect...), everything("z", jit.Permit))
		r := drawRequest.Draw(t, "request")
		p := &policies[0]
		if compileRule(*p).broken != nil { // which breaks the policy as a whole
			p.Condition, p.Match = "", jit.Matches{{Roles: []string{"view"}}, {Targets: []string{"d*"}}}
		}
		apart := slices.Clone(policies[1:])
		for i, entry := range p.Match.Entries() {
			alone := *p
			alone.Name, alone.Match = fmt.Sprintf("p0-%d", i), jit.Matches{entry}
			apart = append(apart, alone)
		}
		together, one := mustJudge(t, policies, r), mustJudge(t, apart, r)
		if together.Outcome != one.Outcome {
			t.Fatalf("together %+v, apart %+v", together, one)
		}
		permits := []jit.Policy{*p, everything("f", jit.Permit)}
		permits[1].Match = jit.Matches{{Targets: []string{"nowhere"}}}
		got := mustJudge(t, permits, r).Permitted()
		want := p.Effect == jit.Permit && slices.ContainsFunc(apart[len(policies)-1:], func(alone jit.Policy) bool {
			return mustJudge(t, []jit.Policy{alone, permits[1]}, r).Permitted()
		})
		if got != want {
			t.Fatalf("permitted: %v, by one of the entries: %v", got, want)
		}
	})
}

func TestPropertyOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policies, r := drawPolicies(t, 0, anyEffect...), drawRequest.Draw(t, "request")
		want := mustJudge(t, policies, r)
		shuffled := slices.Clone(policies)
		rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)).Shuffle(len(shuffled), func(i, j int) {
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
		})
		if got := mustJudge(t, shuffled, r); !reflect.DeepEqual(got, want) {
			t.Fatalf("in another order: %+v, want %+v", got, want)
		}
	})
}

func TestPropertyMorePermitsPermitMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// The first policy is the one exception: without it, no policy governs.
		policies, r := drawPolicies(t, 1, anyEffect...), drawRequest.Draw(t, "request")
		if rapid.Bool().Draw(t, "named") {
			r.Named = policies[0].Name
		}
		before := mustJudge(t, policies, r)
		after := mustJudge(t, append(slices.Clone(policies), drawPolicy("added", jit.Permit).Draw(t, "added")), r)
		if before.Permitted() && !after.Permitted() {
			t.Fatalf("one more permit turned %+v into %+v", before, after)
		}
		if r.Named != "" && !reflect.DeepEqual(after, before) {
			t.Fatalf("a policy that is not the named one turned %+v into %+v", before, after)
		}
	})
}

func TestPropertyMoreForbidsPermitLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policies, r := drawPolicies(t, 0, anyEffect...), drawRequest.Draw(t, "request")
		before := mustJudge(t, policies, r)
		after := mustJudge(t, append(slices.Clone(policies),
			drawPolicy("added", jit.Forbid, "unheard of").Draw(t, "added")), r)
		if after.Permitted() && !before.Permitted() {
			t.Fatalf("one more policy that does not permit turned %+v into %+v", before, after)
		}
	})
}

func TestPropertyShorterIsNeverWorse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policies, r := drawPolicies(t, 0, anyEffect...), drawRequest.Draw(t, "request")
		for i := range policies {
			policies[i].Condition = "" // a condition may ask for anything
		}
		shorter := r
		shorter.Length /= 2
		if mustJudge(t, policies, r).Permitted() && !mustJudge(t, policies, shorter).Permitted() {
			t.Fatal("a grant of half the length is not permitted")
		}
	})
}

func TestPropertyVerdictExplainsItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policies, r := drawPolicies(t, 0, anyEffect...), drawRequest.Draw(t, "request")
		v := mustJudge(t, policies, r)
		if v.Rule == "" {
			t.Fatalf("%+v says nothing", v)
		}
		i := slices.IndexFunc(policies, func(p jit.Policy) bool { return p.Name == v.Policy })
		if v.Policy != "" && i < 0 {
			t.Fatalf("%+v names a policy that is not there", v)
		}
		if !v.Permitted() || len(policies) == 0 {
			return
		}
		if i < 0 || policies[i].Effect != jit.Permit {
			t.Fatalf("%+v is permitted by no permit", v)
		}
		// Alone, and named, the policy has to permit it too.
		r.Named = v.Policy
		if alone := mustJudge(t, policies[i:i+1], r); !alone.Permitted() {
			t.Fatalf("%+v, but alone: %+v", v, alone)
		}
	})
}
