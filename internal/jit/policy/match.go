package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// lists are the lists of a match in the order in which they are judged.
var lists = []struct {
	name      string // in match
	noun      string // what of the grant it is about
	attribute string // what a user changes to change that
	globs     func(*jit.Match) *[]string
	of        func(*Request) jit.Named
}{
	{"targets", "target", "target", func(m *jit.Match) *[]string { return &m.Targets }, func(r *Request) jit.Named { return jit.Named{Name: r.Binding.Target} }},
	{"platforms", "platform", "target", func(m *jit.Match) *[]string { return &m.Platforms }, func(r *Request) jit.Named { return jit.Named{Name: r.Platform} }},
	{"owners", "owner", "", func(m *jit.Match) *[]string { return &m.Owners }, func(r *Request) jit.Named { return jit.Named{Name: r.Owner} }},
	{"principals", "principal", "principal", func(m *jit.Match) *[]string { return &m.Principals }, func(r *Request) jit.Named { return r.Given.Principal }},
	{roleList, "role", "role", func(m *jit.Match) *[]string { return &m.Roles }, func(r *Request) jit.Named { return r.Given.Role }},
	{"scopes", "scope", "scope", func(m *jit.Match) *[]string { return &m.Scopes }, func(r *Request) jit.Named { return r.Given.Scope }},
}

const roleList = "roles"

// glob is one entry of a list. An entry of roles is also read as a role and what it is narrowed to.
type glob struct {
	jit.Glob
	halves map[string]halves // by the word between the two
}

// halves are a glob over a role and, after " on ", globs over resources; after " if " stands a whole condition or *.
type halves struct {
	role      jit.Glob
	resources []jit.Glob
	condition string
}

// compileGlob reads an entry of a list; attribute is to blame.
func compileGlob(attribute, pattern string, role bool) (glob, error) {
	whole, err := jit.ParseGlob(attribute, pattern)
	g := glob{Glob: whole}
	if err != nil || !role {
		return g, err
	}
	g.halves = map[string]halves{}
	for _, word := range []string{jit.On, jit.If} {
		before, after, ok := strings.Cut(pattern, word)
		if !ok {
			continue
		}
		h := halves{condition: strings.TrimSpace(after)}
		if h.role, err = jit.ParseGlob(attribute, strings.TrimSpace(before)); err != nil {
			continue // the word stands within a set
		}
		if word == jit.On {
			if h.resources, err = compileResources(attribute, after); err != nil {
				continue
			}
		}
		g.halves[word] = h
	}
	return g, nil
}

// compileResources reads the globs over resources.
func compileResources(attribute, list string) ([]jit.Glob, error) {
	var all []jit.Glob
	for _, pattern := range strings.Fields(list) {
		g, err := jit.ParseGlob(attribute, pattern)
		if err != nil {
			return nil, err
		}
		all = append(all, g)
	}
	return all, nil
}

// permits reports whether the entry of a policy that permits matches the name. A wildcard is held against the name
// that people use only; an id has to be written out, and so does what is guarded.
func permits(g jit.Glob, n jit.Named, anyCase bool) bool {
	match := g.Match
	if anyCase {
		match = g.MatchAnyCase
	}
	switch {
	case g.Literal():
		for _, name := range n.All() {
			if match(name) {
				return true
			}
		}
		return false
	case n.Guard != "":
		return false
	case n.Name == "":
		return g.Everything()
	}
	return match(n.Name)
}

// permitsAll reports whether a list of a policy that permits matches what the request gives: each part of it.
func (c *rule) permitsAll(i int, r *Request) bool {
	n, globs, narrowing := lists[i].of(r), c.globs[i], r.Given.Narrowing
	for _, wider := range n.Within {
		if len(globs) == 0 || slices.ContainsFunc(globs, func(g glob) bool { return g.Match(wider) }) {
			n.Guard = "" // whoever may have more needs no guard
		}
	}
	if len(globs) == 0 {
		return n.Guard == ""
	}
	if lists[i].name != roleList || len(narrowing.Parts) == 0 {
		for _, g := range globs {
			if _, narrows := g.halves[narrowing.Word]; !narrows && permits(g.Glob, n, r.Given.AnyCase) {
				return true
			}
		}
		return false
	}
	for _, part := range narrowing.Parts {
		if !permitsPart(globs, n, narrowing.Word, part, r.Given.AnyCase) {
			return false
		}
	}
	return true
}

// permitsPart reports whether one of the globs permits the role with this part of its narrowing.
func permitsPart(globs []glob, n jit.Named, word, part string, anyCase bool) bool {
	for _, g := range globs {
		h, ok := g.halves[word]
		if !ok || !permits(h.role, n, anyCase) {
			continue
		}
		if word == jit.If && (h.condition == "*" || h.condition == part) {
			return true
		}
		if slices.ContainsFunc(h.resources, func(g jit.Glob) bool { return g.Includes(part) }) {
			return true
		}
	}
	return false
}

// answer is what is known of a policy that forbids.
type answer int

const (
	no answer = iota
	maybe
	yes
)

// forbids returns the name, or the pattern over what is given along with it, that the entry of a policy that forbids matches.
func forbids(g jit.Glob, n jit.Named, anyCase bool) (by string, ok bool) {
	for _, name := range n.All() {
		if g.MatchAnyCase(name) || !anyCase && g.Match(name) {
			return name, true
		}
	}
	for _, pattern := range n.Covers {
		if g.Meets(pattern, n.Solid) {
			return pattern, true
		}
	}
	return "", false
}

// forbidsAny says whether a list of a policy that forbids matches any part of what the request gives, and which.
func (c *rule) forbidsAny(i int, r *Request) (by string, applies answer) {
	n, globs, narrowing := lists[i].of(r), c.globs[i], r.Given.Narrowing
	if len(globs) == 0 {
		return "", yes
	}
	for _, g := range globs {
		if by, ok := forbids(g.Glob, n, r.Given.AnyCase); ok {
			return by, yes
		}
		if lists[i].name != roleList {
			continue
		}
		if by, ok := forbidsNarrowed(g, n, narrowing, r.Given.AnyCase); ok {
			return by, yes
		}
	}
	if n.Unresolved {
		return "", maybe
	}
	return "", no
}

// forbidsNarrowed is [forbids] for a role with its narrowing. Whether two conditions have something in common
// cannot be told, so a glob with a condition forbids the role under every one.
func forbidsNarrowed(g glob, n jit.Named, narrowing jit.Narrowing, anyCase bool) (by string, ok bool) {
	texts := []string{narrowing.Text()}
	for _, part := range narrowing.Parts {
		texts = append(texts, narrowing.Word+part)
	}
	for _, name := range n.All() {
		for _, text := range texts {
			if by, ok := forbids(g.Glob, jit.Named{Name: name + text}, anyCase); ok {
				return by, true
			}
		}
	}
	h, ok := g.halves[narrowing.Word]
	if !ok {
		return "", false
	}
	if by, ok = forbids(h.role, n, anyCase); !ok || narrowing.Word == jit.If || len(narrowing.Parts) == 0 {
		return by, ok
	}
	for _, part := range narrowing.Parts {
		if slices.ContainsFunc(h.resources, func(g jit.Glob) bool { return g.Meets(part, "") }) {
			return by + jit.On + part, true
		}
	}
	return "", false
}

// mismatch says in words which list of a policy that permits the request does not match.
func (c *rule) mismatch(i int, r *Request) failure {
	l := lists[i]
	n, value := l.of(r), r.written(l.name)
	globs := "not given"
	if patterns := *l.globs(&c.Match); len(patterns) > 0 {
		globs = quoted(patterns)
	}
	text := fmt.Sprintf("%s of policy %q are %s; the grant's %s is %q", l.name, c.Name, globs, l.noun, value)
	if n.Name != "" && n.Name != value && l.name != roleList {
		text += fmt.Sprintf(", which is %q", n.Name)
	}
	switch narrowing := r.Given.Narrowing; {
	case n.Guard != "":
		text += fmt.Sprintf("; %s, so a policy has to name it without wildcards", n.Guard)
	case l.name != roleList || len(narrowing.Parts) == 0:
	case narrowing.Word == jit.If:
		text += fmt.Sprintf("; no wildcard reaches past %q: permit the condition as a whole, or any one with %q", narrowing.Word, n.Name+jit.If+"*")
	default:
		text += fmt.Sprintf("; no wildcard reaches past %q, and each resource is judged by itself, as in %q", narrowing.Word, n.Name+jit.On+narrowing.Parts[0])
	}
	return failure{l.attribute, text}
}

// written is what a list is about, as the grant has it.
func (r *Request) written(list string) string {
	switch list {
	case "targets":
		return r.Binding.Target
	case "platforms":
		return r.Platform
	case "owners":
		return r.Owner
	case "principals":
		return r.Binding.Principal
	case roleList:
		return r.Binding.Role
	}
	return r.Binding.Scope
}
