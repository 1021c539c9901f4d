package policy

import (
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// part is a part of the binding under the names of everything that it gives, as a condition reads them.
type part struct {
	field string
	names []string
	// pattern matches further names, which cannot be listed; empty where there are none.
	pattern string
}

// include adds what is given along with a part.
func (p *part) include(patterns ...string) {
	for _, pattern := range patterns {
		if strings.ContainsAny(pattern, "*?") {
			p.pattern = pattern
		} else {
			p.names = append(p.names, pattern)
		}
	}
}

// parts are the principal, the role and the scope of a grant. The role counts alone, with all that narrows it and with each part of that.
func (c *condition) parts(r *Request) (principal, role, scope part) {
	given := func(field string, n jit.Named, written string) part {
		p := part{field: field, names: []string{written}}
		if c.reads[field] {
			p.names = slices.Clone(n.All())
			p.include(n.Covers...)
		}
		return p
	}
	principal, scope = given("principal", r.Given.Principal, r.Binding.Principal), given("scope", r.Given.Scope, r.Binding.Scope)
	role = given("role", r.Given.Role, r.Binding.Role)
	narrowing := r.Given.Narrowing
	if !c.reads["role"] || len(narrowing.Parts) == 0 {
		return principal, role, scope
	}
	for _, name := range r.Given.Role.All() {
		role.names = append(role.names, name+narrowing.Text())
		if narrowing.Word == jit.On {
			for _, resource := range narrowing.Parts {
				role.include(name + jit.On + resource)
			}
		}
	}
	return principal, role, scope
}

// applies says whether the condition of a policy that forbids holds for anything that a grant gives. An answer of maybe means that it may
// hold under a name that the pattern matches.
func (c *condition) applies(r *Request) (held answer, pattern string, err error) {
	principal, role, scope := c.parts(r)
	var unknown []*cel.AttributePatternType
	for _, p := range []part{principal, role, scope} {
		if p.pattern != "" {
			pattern, unknown = p.pattern, append(unknown, cel.AttributePattern(grantVariable).QualString(p.field))
		}
	}
	spelt := *r
	for _, spelt.Binding.Principal = range principal.names {
		for _, spelt.Binding.Role = range role.names {
			for _, spelt.Binding.Scope = range scope.names {
				if holds, err := c.eval(&spelt); holds || err != nil {
					return yes, "", err
				}
				if len(unknown) > 0 && c.mayHold(&spelt, unknown) {
					held = maybe
				}
			}
		}
	}
	return held, pattern, nil
}

// mayHold reports whether the condition depends on something of the grant that is not known.
func (c *condition) mayHold(r *Request, unknown []*cel.AttributePatternType) bool {
	program, err := c.partial()
	if err != nil {
		return true
	}
	vars, err := cel.PartialVars(map[string]any{grantVariable: r}, unknown...)
	if err != nil {
		return true
	}
	out, _, err := program.Eval(vars)
	return err != nil || out != types.False
}
