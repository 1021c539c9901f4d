package jit

import (
	"slices"
	"strings"
)

// Given is what a binding gives, whatever its spelling. Policies judge it, so every spelling of one access gets the
// same verdict.
type Given struct {
	Principal, Role, Scope Named
	// Narrowing restricts the role; Role does not include it.
	Narrowing Narrowing
	// Named are the named conditions on the role, in canonical order; Role does not include them.
	Named []Condition
	// AnyCase: names are case-insensitive on this platform.
	AnyCase bool
}

// Named is one part of a binding under all of its names.
type Named struct {
	// Name is the name that people use; empty until the platform has been asked for it.
	Name string
	// IDs are the other names of the same thing: ids and longer forms.
	IDs []string
	// Unresolved: there may be further names that only the platform knows.
	Unresolved bool
	// Parts are patterns, with * and ? and in any case, that together are it: the actions of a role. Each is judged by
	// itself: a list permits it if it permits each part, and forbids it if it forbids any. Empty if it is judged whole.
	Parts []string
	// Covers are patterns, with * and ?, for everything that it includes: the members of a group, the scopes below a
	// scope.
	Covers []string
	// Below are names below which everything is included as well. A pattern must write the slash after such a name, so
	// that "*-prod" does not name what may lie in "dev".
	Below []string
	// Apart are first segments of names that never lie below: "secrets" below a topic, though "projects/*/secrets/*"
	// also matches a name that goes on so.
	Apart []string
	// Solid is a text that no wildcard of Covers matches; it may be empty.
	Solid string
	// Guard says why no wildcard may permit it, such as "everybody is in it"; empty if a wildcard may.
	Guard string
	// Within names wider access that includes this one. A list that permits the wider access overrides Guard.
	Within []string
}

// All returns every name that is known.
func (n Named) All() []string {
	if n.Name == "" {
		return n.IDs
	}
	return append([]string{n.Name}, n.IDs...)
}

// Included returns patterns for everything that is included, below it too.
func (n Named) Included() []string {
	all := n.Gives()
	for _, parent := range n.Below {
		all = append(all, parent+"/*")
	}
	return all
}

// The words between a role and what it is narrowed to.
const (
	On = " on " // resources, each a pattern with * and ?
	If = " if " // a condition
)

// Actions begins a role that is a list of actions, separated by commas.
const Actions = "actions:"

// Gives returns the patterns for everything that it gives.
func (n Named) Gives() []string { return append(slices.Clone(n.Parts), n.Covers...) }

// Unresolved reports whether a part may have further names that only the platform knows.
func (g Given) Unresolved() bool {
	return g.Principal.Unresolved || g.Role.Unresolved || g.Scope.Unresolved
}

// Narrowing is what a role is narrowed to.
type Narrowing struct {
	// Word is [On] or [If]; empty on platforms where no role can be narrowed.
	Word string
	// Parts are the resources, or the one condition; none leaves the role as it is.
	Parts []string
	// Also are further names of the resources, which a forbid may use.
	Also []string
}

// Text returns the narrowing as it follows a role.
func (n Narrowing) Text() string {
	if len(n.Parts) == 0 {
		return ""
	}
	return n.Word + strings.Join(n.Parts, " ")
}

// All returns the parts under every name that is known.
func (n Narrowing) All() []string { return append(slices.Clone(n.Parts), n.Also...) }

// Conditions returns the conditions on the role as texts, named or in the platform's own language.
func (g Given) Conditions() []string {
	all := []string{}
	if g.Narrowing.Word == If {
		all = append(all, g.Narrowing.Parts...)
	}
	for _, c := range g.Named {
		all = append(all, c.String())
	}
	return all
}

// AsWritten returns a binding under its own names only.
func AsWritten(b Binding) Given {
	return Given{Principal: Named{Name: b.Principal}, Role: Named{Name: b.Role}, Scope: Named{Name: b.Scope}}
}
