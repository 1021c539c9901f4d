package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// rule is one policy, compiled. It is safe for concurrent use.
type rule struct {
	jit.Policy
	globs     [][]glob // as lists
	reason    *regexp.Regexp
	condition *condition
	// broken is why the policy could not be compiled. Such a policy permits nothing and,
	// if it is not a permit, forbids everything: it can only take away.
	broken error
}

// compileRule compiles p and keeps a copy of it.
func compileRule(p jit.Policy) *rule {
	c := &rule{Policy: clone(p), globs: make([][]glob, len(lists))}
	for i, l := range lists {
		for _, pattern := range *l.globs(&p.Match) {
			g, err := compileGlob("match."+l.name, pattern, l.name == roleList)
			if err != nil {
				c.broken = err
				return c
			}
			c.globs[i] = append(c.globs[i], g)
		}
	}
	if p.ReasonPattern != "" {
		if c.reason, c.broken = compileReason(p.ReasonPattern); c.broken != nil {
			return c
		}
	}
	if p.Condition != "" {
		c.condition, c.broken = compileCondition(p.Condition)
	}
	return c
}

// failure is one rule of a policy that a grant does not keep.
type failure struct{ attribute, text string }

// mismatches returns a failure for each list that does not match.
func (c *rule) mismatches(r *Request) []failure {
	if c.broken != nil {
		return []failure{{"policy", fmt.Sprintf("policy %q cannot be read (%v)", c.Name, c.broken)}}
	}
	var failed []failure
	for i, l := range lists {
		if !c.permitsAll(i, r) && !(r.early && l.of(r).Unresolved) {
			failed = append(failed, c.mismatch(i, r))
		}
	}
	return failed
}

// violations returns a failure for each limit that a grant that matches breaks.
func (c *rule) violations(r *Request) []failure {
	var failed []failure
	fail := func(attribute, format string, args ...any) {
		failed = append(failed, failure{attribute, fmt.Sprintf(format, args...)})
	}
	if c.MaxTTL != 0 && r.Length > c.MaxTTL {
		fail("ttl", "max_ttl of policy %q is %s; the grant asks for %s", c.Name, jit.FormatDuration(c.MaxTTL), jit.FormatDuration(r.Length))
	}
	if c.reason != nil && !r.ReasonLost && (r.Reason == "" || !c.reason.MatchString(r.Reason)) {
		fail("reason", "reason_pattern of policy %q is %q; the reason %q does not match it", c.Name, c.ReasonPattern, r.Reason)
	}
	if c.NativeOnly && r.Traits.Enforcement != jit.Native {
		fail("target", "enforcement of policy %q is native; on target %q the grant would be ended by a sweeper", c.Name, r.Binding.Target)
	}
	if limit := c.MaxSessionTail; limit != nil && !r.early && (r.Traits.SessionTail < 0 || r.Traits.SessionTail > *limit) {
		fail("target", "max_session_tail of policy %q is %s; on target %q the session tail is %s", c.Name, jit.FormatTail(*limit), r.Binding.Target, jit.FormatTail(r.Traits.SessionTail))
	}
	if c.condition != nil && !(r.early && c.condition.open(r)) {
		switch held, err := c.condition.holds(r); {
		case err != nil:
			fail(c.condition.attribute, "condition of policy %q, %q, cannot be evaluated (%v)", c.Name, c.Condition, err)
		case !held:
			fail(c.condition.attribute, "condition of policy %q, %q, is false", c.Name, c.Condition)
		}
	}
	return failed
}

// forbids says whether a policy that does not permit applies to the grant, and in which words. An answer of maybe means
// that it may apply under a name that is not known.
func (c *rule) forbids(r *Request) (failure, answer) {
	text := fmt.Sprintf("policy %q forbids it", c.Name)
	if c.broken != nil {
		return failure{"", fmt.Sprintf("policy %q cannot be read (%v) and forbids everything until it is corrected", c.Name, c.broken)}, yes
	}
	applies := yes
	for i, l := range lists {
		by, matches := c.forbidsAny(i, r)
		if matches == no {
			return failure{}, no
		}
		applies = min(applies, matches)
		if by != "" && by != r.written(l.name) {
			text += fmt.Sprintf(", since its %s gives %q", l.noun, by)
		}
	}
	pattern := ""
	if c.condition != nil {
		held, unjudged, err := c.condition.applies(r)
		switch {
		case err != nil:
			text = fmt.Sprintf("policy %q forbids it because its condition, %q, cannot be evaluated (%v)", c.Name, c.Condition, err)
		case held == yes:
			text = fmt.Sprintf("policy %q forbids it: its condition, %q, is true", c.Name, c.Condition)
		case c.condition.open(r):
			applies = maybe
		case c.Effect == jit.Forbid && held == no:
			return failure{}, no
		case c.Effect == jit.Forbid:
			applies, pattern = maybe, unjudged
		}
		if r.early && c.condition.open(r) {
			applies = maybe
		}
	}
	if c.Effect != jit.Forbid {
		text = fmt.Sprintf("policy %q has the effect %q, which is neither permit nor forbid, and is taken to forbid", c.Name, c.Effect)
	}
	switch {
	case pattern != "":
		text = fmt.Sprintf("policy %q may forbid it: its condition, %q, cannot be judged for what this access includes, %q; use match", c.Name, c.Condition, pattern)
	case applies == maybe:
		text = fmt.Sprintf("policy %q may forbid it: not every name of what is asked for is known", c.Name)
	}
	if c.Description != "" {
		text += fmt.Sprintf(" (%s)", strings.Join(strings.Fields(c.Description), " "))
	}
	return failure{c.subject(), text}, applies
}

// subject returns the one attribute of a grant that the policy is about, or "".
func (c *rule) subject() string {
	if c.condition != nil {
		return c.condition.attribute
	}
	about := ""
	for i, l := range lists {
		switch {
		case len(c.globs[i]) == 0:
		case about != "" && about != l.attribute:
			return ""
		default:
			about = l.attribute
		}
	}
	return about
}

// tail writes a limit on the session tail.
func tail(d *time.Duration) string {
	if d == nil {
		return ""
	}
	return jit.FormatTail(*d)
}

// quoted lists globs or names for a message.
func quoted(names []string) string {
	q := make([]string, len(names))
	for i, name := range names {
		q[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(q, ", ")
}

// clone copies p with all that it points to.
func clone(p jit.Policy) jit.Policy {
	for _, l := range lists {
		list := l.globs(&p.Match)
		*list = slices.Clone(*list)
	}
	if p.MaxSessionTail != nil {
		limit := *p.MaxSessionTail
		p.MaxSessionTail = &limit
	}
	return p
}

// same reports whether a and b are the same policy.
func same(a, b jit.Policy) bool {
	for _, l := range lists {
		if !slices.Equal(*l.globs(&a.Match), *l.globs(&b.Match)) {
			return false
		}
	}
	return a.Name == b.Name && a.Description == b.Description && a.Effect == b.Effect &&
		a.MaxTTL == b.MaxTTL && a.ReasonPattern == b.ReasonPattern && a.NativeOnly == b.NativeOnly && a.SweeperAccepted == b.SweeperAccepted &&
		a.Condition == b.Condition && tail(a.MaxSessionTail) == tail(b.MaxSessionTail) && (a.MaxSessionTail == nil) == (b.MaxSessionTail == nil)
}
