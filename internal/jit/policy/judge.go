package policy

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"sync/atomic"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// set is a compiled list of policies. It is safe for concurrent use.
type set struct {
	source []*rule // in the order given
	rules  []*rule // by name
}

// compile compiles policies and reuses the rules of known that are still the same. A policy that [Check] refuses is no
// error here: as a permit it permits nothing, and as a forbid it forbids everything.
func compile(policies []jit.Policy, known *set) *set {
	compiled := map[string]*rule{}
	for _, c := range known.rules {
		compiled[c.Name] = c
	}
	s := &set{source: make([]*rule, len(policies))}
	for i, p := range policies {
		c, ok := compiled[p.Name]
		if !ok || !c.compiles(p) {
			c = compileRule(p)
		}
		s.source[i] = c
	}
	byName := func(a, b *rule) int { return cmp.Compare(a.Name, b.Name) }
	s.rules = slices.SortedStableFunc(slices.Values(s.source), byName)
	return s
}

// compiles reports whether the rule was compiled from p as it is now. The holder of a policy decides nothing.
func (c *rule) compiles(p jit.Policy) bool {
	p.Holder = c.Holder
	return reflect.DeepEqual(c.Policy, p)
}

// last is the set that [Judge] used last. A plan judges a thousand grants by the same policies, and compiling them for
// each would take most of its time.
var last atomic.Pointer[set]

// Judge says what policies make of a grant. The grant is permitted if one permit (the one that it names, if it names
// one) is kept in full and no other policy applies to it; without any policy it is permitted. The error is
// [jit.ErrUnknown] if the grant names a policy that does not exist.
func Judge(policies []jit.Policy, r Request) (jit.Verdict, error) {
	return compiledIn(&last, policies).judge(r)
}

// compiledIn returns the compiled policies, and keeps them in a place for the next call.
func compiledIn(place *atomic.Pointer[set], policies []jit.Policy) *set {
	s := place.Load()
	if s == nil || !slices.EqualFunc(s.source, policies, (*rule).compiles) {
		s = compile(policies, cmp.Or(s, &set{}))
		place.Store(s)
	}
	return s
}

// Foregone is [Judge] before the platform has been asked. It refuses what is refused whatever the platform may say
// about names and session tails, and permits everything else for now.
func Foregone(policies []jit.Policy, r Request) (jit.Verdict, error) {
	r.early = true
	return Judge(policies, r)
}

func (s *set) judge(r Request) (jit.Verdict, error) {
	r.complete()
	permits := slices.DeleteFunc(slices.Clone(s.rules), func(c *rule) bool { return c.Effect != jit.Permit })
	if r.Named != "" {
		named, err := s.find(r.Named)
		if err != nil {
			return jit.Verdict{}, err
		}
		if named.Effect != jit.Permit {
			return jit.Verdict{Policy: named.Name, Attribute: "policy",
				Rule: fmt.Sprintf("policy %q permits nothing: its effect is %q", named.Name, named.Effect)}, nil
		}
		permits = []*rule{named}
	}
	if len(s.rules) == 0 {
		return jit.Verdict{Outcome: jit.Permitted, Rule: "there is no policy; nothing governs the grant"}, nil
	}
	if v, forbidden := s.forbidding(&r); forbidden {
		return v, nil
	}
	if len(permits) == 0 {
		return jit.Verdict{Rule: "no policy permits it: every policy is a forbid"}, nil
	}
	return nearest(permits, &r), nil
}

// forbidding returns the verdict of the first policy that forbids the grant. While names are still unknown, a policy
// that may forbid it does not count.
func (s *set) forbidding(r *Request) (v jit.Verdict, forbidden bool) {
	for _, c := range s.rules {
		if c.Effect == jit.Permit {
			continue
		}
		if f, applies := c.forbids(r); applies == yes || applies == maybe && !r.early {
			return jit.Verdict{Policy: c.Name, Rule: f.text, Attribute: f.attribute}, true
		}
	}
	return v, false
}

// maxLimits is more than the number of a policy's limits: a list that does not match counts more than all limits
// broken.
const maxLimits = 100

// nearest permits the grant by the first permit that it keeps in full, if possible by one that needs no approval.
// Otherwise it names the permit that the grant is nearest to: the fewest lists that do not match, then the fewest broken
// limits.
func nearest(permits []*rule, r *Request) (best jit.Verdict) {
	fewest := math.MaxInt
	for _, c := range permits {
		failed := c.mismatches(r)
		distance := len(failed) * maxLimits
		if distance == 0 {
			failed = c.violations(r)
			distance = len(failed)
		}
		if distance == 0 {
			v := c.permit(r)
			if v.Permitted() {
				return v
			}
			if fewest > 0 {
				fewest, best = 0, v
			}
			continue
		}
		if distance < fewest {
			fewest = distance
			best = jit.Verdict{Policy: c.Name, Rule: texts(failed), Attribute: failed[0].attribute}
		}
	}
	return best
}

// find returns the policy of that name.
func (s *set) find(name string) (*rule, error) {
	names := make([]string, len(s.rules))
	for i, c := range s.rules {
		if c.Name == name {
			return c, nil
		}
		names[i] = c.Name
	}
	problem, first := fmt.Sprintf("there is no policy %q; the ledger has no policy yet", name), ""
	if len(names) > 0 {
		problem, first = fmt.Sprintf("there is no policy %q; there are %s", name, quoted(names)), "name one of them, "
	}
	return nil, &jit.Error{
		Attribute: "policy",
		Problem:   problem,
		Hint:      first + "leave policy out, or apply the policy first (in the same plan: policy = jit_policy.x.name)",
		Err:       jit.ErrUnknown,
	}
}
