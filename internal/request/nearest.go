package request

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/agext/levenshtein"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Nearest is a form of a refused request that passes.
type Nearest struct {
	Asked   Asked
	Outcome jit.Outcome
	// Changes say in words what is different.
	Changes []string
}

// maxForms bounds how many forms are tried.
const maxForms = 300

// form is a form to try; the larger cost is farther from what was asked.
type form struct {
	Asked
	cost int
}

// The costs of changes. A shorter time or another text changes less than other access.
const (
	costPolicy    = 1
	costLimit     = 2
	costGlass     = 2
	costPrincipal = 5
	costScope     = 6
	costRole      = 8
	costTarget    = 20
)

// nearest finds the form of a refused request that passes and changes the least. Each form is judged in full before it
// is returned.
func (d *Desk) nearest(ctx context.Context, a Asked, v Verdict) (*Nearest, error) {
	if v.Decision.Over {
		return nil, nil // jit request --renew asks again
	}
	if p := d.asks(v); p != nil {
		d.noteOnce(fmt.Sprintf("%s asks for the same access for the same reason; to change how long it lasts, write "+
			"jit request --extend %s --ttl …", at(p.Block), p.grant.ID))
		return nil, nil
	}
	forms := d.forms(a)
	for i := range forms {
		f := &forms[i]
		f.Asked = d.bounded(f.Asked)
		for _, changed := range []bool{f.Reason != a.Reason, f.TTL != a.TTL} {
			if changed {
				f.cost += costLimit
			}
		}
	}
	slices.SortStableFunc(forms, func(x, y form) int {
		return cmp.Or(cmp.Compare(x.cost, y.cost), cmp.Compare(lengthOf(y.Asked), lengthOf(x.Asked)))
	})
	tried := map[Asked]bool{a: true}
	for _, f := range forms {
		if tried[f.Asked] || len(tried) > maxForms {
			continue
		}
		tried[f.Asked] = true
		judged, err := d.judgeOnce(ctx, f.Asked)
		if err != nil {
			return nil, err
		}
		if p := d.asks(judged); p != nil && !p.says(f.Asked) {
			continue // it would not be written
		}
		if judged.Refusal == nil && !judged.Granted {
			return &Nearest{f.Asked, judged.Outcome(), changes(a, f.Asked)}, nil
		}
	}
	return nil, nil
}

// asks returns the block that asks for the same access for the same reason; nil if there is none.
func (d *Desk) asks(v Verdict) *placed {
	r, err := v.Asked.Request()
	if err != nil {
		return nil
	}
	g, _, err := d.Broker.Check(r)
	i := slices.IndexFunc(d.grants, func(p placed) bool { return err == nil && p.grant.ID == g.ID })
	if i < 0 {
		return nil
	}
	return &d.grants[i]
}

// lengthOf returns the ttl of a request; 0 if it has none.
func lengthOf(a Asked) time.Duration {
	length, _ := jit.ParseDuration("ttl", a.TTL)
	return length
}

// forms returns what each policy would permit in place of a request: it keeps what the policy matches.
func (d *Desk) forms(a Asked) (all []form) {
	permits := slices.DeleteFunc(slices.Clone(d.Policies), func(p jit.Policy) bool { return p.Effect != jit.Permit })
	if len(permits) == 0 {
		permits = []jit.Policy{{}}
	}
	roleOf, scopeOf := func(f *form) *string { return &f.Role }, func(f *form) *string { return &f.Scope }
	for _, p := range permits {
		for _, m := range p.Match.Entries() {
			for _, target := range d.targets(m, a) {
				for _, role := range replaced(target, roleOf, m.Roles, costRole) {
					for _, scope := range replaced(role, scopeOf, m.Scopes, costScope) {
						for _, who := range d.principals(scope) {
							all = append(all, adapted(who, p)...)
						}
					}
				}
			}
		}
	}
	return all
}

// targets returns the request on its own target, and on the others that the entry matches.
func (d *Desk) targets(m jit.Match, a Asked) []form {
	all := []form{{a, 0}}
	for _, name := range slices.Sorted(maps.Keys(d.Broker.Targets)) {
		if name != a.Target && matches(m.Targets, name) &&
			matches(m.Platforms, d.Broker.Targets[name].Kind()) {
			other := form{a, costTarget + distance(a.Target, name)}
			other.Target = name
			all = append(all, other)
		}
	}
	return all
}

// replaced returns a form, and with the part replaced by each text that the patterns name without wildcards.
func replaced(f form, part func(*form) *string, patterns []string, cost int) []form {
	all := []form{f}
	for _, text := range literals(patterns) {
		if old := *part(&f); text != old {
			other := f
			*part(&other) = text
			other.cost += cost + distance(old, text)
			all = append(all, other)
		}
	}
	return all
}

// principals returns a form, and with the other principals of its requester.
func (d *Desk) principals(f form) []form {
	all := []form{f}
	if person := d.named(f.Requester); person != nil {
		for _, name := range person.Principals {
			if name != f.Principal {
				other := f
				other.Principal = name
				other.cost += costPrincipal
				all = append(all, other)
			}
		}
	}
	return all
}

// adapted returns a form within the limits of a policy: breaking the glass if it does, and with approval.
func adapted(f form, p jit.Policy) (all []form) {
	if f.Policy != "" && f.Policy != p.Name {
		f.Policy = ""
		f.cost += costPolicy
	}
	if f.BreakGlass {
		calm := f
		calm.BreakGlass = false
		calm.cost += costGlass
		all = append(all, within(calm, p.MaxTTL, p.ReasonPattern))
		if glass := p.BreakGlass; glass != nil {
			f = within(f, glass.MaxTTL, glass.ReasonPattern)
		}
	}
	return append(all, within(f, p.MaxTTL, p.ReasonPattern))
}

// within shortens a form to a length, if that is not 0, and makes its reason match.
func within(f form, most time.Duration, pattern string) form {
	if f.Asked = shortened(f.Asked, most); pattern != "" {
		f.Reason = cmp.Or(fit(pattern, f.Reason), f.Reason)
	}
	return f
}

// shortened returns a request that lasts at most so long; 0 is no limit.
func shortened(a Asked, most time.Duration) Asked {
	if length, err := jit.ParseDuration("ttl", a.TTL); most > 0 && (err != nil || length > most) {
		a.TTL, a.ExpiresAt = jit.FormatDuration(most), ""
	}
	return a
}

// bounded returns a request within the limits of the provider and of its target.
func (d *Desk) bounded(a Asked) Asked {
	r, err := a.Request()
	if err != nil {
		return a
	}
	_, traits, err := d.Broker.Check(r)
	if err != nil {
		return a
	}
	a = shortened(a, traits.MaxTTL)
	length := r.TTL.Length()
	if r.TTL.IsZero() {
		length = r.ExpiresAt.Sub(d.Broker.Now())
	}
	if length > d.Broker.MaxTTL {
		a = shortened(a, d.Broker.MaxTTL)
	}
	if length < traits.MinTTL {
		a.TTL, a.ExpiresAt = jit.FormatDuration(traits.MinTTL), ""
	}
	return a
}

// matches reports whether a list of globs matches a text. An empty list matches all.
func matches(patterns []string, text string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(pattern string) bool {
		g, err := jit.ParseGlob("", pattern)
		return err == nil && g.Match(text)
	})
}

// literals returns the patterns without wildcards. They match themselves only.
func literals(patterns []string) (texts []string) {
	for _, pattern := range patterns {
		if g, err := jit.ParseGlob("", pattern); err == nil && g.Literal() && g.Match(pattern) {
			texts = append(texts, pattern)
		}
	}
	return texts
}

// distance says how different two names are, from 0 to 10.
func distance(a, b string) int { return int(10 * (1 - levenshtein.Similarity(a, b, nil))) }

// changes says what one form asks for in place of another.
func changes(from, to Asked) (all []string) {
	was := from.fields()
	for i, f := range to.fields() {
		switch old := was[i]; {
		case f.yes != nil && *f.yes != *old.yes:
			all = append(all, fmt.Sprintf("%s %t in place of %t", f.name, *f.yes, *old.yes))
		case f.yes != nil || *f.text == *old.text:
		case *f.text == "":
			all = append(all, fmt.Sprintf("without %s %q", f.name, *old.text))
		case *old.text == "":
			all = append(all, fmt.Sprintf("%s %q", f.name, *f.text))
		default:
			all = append(all, fmt.Sprintf("%s %q in place of %q", f.name, *f.text, *old.text))
		}
	}
	return all
}
