package policy

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Set is a compiled list of policies. It is safe for concurrent use.
type Set struct {
	rules  []*rule // in the order of their names
	source []*rule // in the order in which they were given
}

// Compile prepares policies for judging. A policy that [Check] would refuse is no
// error here: it permits nothing, and one that forbids and cannot be read forbids everything.
func Compile(policies []jit.Policy) *Set { return compile(policies, nil) }

// compile is [Compile]; it takes from known what is already compiled there.
func compile(policies []jit.Policy, known *Set) *Set {
	compiled := map[string]*rule{}
	if known != nil {
		for _, c := range known.rules {
			compiled[c.Name] = c
		}
	}
	s := &Set{source: make([]*rule, len(policies))}
	for i, p := range policies {
		if c, ok := compiled[p.Name]; ok && same(c.Policy, p) {
			s.source[i] = c
		} else {
			s.source[i] = compileRule(p)
		}
	}
	s.rules = slices.SortedStableFunc(slices.Values(s.source), func(a, b *rule) int { return cmp.Compare(a.Name, b.Name) })
	return s
}

// last is the set that [Judge] used last. A plan judges a thousand grants by the same
// policies; compiling them for each would take longer than everything else in it.
var last atomic.Pointer[Set]

// Judge says what policies make of a grant; it is [Compile] and [Set.Judge], with
// the compiled policies remembered from one call to the next.
func Judge(policies []jit.Policy, r Request) (jit.Verdict, error) {
	return remembered(policies).Judge(r)
}

// Foregone is [Judge] before the platform has been asked. It refuses what is refused whatever the platform may say of
// names and session tails, and permits everything else for now.
func Foregone(policies []jit.Policy, r Request) (jit.Verdict, error) {
	r.early = true
	return remembered(policies).Judge(r)
}

// remembered returns the compiled policies.
func remembered(policies []jit.Policy) *Set {
	s := last.Load()
	if s == nil || !slices.EqualFunc(s.source, policies, func(c *rule, p jit.Policy) bool { return same(c.Policy, p) }) {
		s = compile(policies, s)
		last.Store(s)
	}
	return s
}

// Judge says what the policies make of a grant. It is permitted if one permitting policy (the
// one that it names, if it names one) matches and is kept in full, and no policy
// forbids it; without any policy it is permitted. The error is [jit.ErrUnknown] when it names a
// policy that does not exist.
func (s *Set) Judge(r Request) (jit.Verdict, error) {
	r.complete()
	candidates := slices.DeleteFunc(slices.Clone(s.rules), func(c *rule) bool { return c.Effect != jit.Permit })
	if r.Named != "" {
		named, err := s.find(r.Named)
		if err != nil {
			return jit.Verdict{}, err
		}
		if named.Effect != jit.Permit {
			return jit.Verdict{Policy: named.Name, Attribute: "policy",
				Rule: fmt.Sprintf("policy %q does not permit anything: its effect is %q", named.Name, named.Effect)}, nil
		}
		candidates = []*rule{named}
	}
	if len(s.rules) == 0 {
		return jit.Verdict{Outcome: jit.Permitted, Rule: "there is no policy; nothing governs the grant"}, nil
	}
	for _, c := range s.rules {
		if c.Effect == jit.Permit {
			continue
		}
		if f, applies := c.forbids(&r); applies == yes || applies == maybe && !r.early {
			return jit.Verdict{Policy: c.Name, Rule: f.text, Attribute: f.attribute}, nil
		}
	}
	if len(candidates) == 0 {
		return jit.Verdict{Rule: "no policy permits it: there are only policies that forbid"}, nil
	}
	return nearest(candidates, &r), nil
}

// maxLimits is more than a policy has limits: a list that does not match is further away
// than all limits broken.
const maxLimits = 100

// nearest permits the grant by the first candidate that it keeps in full, or names the one
// that it comes nearest to: the fewest lists that do not match, then the fewest limits broken.
func nearest(candidates []*rule, r *Request) jit.Verdict {
	var best jit.Verdict
	fewest := math.MaxInt
	for _, c := range candidates {
		failed := c.mismatches(r)
		distance := len(failed) * maxLimits
		if distance == 0 {
			failed = c.violations(r)
			distance = len(failed)
		}
		if distance == 0 {
			return jit.Verdict{Outcome: jit.Permitted, Policy: c.Name, Rule: fmt.Sprintf("policy %q permits it", c.Name),
				SweeperAccepted: c.SweeperAccepted, TailAccepted: c.MaxSessionTail != nil}
		}
		if distance >= fewest {
			continue
		}
		fewest = distance
		texts := make([]string, len(failed))
		for i, f := range failed {
			texts[i] = f.text
		}
		best = jit.Verdict{Policy: c.Name, Rule: strings.Join(texts, "; "), Attribute: failed[0].attribute}
	}
	return best
}

// find returns the policy of that name.
func (s *Set) find(name string) (*rule, error) {
	names := make([]string, len(s.rules))
	for i, c := range s.rules {
		if c.Name == name {
			return c, nil
		}
		names[i] = c.Name
	}
	exist := "there is none"
	if len(names) > 0 {
		exist = "there are " + quoted(names)
	}
	return nil, &jit.Error{
		Attribute: "policy",
		Problem:   fmt.Sprintf("there is no policy %q; %s", name, exist),
		Hint:      "name one of them, leave policy out, or apply the policy first (in the same plan: policy = jit_policy.x.name)",
		Err:       jit.ErrUnknown,
	}
}
