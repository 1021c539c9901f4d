package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// lists are the lists of a match in the order in which they are judged.
var lists = []struct {
	name      string // in match
	noun      string // what of the grant it is about
	attribute string // what a user changes to change that
	globs     func(jit.Match) []string
	of        func(*Request) string
}{
	{"targets", "target", "target", func(m jit.Match) []string { return m.Targets }, func(r *Request) string { return r.Binding.Target }},
	{"platforms", "platform", "target", func(m jit.Match) []string { return m.Platforms }, func(r *Request) string { return r.Platform }},
	{"principals", "principal", "principal", func(m jit.Match) []string { return m.Principals }, func(r *Request) string { return r.Binding.Principal }},
	{"roles", "role", "role", func(m jit.Match) []string { return m.Roles }, func(r *Request) string { return r.Binding.Role }},
	{"scopes", "scope", "scope", func(m jit.Match) []string { return m.Scopes }, func(r *Request) string { return r.Binding.Scope }},
}

// rule is one policy, compiled. It is safe for concurrent use.
type rule struct {
	jit.Policy
	globs     [][]jit.Glob // as lists
	reason    *regexp.Regexp
	condition *condition
	// broken is why the policy could not be compiled. Such a policy permits nothing and,
	// if it is not a permit, forbids everything: it can only take away.
	broken error
}

// compileRule compiles p and keeps a copy of it.
func compileRule(p jit.Policy) *rule {
	c := &rule{Policy: clone(p), globs: make([][]jit.Glob, len(lists))}
	for i, l := range lists {
		for _, pattern := range l.globs(p.Match) {
			glob, err := jit.ParseGlob("match."+l.name, pattern)
			if err != nil {
				c.broken = err
				return c
			}
			c.globs[i] = append(c.globs[i], glob)
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
		value := l.of(r)
		if len(c.globs[i]) == 0 || slices.ContainsFunc(c.globs[i], func(g jit.Glob) bool { return g.Match(value) }) {
			continue
		}
		failed = append(failed, failure{l.attribute, fmt.Sprintf("%s of policy %q are %s; the grant's %s is %q", l.name, c.Name, quoted(l.globs(c.Match)), l.noun, value)})
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
	if c.reason != nil && !r.ReasonLost && !c.reason.MatchString(r.Reason) {
		fail("reason", "reason_pattern of policy %q is %q; the reason %q does not match it", c.Name, c.ReasonPattern, r.Reason)
	}
	if c.NativeOnly && r.Traits.Enforcement != jit.Native {
		fail("target", "enforcement of policy %q is native; on target %q the grant would be ended by a sweeper", c.Name, r.Binding.Target)
	}
	if limit := c.MaxSessionTail; limit != nil && (r.Traits.SessionTail < 0 || r.Traits.SessionTail > *limit) {
		fail("target", "max_session_tail of policy %q is %s; on target %q the session tail is %s", c.Name, jit.FormatTail(*limit), r.Binding.Target, jit.FormatTail(r.Traits.SessionTail))
	}
	if c.condition != nil {
		switch held, err := c.condition.holds(r); {
		case err != nil:
			fail(c.condition.attribute, "condition of policy %q, %q, cannot be evaluated (%v)", c.Name, c.Condition, err)
		case !held:
			fail(c.condition.attribute, "condition of policy %q, %q, is false", c.Name, c.Condition)
		}
	}
	return failed
}

// forbids reports whether a policy that does not permit applies to the grant, and in which words.
func (c *rule) forbids(r *Request) (failure, bool) {
	attribute, text := c.subject(), fmt.Sprintf("policy %q forbids it", c.Name)
	switch {
	case c.broken != nil:
		return failure{"", fmt.Sprintf("policy %q cannot be read (%v) and forbids everything until it is corrected", c.Name, c.broken)}, true
	case len(c.mismatches(r)) > 0:
		return failure{}, false
	case c.condition != nil:
		held, err := c.condition.holds(r)
		switch {
		case err != nil:
			text = fmt.Sprintf("policy %q forbids it because its condition, %q, cannot be evaluated (%v)", c.Name, c.Condition, err)
		case held:
			text = fmt.Sprintf("policy %q forbids it: its condition, %q, is true", c.Name, c.Condition)
		case c.Effect == jit.Forbid:
			return failure{}, false
		}
	}
	if c.Effect != jit.Forbid {
		text = fmt.Sprintf("policy %q has the effect %q, which is neither permit nor forbid, and is taken to forbid", c.Name, c.Effect)
	}
	if c.Description != "" {
		text += fmt.Sprintf(" (%s)", strings.Join(strings.Fields(c.Description), " "))
	}
	return failure{attribute, text}, true
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
	p.Match = jit.Match{
		Targets:    slices.Clone(p.Match.Targets),
		Platforms:  slices.Clone(p.Match.Platforms),
		Principals: slices.Clone(p.Match.Principals),
		Roles:      slices.Clone(p.Match.Roles),
		Scopes:     slices.Clone(p.Match.Scopes),
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
		if !slices.Equal(l.globs(a.Match), l.globs(b.Match)) {
			return false
		}
	}
	return a.Name == b.Name && a.Description == b.Description && a.Effect == b.Effect &&
		a.MaxTTL == b.MaxTTL && a.ReasonPattern == b.ReasonPattern && a.NativeOnly == b.NativeOnly &&
		a.Condition == b.Condition && tail(a.MaxSessionTail) == tail(b.MaxSessionTail) && (a.MaxSessionTail == nil) == (b.MaxSessionTail == nil)
}
