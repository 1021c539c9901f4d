package policy

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// list is one list of a match.
type list struct {
	name  string // in match
	noun  string // the field of the grant that it is about
	globs func(*jit.Match) *[]string
	// given, if set, returns the field under all of its names.
	given func(*Request) jit.Named
}

// lists are the lists of a match in the order in which they are judged.
var lists = []list{
	{"targets", "target", func(m *jit.Match) *[]string { return &m.Targets }, nil},
	{"platforms", "platform", func(m *jit.Match) *[]string { return &m.Platforms }, nil},
	{"owners", "owner", func(m *jit.Match) *[]string { return &m.Owners }, nil},
	{"principals", "principal", func(m *jit.Match) *[]string { return &m.Principals },
		func(r *Request) jit.Named { return r.Given.Principal }},
	{roleList, "role", func(m *jit.Match) *[]string { return &m.Roles },
		func(r *Request) jit.Named { return r.Given.Role }},
	{"scopes", "scope", func(m *jit.Match) *[]string { return &m.Scopes },
		func(r *Request) jit.Named { return r.Given.Scope }},
}

const roleList = "roles"

// Globs returns the list of a match by its name, such as "roles"; nil if there is no such list.
func Globs(m *jit.Match, name string) *[]string {
	for _, l := range lists {
		if l.name == name {
			return l.globs(m)
		}
	}
	return nil
}

// written returns the field as the grant has it.
func (l list) written(r *Request) string { return fields[l.noun].get(r).(string) }

// attribute returns the attribute that a user edits to change the field.
func (l list) attribute() string { return fields[l.noun].attribute }

// named returns the field of the request that the list is about, under all of its names.
func (l list) named(r *Request) jit.Named {
	if l.given == nil {
		return jit.Named{Name: l.written(r)}
	}
	return l.given(r)
}

// narrowing returns what the request narrows the role to; none for other lists.
func (l list) narrowing(r *Request) jit.Narrowing {
	if l.name != roleList {
		return jit.Narrowing{}
	}
	return r.Given.Narrowing
}

// glob is one entry of a list. An entry may also be read as a role and what it is narrowed to.
type glob struct {
	jit.Glob
	halves map[string]halves // by the word between the two
	// bare is the entry without the named conditions that it demands; nil if it demands none.
	bare    *glob
	demands []jit.Demand
}

// halves are a glob over a role, with globs over resources after " on " and a whole condition or * after " if ".
type halves struct {
	role      jit.Glob
	resources []jit.Glob
	condition string
}

// compileGlob reads an entry of a list; its errors name the attribute.
func compileGlob(attribute, pattern string) (g glob, err error) {
	if g.Glob, err = jit.ParseGlob(attribute, pattern); err != nil {
		return g, err
	}
	g.halves = map[string]halves{}
	for _, word := range []string{jit.On, jit.If} {
		if h, ok := compileHalves(pattern, word); ok {
			g.halves[word] = h
		}
	}
	g.demand(attribute, pattern)
	return g, nil
}

// compileHalves reads an entry as two halves; ok is false if it has no such word, or has it only within a set.
func compileHalves(pattern, word string) (h halves, ok bool) {
	before, after, ok := strings.Cut(pattern, word)
	if !ok {
		return h, false
	}
	role, err := jit.ParseGlob("", strings.TrimSpace(before))
	h.role = role
	if word == jit.If {
		h.condition = strings.TrimSpace(after)
		return h, err == nil
	}
	for _, resource := range strings.Fields(after) {
		g, wrong := jit.ParseGlob("", resource)
		h.resources, err = append(h.resources, g), errors.Join(err, wrong)
	}
	return h, err == nil
}

// permits reports whether the entry of a permit matches the name. A wildcard matches only the name that people use.
// Ids, and everything that is guarded, must be written out.
func permits(g jit.Glob, n jit.Named, anyCase bool) bool {
	match := g.Match
	if anyCase {
		match = g.MatchAnyCase
	}
	switch {
	case len(n.Parts) > 0:
		return g.IncludesAnyCase(n.Name)
	case g.Literal():
		return slices.ContainsFunc(n.All(), match)
	case n.Guard != "":
		return false
	case n.Name == "":
		return g.Everything()
	}
	return match(n.Name)
}

// entry is one entry of a match, compiled.
type entry struct {
	written jit.Match
	globs   [][]glob // as lists
}

// compileEntry compiles an entry; its errors name the attribute, which begins with at.
func compileEntry(at string, m jit.Match) (e entry, err error) {
	e = entry{m, make([][]glob, len(lists))}
	for i, l := range lists {
		patterns := *l.globs(&m)
		if l.name == roleList {
			patterns = eachAction(patterns)
		}
		for _, pattern := range patterns {
			if l.name == "principals" {
				pattern = withoutComment(pattern)
			}
			g, err := compileGlob(at+l.name, pattern)
			if err != nil {
				return e, err
			}
			e.globs[i] = append(e.globs[i], g)
		}
	}
	return e, nil
}

// chunk is the text between two commas of a glob that are neither in a set nor escaped.
var chunk = regexp.MustCompile(`(?s)(?:\\.|\[[^\]]*\]|[^,])+`)

// eachAction adds an entry for each action of an entry that lists several: each action is judged by itself.
func eachAction(entries []string) []string {
	all := slices.Clone(entries)
	for _, e := range entries {
		head, tail := e, ""
		for _, word := range []string{jit.On, jit.If} {
			if i := strings.Index(head, word); i >= 0 {
				head, tail = head[:i], head[i:]+tail
			}
		}
		if n := len(jit.Actions); len(head) > n && strings.EqualFold(head[:n], jit.Actions) {
			for _, action := range chunk.FindAllString(head[n:], -1) {
				all = append(all, jit.Actions+action+tail)
			}
		}
	}
	return all
}

// lengthBytes is how many bytes tell the length of a text in an SSH public key.
const lengthBytes = 4

// withoutComment returns an SSH public key without the comment that a .pub file has after it, as the principal of a grant
// has none. It returns any other pattern as it is. RFC 4253, 6.6: a key begins with the length of its type and the type.
func withoutComment(pattern string) string {
	words := strings.Fields(pattern)
	if len(words) < 3 || jit.CheckText("", pattern) != nil { // such as a file of several keys
		return pattern
	}
	key, err := base64.StdEncoding.DecodeString(words[1])
	if err != nil || len(key) < lengthBytes || !bytes.HasPrefix(key[lengthBytes:], []byte(words[0])) {
		return pattern
	}
	return words[0] + " " + words[1]
}

// entryAt is how messages and attributes begin that are about a list of an entry.
func entryAt(i int) string { return fmt.Sprintf("match[%d].", i) }

// permitsAll reports whether a list of a permit matches everything that the request gives: each part of it.
func (e *entry) permitsAll(i int, r *Request) bool {
	n, globs, narrowing := lists[i].named(r), e.globs[i], lists[i].narrowing(r)
	kept := conditional(globs, narrowing, func(g glob) bool { return g.metBy(r.Given.Named) })
	if slices.ContainsFunc(n.Within, func(wider string) bool { return matchesAny(globs, wider) }) {
		n.Guard = "" // whoever may have the wider access needs no guard
	}
	if len(globs) == 0 {
		return n.Guard == ""
	}
	return !slices.ContainsFunc(each(n), func(part jit.Named) bool {
		return !permitsNarrowed(kept, part, narrowing, r.Given.AnyCase)
	})
}

// each returns the parts of what is judged part by part, else the whole.
func each(n jit.Named) []jit.Named {
	if len(n.Parts) == 0 {
		return []jit.Named{n}
	}
	all := make([]jit.Named, len(n.Parts))
	for i, part := range n.Parts {
		all[i] = jit.Named{Name: part, Parts: []string{part}, Guard: n.Guard}
	}
	return all
}

// permitsNarrowed reports whether the globs permit the role with each part of its narrowing.
func permitsNarrowed(globs []glob, n jit.Named, narrowing jit.Narrowing, anyCase bool) bool {
	if len(narrowing.Parts) == 0 {
		return slices.ContainsFunc(globs, func(g glob) bool {
			_, narrows := g.halves[narrowing.Word]
			return !narrows && permits(g.Glob, n, anyCase)
		})
	}
	return !slices.ContainsFunc(narrowing.Parts, func(part string) bool {
		return !permitsPart(globs, n, narrowing.Word, part, anyCase)
	})
}

// matchesAny reports whether a list matches a name. An empty list matches every name.
func matchesAny(globs []glob, name string) bool {
	return len(globs) == 0 || slices.ContainsFunc(globs, func(g glob) bool { return g.Match(name) })
}

// permitsPart reports whether one of the globs permits the role with this part of its narrowing.
func permitsPart(globs []glob, n jit.Named, word, part string, anyCase bool) bool {
	return slices.ContainsFunc(globs, func(g glob) bool {
		h, ok := g.halves[word]
		return ok && permits(h.role, n, anyCase) && h.includes(word, part)
	})
}

// includes reports whether the second half includes a resource, or is the condition.
func (h halves) includes(word, part string) bool {
	if word == jit.If {
		return h.condition == "*" || h.condition == part
	}
	return slices.ContainsFunc(h.resources, func(g jit.Glob) bool { return g.Includes(part) })
}

// mismatch says which list of a permit's entry the request does not match. at comes before the name of the list.
func (c *rule) mismatch(e *entry, at string, i int, r *Request) failure {
	l := lists[i]
	n, value := l.named(r), l.written(r)
	globs := cmp.Or(quoted(*l.globs(&e.written)), "not given")
	text := fmt.Sprintf("%s%s of policy %q are %s; the grant's %s is %q", at, l.name, c.Name, globs, l.noun, value)
	if n.Name != "" && n.Name != value && l.name != roleList {
		text += fmt.Sprintf(", which is %q", n.Name)
	}
	permitted := func(met bool) func(part jit.Named) bool {
		kept := conditional(e.globs[i], l.narrowing(r), func(g glob) bool { return met || g.metBy(r.Given.Named) })
		return func(part jit.Named) bool { return permitsNarrowed(kept, part, l.narrowing(r), r.Given.AnyCase) }
	}
	refused := func(part jit.Named) bool { return !permitted(false)(part) }
	if part := slices.IndexFunc(each(n), refused); part >= 0 && len(n.Parts) > 1 {
		text += fmt.Sprintf("; each action is judged by itself, and they do not permit %q", n.Parts[part])
	}
	if i := slices.IndexFunc(each(n), refused); i >= 0 && permitted(true)(each(n)[i]) {
		return failure{l.attribute(), text + "; they demand conditions that the role does not have: " +
			"write them after the role and the word if"}
	}
	if n.Guard != "" {
		text += fmt.Sprintf("; %s, so a policy must name it without wildcards", n.Guard)
	} else {
		text += narrowingHint(n.Name, l.narrowing(r))
	}
	return failure{l.attribute(), text}
}

// narrowingHint says how a policy permits a narrowed role; empty if the role is not narrowed.
func narrowingHint(role string, n jit.Narrowing) string {
	switch {
	case len(n.Parts) == 0:
		return ""
	case n.Word == jit.If:
		return fmt.Sprintf("; no wildcard matches across %q: permit the whole condition, or any condition with %q",
			n.Word, role+jit.If+"*")
	}
	return fmt.Sprintf("; no wildcard matches across %q, and each resource is judged by itself, as in %q",
		n.Word, role+jit.On+n.Parts[0])
}
