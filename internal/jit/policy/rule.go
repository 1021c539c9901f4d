package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// rule is one policy, compiled. It is safe for concurrent use.
type rule struct {
	jit.Policy
	entries   []entry // of its match; at least one
	reason    *regexp.Regexp
	condition *condition
	// unless are the exceptions of the approval list, by entry; nil where there is none.
	unless []*condition
	// glassReason is the reason pattern of break_glass; nil if there is none.
	glassReason *regexp.Regexp
	// broken is why the policy could not be compiled. Such a policy only takes away: a permit permits nothing, and any
	// other policy forbids everything.
	broken error
}

// compileRule compiles p and keeps a copy of it.
func compileRule(p jit.Policy) *rule {
	c := &rule{Policy: clone(p)}
	for i, m := range c.Match.Entries() {
		e, err := compileEntry(entryAt(i), m)
		if err != nil {
			c.broken = err
			return c
		}
		c.entries = append(c.entries, e)
	}
	if p.ReasonPattern != "" {
		if c.reason, c.broken = compileReason(p.ReasonPattern); c.broken != nil {
			return c
		}
	}
	if p.Condition != "" {
		if c.condition, c.broken = compileCondition(p.Condition); c.broken != nil {
			return c
		}
	}
	c.broken = c.compileApproval()
	return c
}

// failure is one part of a policy that a grant does not keep. attribute is the attribute of the grant to blame.
type failure struct{ attribute, text string }

// maxNearest bounds the entries that a refusal describes.
const maxNearest = 3

// mismatches returns nothing if an entry matches. Otherwise it returns a failure for each list that does not match of
// the entry that lacks the fewest. The last failure also describes the other entries that lack as few.
func (c *rule) mismatches(r *Request) (failed []failure) {
	if c.broken != nil {
		return []failure{{"policy", fmt.Sprintf("policy %q cannot be read (%v)", c.Name, c.broken)}}
	}
	var near [][]failure
	for i := range c.entries {
		lacks := c.mismatchesOf(i, r)
		if len(lacks) == 0 {
			return nil
		}
		if len(near) > 0 && len(lacks) < len(near[0]) {
			near = nil
		}
		if len(near) == 0 || len(lacks) == len(near[0]) {
			near = append(near, lacks)
		}
	}
	failed = near[0]
	more := &failed[len(failed)-1].text
	for _, other := range near[1:min(len(near), maxNearest)] {
		*more += "; or " + texts(other)
	}
	if len(near) > maxNearest {
		*more += fmt.Sprintf("; or one of %d other entries", len(near)-maxNearest)
	}
	return failed
}

// texts joins the texts of failures.
func texts(failed []failure) string {
	return join(failed, "; ", func(f failure) string { return f.text })
}

// mismatchesOf returns a failure for each list of an entry that does not match.
func (c *rule) mismatchesOf(entry int, r *Request) (failed []failure) {
	e, at := &c.entries[entry], ""
	if len(c.entries) > 1 {
		at = entryAt(entry)
	}
	for i, l := range lists {
		if !e.permitsAll(i, r) && !(r.early && l.named(r).Unresolved) {
			failed = append(failed, c.mismatch(e, at, i, r))
		}
	}
	return failed
}

// limits are the limits of a permit. name is the attribute of the policy, blames the attribute of the grant. value is
// the limit as text; empty if the policy sets none. breach says how the grant breaks the limit; empty if it keeps it.
var limits = []struct {
	name, blames string
	value        func(*jit.Policy) string
	breach       func(*rule, *Request) string
}{
	{"max_ttl", "ttl", func(p *jit.Policy) string {
		if p.MaxTTL == 0 {
			return ""
		}
		return jit.FormatDuration(p.MaxTTL)
	}, func(c *rule, r *Request) string {
		if r.Length <= c.MaxTTL {
			return ""
		}
		return fmt.Sprintf("is %s; the grant asks for %s", jit.FormatDuration(c.MaxTTL), jit.FormatDuration(r.Length))
	}},
	{"reason_pattern", "reason", func(p *jit.Policy) string {
		return p.ReasonPattern
	}, func(c *rule, r *Request) string {
		if r.ReasonLost || reasonMatches(c.reason, r.Reason) {
			return ""
		}
		return fmt.Sprintf("is %q; the reason %q does not match it", c.ReasonPattern, r.Reason)
	}},
	{"enforcement", "target", func(p *jit.Policy) string {
		if !p.NativeOnly {
			return ""
		}
		return string(jit.Native)
	}, func(_ *rule, r *Request) string {
		if r.Traits.Enforcement == jit.Native {
			return ""
		}
		return fmt.Sprintf("is native; on target %q a sweeper would end the grant", r.Binding.Target)
	}},
	{"max_session_tail", "target", func(p *jit.Policy) string {
		if p.MaxSessionTail == nil {
			return ""
		}
		return jit.FormatTail(*p.MaxSessionTail)
	}, func(c *rule, r *Request) string {
		limit, tail := *c.MaxSessionTail, r.Traits.SessionTail
		if r.early || limit == jit.Unlimited || tail >= 0 && tail <= limit {
			return ""
		}
		return fmt.Sprintf("is %s; on target %q the session tail is %s",
			jit.FormatTail(limit), r.Binding.Target, jit.FormatTail(tail))
	}},
}

// violations returns a failure for each limit that a matching grant breaks.
func (c *rule) violations(r *Request) (failed []failure) {
	for _, l := range limits {
		if l.value(&c.Policy) == "" {
			continue
		}
		if breach := l.breach(c, r); breach != "" {
			failed = append(failed, failure{l.blames, fmt.Sprintf("%s of policy %q %s", l.name, c.Name, breach)})
		}
	}
	if breach := c.condition.breach(r); breach != "" {
		text := fmt.Sprintf("condition of policy %q, %q, %s", c.Name, c.Condition, breach)
		failed = append(failed, failure{c.condition.attribute, text})
	}
	return append(failed, c.glassViolations(r)...)
}

// forbids reports whether a policy other than a permit applies to the grant, and why. It answers maybe if the policy
// may apply under a name that is unknown. An unknown effect forbids whatever the lists match.
func (c *rule) forbids(r *Request) (failure, answer) {
	if c.broken != nil {
		return failure{text: fmt.Sprintf("policy %q cannot be read (%v) and forbids everything until it is corrected",
			c.Name, c.broken)}, yes
	}
	text, applies := c.matches(r)
	switch {
	case applies == no:
		return failure{}, no
	case c.Effect != jit.Forbid:
		text = fmt.Sprintf("policy %q has the effect %q, which is neither permit nor forbid; it counts as forbid",
			c.Name, c.Effect)
	case c.condition != nil:
		because, held := c.conditionForbids(r)
		if held == no {
			return failure{}, no
		}
		if held <= applies { // the less certain of the two explains the answer
			text, applies = because, held
		}
	}
	if c.Description != "" {
		text += fmt.Sprintf(" (%s)", strings.Join(strings.Fields(c.Description), " "))
	}
	return failure{c.subject(), text}, applies
}

// matches reports whether an entry matches something that the grant gives, and says so for a message. The most certain
// entry answers.
func (c *rule) matches(r *Request) (text string, applies answer) {
	for i := range c.entries {
		if because, matches := c.matchesEntry(&c.entries[i], r); matches > applies {
			text, applies = because, matches
		}
	}
	return text, applies
}

// matchesEntry reports whether every list of an entry matches something that the grant gives.
func (c *rule) matchesEntry(e *entry, r *Request) (text string, applies answer) {
	text, applies = fmt.Sprintf("policy %q forbids it", c.Name), yes
	for i, l := range lists {
		by, matches := e.forbidsAny(i, r)
		if matches == no {
			return "", no
		}
		applies = min(applies, matches)
		if by != "" && by != l.written(r) {
			text += fmt.Sprintf(", since its %s gives %q", l.noun, by)
		}
	}
	if applies == maybe {
		text = c.unnamed()
	}
	return text, applies
}

// conditionForbids reports whether the condition of a forbid holds, and says so for a message.
func (c *rule) conditionForbids(r *Request) (text string, held answer) {
	held, pattern, err := c.condition.applies(r)
	open := c.condition.open(r)
	switch {
	case open && (r.early || err == nil && held != yes):
		return c.unnamed(), maybe
	case err != nil:
		return fmt.Sprintf("policy %q forbids it because its condition, %q, cannot be evaluated (%v)",
			c.Name, c.Condition, err), yes
	case held == yes:
		return fmt.Sprintf("policy %q forbids it: its condition, %q, is true", c.Name, c.Condition), yes
	}
	return fmt.Sprintf("policy %q may forbid it: its condition, %q, cannot be judged for the access that this grant "+
		"includes, %q; use match", c.Name, c.Condition, pattern), held
}

// unnamed says that the policy may apply under a name that is unknown.
func (c *rule) unnamed() string {
	return fmt.Sprintf("policy %q may forbid it: not every name in the request is known", c.Name)
}

// subject returns the one attribute of a grant that the policy is about, or "".
func (c *rule) subject() string {
	if c.condition != nil {
		return c.condition.attribute
	}
	about := map[string]bool{}
	for _, e := range c.entries {
		for i, l := range lists {
			if len(e.globs[i]) > 0 {
				about[l.attribute()] = true
			}
		}
	}
	return only(about)
}

// only returns the one name in a set; "" if there are several.
func only(names map[string]bool) (name string) {
	if len(names) == 1 {
		for name = range names {
		}
	}
	return name
}

// quoted lists globs or names for a message.
func quoted(names []string) string { return join(names, ", ", strconv.Quote) }

func join[T any](all []T, separator string, text func(T) string) string {
	texts := make([]string, len(all))
	for i, one := range all {
		texts[i] = text(one)
	}
	return strings.Join(texts, separator)
}

// clone copies p with all that it points to.
func clone(p jit.Policy) jit.Policy {
	p.Match = slices.Clone(p.Match)
	for i := range p.Match {
		for _, l := range lists {
			list := l.globs(&p.Match[i])
			*list = slices.Clone(*list)
		}
	}
	if p.MaxSessionTail != nil {
		p.MaxSessionTail = new(*p.MaxSessionTail)
	}
	p.Approval = slices.Clone(p.Approval)
	for i, r := range p.Approval {
		p.Approval[i].From, p.Approval[i].Evidence = slices.Clone(r.From), slices.Clone(r.Evidence)
	}
	if p.BreakGlass != nil {
		p.BreakGlass = new(*p.BreakGlass)
		p.BreakGlass.From = slices.Clone(p.BreakGlass.From)
	}
	return p
}
