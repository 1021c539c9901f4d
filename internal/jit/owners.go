package jit

import (
	"slices"
	"strings"
)

// AllOwners is the name that stands for every owner.
const AllOwners = "*"

// Owners selects grants by owner. An empty list selects every owner.
type Owners []string

// ParseOwners reads an attribute that lists names of owners, or [AllOwners] alone. nil, an attribute that is not set,
// means every owner.
func ParseOwners(attribute string, names []string) (Owners, error) {
	const hint = `write for example ["payments", "search"], or ["*"] for every owner`
	if names == nil || len(names) == 1 && names[0] == AllOwners {
		return nil, nil
	}
	if len(names) == 0 {
		return nil, Invalid(attribute, hint, "the list is empty")
	}
	for i, name := range names {
		switch {
		case name == AllOwners:
			return nil, Invalid(attribute, hint, `"*" stands beside other names; it already means every owner`)
		case CheckOwner(name) != nil:
			return nil, Invalid(attribute, hint,
				"%q is not an owner; a name takes 1 to 32 lower-case letters, digits and hyphens", name)
		case slices.Contains(names[:i], name):
			return nil, Invalid(attribute, "name each owner once", "%q is written twice", name)
		}
	}
	return slices.Sorted(slices.Values(names)), nil
}

// Include reports whether the grants of owner are selected.
func (o Owners) Include(owner string) bool { return len(o) == 0 || slices.Contains(o, owner) }

// String lists the names, or says "all owners".
func (o Owners) String() string {
	if len(o) == 0 {
		return "all owners"
	}
	return strings.Join(o, ", ")
}
