package policy

import (
	"iter"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

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
		if strings.ContainsAny(pattern, "*?") {
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
	p.include(n.Covers...)
	if len(narrowing.Parts) == 0 {
		return p
	}
	// A role counts alone, with everything that narrows it, and with each resource.
	for _, name := range n.All() {
		p.names = append(p.names, name+narrowing.Text())
		if narrowing.Word == jit.On {
			for _, resource := range narrowing.Parts {
				p.include(name + jit.On + resource)
			}
		}
	}
	return p
}

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
	vars, err := cel.PartialVars(map[string]any{grantVariable: r, requesterVariable: r}, unknown...)
	if err != nil {
		return true
	}
	out, _, err := c.program.Eval(vars)
	return err != nil || out != types.False
}
