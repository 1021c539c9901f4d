package policy

import (
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// answer says whether a forbid applies, from certainly not to certainly.
type answer int

const (
	no answer = iota
	maybe
	yes
)

// forbids reports whether the entry of a forbid matches a name, or meets a pattern of what is given along with it. by
// is that name or pattern.
func forbids(g jit.Glob, n jit.Named, anyCase bool) (by string, ok bool) {
	for _, name := range n.All() {
		if g.MatchAnyCase(name) || !anyCase && g.Match(name) {
			return name, true
		}
	}
	for _, pattern := range n.Gives() {
		if g.Meets(pattern, n.Solid) {
			return pattern, true
		}
	}
	for _, parent := range n.Below {
		if g.MeetsBelow(parent, n.Apart) {
			return parent + "/*", true
		}
	}
	return "", false
}

// forbidsAny reports whether a list of a forbid matches any part of what the request gives; by is that part.
func (e *entry) forbidsAny(i int, r *Request) (by string, applies answer) {
	n := lists[i].named(r)
	if len(e.globs[i]) == 0 {
		return "", yes
	}
	// Nobody can tell whether two conditions overlap, so a forbid applies whatever conditions it demands.
	for _, g := range conditional(e.globs[i], lists[i].narrowing(r), func(glob) bool { return true }) {
		by, ok := forbids(g.Glob, n, r.Given.AnyCase)
		if !ok {
			by, ok = forbidsNarrowed(g, n, lists[i].narrowing(r), r.Given.AnyCase)
		}
		if ok {
			return by, yes
		}
	}
	if n.Unresolved {
		return "", maybe
	}
	return "", no
}

// forbidsNarrowed is [forbids] for a role with its narrowing. Nobody can tell whether two conditions overlap, so a glob
// with a condition forbids the role under every condition.
func forbidsNarrowed(g glob, n jit.Named, narrowing jit.Narrowing, anyCase bool) (by string, ok bool) {
	if by, ok := forbids(g.Glob, narrowed(n, narrowing), anyCase); ok {
		return by, true
	}
	h, ok := g.halves[narrowing.Word]
	if !ok {
		return "", false
	}
	by, ok = forbids(h.role, n, anyCase)
	if !ok || narrowing.Word == jit.If || len(narrowing.Parts) == 0 {
		return by, ok
	}
	all := narrowing.All()
	part := slices.IndexFunc(all, h.meets)
	if part < 0 {
		return "", false
	}
	return by + jit.On + all[part], true
}

// narrowed returns the names of a role with all of its narrowing and with each part.
func narrowed(role jit.Named, narrowing jit.Narrowing) (names jit.Named) {
	for _, name := range role.All() {
		names.IDs = append(names.IDs, name+narrowing.Text())
		for _, part := range narrowing.All() {
			names.IDs = append(names.IDs, name+narrowing.Word+part)
		}
	}
	for _, pattern := range role.Gives() {
		for _, part := range narrowing.All() {
			names.Covers = append(names.Covers, pattern+narrowing.Word+part)
		}
	}
	return names
}

// meets reports whether the second half has something in common with a resource.
func (h halves) meets(resource string) bool {
	return slices.ContainsFunc(h.resources, func(g jit.Glob) bool { return g.Meets(resource, "") })
}
