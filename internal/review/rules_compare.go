package review

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/policy"
)

// matchNames are the lists of a match.
var matchNames = []string{"targets", "platforms", "owners", "principals", "roles", "scopes"}

// comparison collects the differences of a policy or a person.
type comparison struct {
	subject string
	all     []aspect
}

func (c *comparison) add(loosens bool, format string, args ...any) {
	c.all = append(c.all, says(loosens, fmt.Sprintf(format, args...))...)
}

// comparePolicy tells how a policy differs from what it was; was is nil for a new one. subject names it.
func comparePolicy(was *jit.Policy, is jit.Policy, subject string) []aspect {
	c := comparison{subject: subject}
	switch {
	case was == nil && is.Effect == jit.Forbid:
		c.add(false, "%s is new and forbids %s", subject, matched(is.Match))
		return c.all
	case was == nil:
		c.add(true, "%s is new and permits %s", subject, matched(is.Match))
		return c.all
	case was.Name != is.Name:
		c.add(false, "%s was named %q before", subject, was.Name)
	}
	if was.Effect != is.Effect {
		c.add(is.Effect == jit.Permit, "the effect of %s changes from %s to %s", subject, was.Effect, is.Effect)
		if is.Effect == jit.Forbid {
			return c.all
		}
		was = &jit.Policy{Match: is.Match} // all that the new permit gives is more
	}
	c.matches(was.Match, is.Match, is.Effect == jit.Forbid)
	c.condition(was.Condition, is.Condition, is.Effect == jit.Forbid)
	c.longer("max_ttl", was.MaxTTL, is.MaxTTL)
	c.tail(was.MaxSessionTail, is.MaxSessionTail)
	c.pattern("reason_pattern", was.ReasonPattern, is.ReasonPattern)
	switch {
	case was.NativeOnly && !is.NativeOnly:
		c.add(true, "%s no longer asks for enforcement = \"native\"", subject)
	case !was.NativeOnly && is.NativeOnly:
		c.add(false, "%s asks for enforcement = \"native\"", subject)
	}
	c.approval(was.Approval, is.Approval)
	c.glass(was.BreakGlass, is.BreakGlass)
	return c.all
}

// matched says in words what a match covers.
func matched(all jit.Matches) string {
	entries := make([]string, len(all.Entries()))
	for i, m := range all.Entries() {
		entries[i] = entry(m)
	}
	return strings.Join(entries, ", or ")
}

// entry says in words what an entry of a match covers.
func entry(m jit.Match) string {
	var parts []string
	for _, name := range matchNames {
		if globs := *policy.Globs(&m, name); len(globs) > 0 {
			parts = append(parts, name+" "+strings.Join(globs, ", "))
		}
	}
	if len(parts) == 0 {
		return "every grant"
	}
	return strings.Join(parts, "; ")
}

// matches compares what is matched. More is wider for a policy that permits, less for one that forbids. An entry that
// another one covers adds nothing beside it.
func (c *comparison) matches(was, is jit.Matches, forbids bool) {
	added, removed := entriesBeyond(is, was), entriesBeyond(was, is)
	if len(added) == 1 && len(removed) == 1 && !coveredBy(added[0], entriesBeyond(was, removed)) {
		c.lists(removed[0], added[0], forbids)
		return
	}
	for _, m := range added {
		c.add(!forbids && !coveredBy(m, was.Entries()), "the match of %s also has the entry %s", c.subject, entry(m))
	}
	for _, m := range removed {
		c.add(forbids && !coveredBy(m, is.Entries()), "the match of %s no longer has the entry %s", c.subject, entry(m))
	}
}

// entriesBeyond returns the entries of a match that another one lacks.
func entriesBeyond(all, other jit.Matches) (more jit.Matches) {
	for _, m := range all.Entries() {
		same := func(o jit.Match) bool { return coveredBy(m, []jit.Match{o}) && coveredBy(o, []jit.Match{m}) }
		if !slices.ContainsFunc(other.Entries(), same) {
			more = append(more, m)
		}
	}
	return more
}

// coveredBy reports whether one of the entries has all globs of another one in each of its lists.
func coveredBy(m jit.Match, entries []jit.Match) bool {
	return slices.ContainsFunc(entries, func(wider jit.Match) bool {
		return !slices.ContainsFunc(matchNames, func(name string) bool {
			globs, others := *policy.Globs(&m, name), *policy.Globs(&wider, name)
			return len(others) > 0 && (len(globs) == 0 || len(beyond(globs, others)) > 0)
		})
	})
}

// lists compares the lists of an entry.
func (c *comparison) lists(was, is jit.Match, forbids bool) {
	for _, name := range matchNames {
		before, after := *policy.Globs(&was, name), *policy.Globs(&is, name)
		added, removed := beyond(after, before), beyond(before, after)
		switch {
		case len(before) > 0 && len(after) == 0:
			c.add(!forbids, "%s matches all %s, not only %s", c.subject, name, strings.Join(before, ", "))
		case len(before) == 0 && len(after) > 0:
			c.add(forbids, "%s matches only the %s %s", c.subject, name, strings.Join(after, ", "))
		default:
			if len(added) > 0 {
				c.add(!forbids, "%s also matches the %s %s", c.subject, name, strings.Join(added, ", "))
			}
			if len(removed) > 0 {
				c.add(forbids, "%s no longer matches the %s %s", c.subject, name, strings.Join(removed, ", "))
			}
		}
	}
}

// beyond returns the entries of a list that another one lacks.
func beyond(list, other []string) (more []string) {
	for _, entry := range list {
		if !slices.Contains(other, entry) {
			more = append(more, entry)
		}
	}
	return more
}

// condition compares conditions. Two of them cannot be compared.
func (c *comparison) condition(was, is string, forbids bool) {
	switch {
	case was == is:
	case was == "":
		c.add(forbids, "%s has the condition %s", c.subject, is)
	case is == "":
		c.add(!forbids, "%s has no condition any more; it was %s", c.subject, was)
	default:
		c.add(true, "the condition of %s is changed from %s to %s", c.subject, was, is)
	}
}

// longer compares limits of which 0 is none.
func (c *comparison) longer(what string, was, is time.Duration) {
	limit := func(d time.Duration) string {
		if d == 0 {
			return "no limit"
		}
		return jit.FormatDuration(d)
	}
	switch {
	case was == is:
	case is == 0 || was != 0 && is > was:
		c.add(true, "%s of %s grows from %s to %s", what, c.subject, limit(was), limit(is))
	default:
		c.add(false, "%s of %s shrinks from %s to %s", what, c.subject, limit(was), limit(is))
	}
}

// tail compares limits of the session tail. None accepts as much as an unlimited one.
func (c *comparison) tail(was, is *time.Duration) {
	before, now := cmp.Or(was, new(jit.Unlimited)), cmp.Or(is, new(jit.Unlimited))
	switch {
	case *before == *now:
	case is == nil:
		c.add(true, "max_session_tail of %s, %s, is dropped", c.subject, jit.FormatTail(*was))
	case was == nil:
		c.add(false, "max_session_tail of %s is %s", c.subject, jit.FormatTail(*is))
	default:
		wider := *was >= 0 && (*is < 0 || *is > *was)
		c.add(wider, "max_session_tail of %s is changed from %s to %s", c.subject, jit.FormatTail(*was),
			jit.FormatTail(*is))
	}
}

// pattern compares regular expressions. Two of them cannot be compared.
func (c *comparison) pattern(what, was, is string) {
	switch {
	case was == is:
	case was == "":
		c.add(false, "%s of %s is %s", what, c.subject, is)
	case is == "":
		c.add(true, "%s of %s, %s, is dropped", what, c.subject, was)
	default:
		c.add(true, "%s of %s is changed from %s to %s", what, c.subject, was, is)
	}
}

// approval compares the entries of an approval. An entry that another one covers asks for no less.
func (c *comparison) approval(was, is []jit.Requirement) {
	left := slices.Clone(is)
	for i, entry := range was {
		if at := slices.IndexFunc(left, func(r jit.Requirement) bool { return len(lessThan(r, entry)) == 0 }); at >= 0 {
			if !left[at].Equal(entry) {
				c.add(false, "an entry of approval of %s asks for more: %s", c.subject, requirement(left[at]))
			}
			left = slices.Delete(left, at, at+1)
			continue
		}
		if i < len(is) && len(is) == len(was) {
			at := slices.IndexFunc(left, is[i].Equal)
			if at >= 0 {
				left = slices.Delete(left, at, at+1)
			}
			c.add(true, "approval[%d] of %s asks for less: %s", i, c.subject, strings.Join(lessThan(is[i], entry),
				"; "))
			continue
		}
		c.add(true, "%s no longer asks for the approval of %s", c.subject, requirement(entry))
	}
	for _, entry := range left {
		c.add(false, "%s also asks for the approval of %s", c.subject, requirement(entry))
	}
}

func requirement(r jit.Requirement) string {
	return fmt.Sprintf("%d of %s", r.Required, strings.Join(r.From, ", "))
}

// lessThan says in what a requirement asks for less than another; nothing if it asks for at least as much.
func lessThan(is, was jit.Requirement) (less []string) {
	if is.Required < was.Required {
		less = append(less, fmt.Sprintf("required falls from %d to %d", was.Required, is.Required))
	}
	if more := beyond(is.From, was.From); len(more) > 0 {
		less = append(less, "from also has "+strings.Join(more, ", "))
	}
	switch {
	case is.Unless == "" || is.Unless == was.Unless:
	case was.Unless == "":
		less = append(less, "unless is "+is.Unless)
	default:
		less = append(less, "unless is changed from "+was.Unless+" to "+is.Unless)
	}
	for _, kind := range evidence(is) {
		if !slices.Contains(evidence(was), kind) {
			less = append(less, "evidence also has "+string(kind))
		}
	}
	if was.ValidFor != 0 && (is.ValidFor == 0 || is.ValidFor > was.ValidFor) {
		less = append(less, "valid_for grows from "+jit.FormatDuration(was.ValidFor))
	}
	return less
}

func evidence(r jit.Requirement) []jit.Evidence {
	if len(r.Evidence) == 0 {
		return []jit.Evidence{jit.Signature}
	}
	return r.Evidence
}

// glass compares who may break the glass.
func (c *comparison) glass(was, is *jit.BreakGlass) {
	switch {
	case was == nil && is == nil:
	case is == nil:
		c.add(false, "%s lets nobody break the glass any more", c.subject)
	case was == nil:
		c.add(true, "%s lets %s break the glass", c.subject, strings.Join(is.From, ", "))
	default:
		if more := beyond(is.From, was.From); len(more) > 0 {
			c.add(true, "%s also lets %s break the glass", c.subject, strings.Join(more, ", "))
		}
		if fewer := beyond(was.From, is.From); len(fewer) > 0 {
			c.add(false, "%s no longer lets %s break the glass", c.subject, strings.Join(fewer, ", "))
		}
		c.longer("break_glass.max_ttl", was.MaxTTL, is.MaxTTL)
		c.pattern("break_glass.reason_pattern", was.ReasonPattern, is.ReasonPattern)
	}
}

// comparePerson tells how a person differs from what they were; was is nil for a new one. subject names the person.
// leaving: to leave a group loosens, since a condition may ask for it.
func comparePerson(was *jit.Person, is jit.Person, subject string, leaving bool) []aspect {
	c := comparison{subject: subject}
	if was == nil {
		groups := ""
		if len(is.Groups) > 0 {
			groups = ", in " + strings.Join(is.Groups, ", ")
		}
		c.add(true, "%s is new%s, and can approve with %s", subject, groups,
			counted(len(is.SigningKeys), "signing key", "signing keys"))
		return c.all
	}
	if was.Name != is.Name {
		c.add(true, "%s was named %q before", subject, was.Name)
	}
	list := func(was, is []string, added, removed string, addedLoosens, removedLoosens bool) {
		if more := beyond(is, was); len(more) > 0 {
			c.add(addedLoosens, added, subject, strings.Join(more, ", "))
		}
		if fewer := beyond(was, is); len(fewer) > 0 {
			c.add(removedLoosens, removed, subject, strings.Join(fewer, ", "))
		}
	}
	list(was.SigningKeys, is.SigningKeys, "%s can also sign with %s", "%s can no longer sign with %s", true, false)
	list(was.Groups, is.Groups, "%s joins %s", "%s leaves %s", true, leaving)
	list(was.Principals, is.Principals, "%s is also %s on targets",
		"%s is no longer %s on targets, and may approve its access",
		false, true)
	for _, login := range []struct{ forge, was, is string }{{"github", was.GitHub, is.GitHub}, {"gitlab", was.GitLab,
		is.GitLab}} {
		if login.was != login.is {
			c.add(login.is != "", "%s of %s is changed from %q to %q", login.forge, subject, login.was, login.is)
		}
	}
	return c.all
}
