package awsidentitycenter

import (
	"context"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Given returns name and id of the principal, and name and ARN of the permission set. Only Identity Center knows which
// belong together.
func (p *Platform) Given(ctx context.Context, b jit.Binding, ask bool) (jit.Given, error) {
	g := jit.AsWritten(b)
	who, err := parsePrincipal(b.Principal)
	if err != nil {
		return g, err
	}
	if !ask {
		g.Principal, g.Role = unresolved(b.Principal, who.isID()), unresolved(b.Role, setARNForm.MatchString(b.Role))
		return g, nil
	}
	c, err := p.client(ctx)
	if err != nil {
		return g, err
	}
	o, err := c.object(ctx, b)
	if err != nil {
		return g, err
	}
	name, err := c.nameOf(ctx, o)
	if err != nil {
		return g, err
	}
	set, err := c.set(ctx, o.set)
	if err != nil {
		return g, awsconfig.Explain(ctx, "look at the permission set "+o.set, err)
	}
	g.Principal = resolved(b.Principal, principal{o.kind, name}.String(), principal{o.kind, o.id}.String())
	g.Role = resolved(b.Role, set.name, o.set)
	return g, nil
}

// unresolved is a name or an id before Identity Center has been asked.
func unresolved(written string, id bool) jit.Named {
	if id {
		return jit.Named{IDs: []string{written}, Unresolved: true}
	}
	return jit.Named{Name: written, Unresolved: true}
}

// resolved are the names of one thing. Without a name, its id identifies it.
func resolved(written, name, id string) jit.Named {
	if name == userPrefix || name == groupPrefix {
		name = ""
	}
	n := jit.Named{Name: name, IDs: []string{id}}
	if written != name && written != id {
		n.IDs = append(n.IDs, written)
	}
	return n
}
