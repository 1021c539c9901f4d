package policy

import (
	"iter"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// part is one part of a binding, under the names of everything that it gives.
type part struct {
	field string
	names []string
	// pattern matches further names, which cannot be listed; empty if there are none.
	pattern string
}

// include adds names, or patterns over names, that are given along with a part.
func (p *part) include(patterns ...string) {
	for _, pattern := range patterns {
		if open(pattern) {
			p.pattern = pattern
		} else {
			p.names = append(p.names, pattern)
		}
	}
}

// part returns the part of the binding that a list is about. A condition that does not read it needs no other name than
// the written one.
func (c *condition) part(field string, r *Request) part {
	l := lists[slices.IndexFunc(lists, func(l list) bool { return l.noun == field })]
	if !c.reads[field] {
		return part{field: field, names: []string{l.written(r)}}
	}
	n, narrowing := l.named(r), l.narrowing(r)
	p := part{field: field, names: slices.Clone(n.All())}
	p.include(n.Included()...)
	// A role counts alone, with everything that narrows it, and with each resource; a list of actions also as each of
	// them. Those with wildcards are in the pattern.
	names := append(n.All(), slices.DeleteFunc(slices.Clone(n.Parts), open)...)
	for _, name := range names {
		if len(narrowing.Parts) == 0 {
			break
		}
		p.names = append(p.names, name+narrowing.Text())
		if narrowing.Word == jit.On {
			for _, resource := range narrowing.All() {
				p.include(name + jit.On + resource)
			}
		}
	}
	if len(n.Parts) > 0 {
		for _, name := range slices.Clone(p.names) {
			p.names = append(p.names, c.cases(name)...)
		}
		slices.Sort(p.names)
		p.names = slices.Compact(p.names)
	}
	return p
}

// open reports whether a text is a pattern with wildcards.
func open(text string) bool { return strings.ContainsAny(text, "*?") }

// spellings returns the request under every combination of names.
func spellings(r *Request, principals, roles, scopes []string) iter.Seq[*Request] {
	return func(yield func(*Request) bool) {
		spelt := *r
		for _, spelt.Binding.Principal = range principals {
			for _, spelt.Binding.Role = range roles {
				for _, spelt.Binding.Scope = range scopes {
					if !yield(&spelt) {
						return
					}
				}
			}
		}
	}
}

// applies reports whether the condition of a forbid holds for anything that a grant gives. It answers maybe if the
// condition may hold under a name that pattern matches.
func (c *condition) applies(r *Request) (held answer, pattern string, err error) {
	principal, role, scope := c.part("principal", r), c.part("role", r), c.part("scope", r)
	pattern, unknown := patterns(principal, role, scope)
	for spelt := range spellings(r, principal.names, role.names, scope.names) {
		if holds, err := c.eval(spelt); holds || err != nil {
			return yes, "", err
		}
		if len(unknown) > 0 && c.mayHold(spelt, unknown) {
			held = maybe
		}
	}
	return held, pattern, nil
}

// patterns returns the fields that have names which cannot be listed, and the last pattern over such names.
func patterns(parts ...part) (last string, unknown []*cel.AttributePatternType) {
	for _, p := range parts {
		if p.pattern != "" {
			last, unknown = p.pattern, append(unknown, cel.AttributePattern(grantVariable).QualString(p.field))
		}
	}
	return last, unknown
}

// mayHold reports whether the condition may hold for a value of the unknown fields.
func (c *condition) mayHold(r *Request, unknown []*cel.AttributePatternType) bool {
	out, err := c.evalOpen(r, unknown)
	return err != nil || out != types.False
}

// evalOpen evaluates the condition for all values of the unknown fields.
func (c *condition) evalOpen(r *Request, unknown []*cel.AttributePatternType) (ref.Val, error) {
	vars, err := cel.PartialVars(map[string]any{grantVariable: r, requesterVariable: r}, unknown...)
	if err != nil {
		return nil, err
	}
	out, _, err := c.program.Eval(vars)
	return out, err
}

// holdsFor evaluates the condition of a permit for one part of the role, which the request names: however its case is
// spelled, and for everything that its wildcards match.
func (c *condition) holdsFor(of jit.Named, r *Request) (bool, error) {
	spelt, role := *r, r.Binding.Role
	switch {
	case len(of.Parts) == 0 || !c.reads["role"]:
		return c.eval(r)
	case open(of.Name):
		_, unknown := patterns(part{field: "role", pattern: role})
		out, err := c.evalOpen(r, unknown)
		return out == types.True, err
	}
	for _, spelt.Binding.Role = range c.cases(role) {
		if held, err := c.eval(&spelt); !held || err != nil {
			return held, err
		}
	}
	return true, nil
}
