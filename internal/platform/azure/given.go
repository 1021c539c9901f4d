package azure

import (
	"context"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// everyone is the object id that stands for all principals
// (https://learn.microsoft.com/azure/role-based-access-control/deny-assignments).
const everyone = "00000000-0000-0000-0000-000000000000"

// Given returns the names of a role: its own, the id of its definition, and the definition's path. Only Azure knows
// which name has which id. A scope includes everything below it. The name of a management group does not tell what it
// includes, so it may be any subscription. Names are case-insensitive.
func (p *Platform) Given(ctx context.Context, b jit.Binding, ask bool) (jit.Given, error) {
	g := jit.AsWritten(b)
	g.AnyCase = true
	who, err := parsePrincipal(b.Principal)
	if err != nil {
		return g, err
	}
	// An object id is one principal, whatever kind the grant names.
	for kind := range principalTypes {
		if kind != who.kind {
			g.Principal.IDs = append(g.Principal.IDs, principal{kind, who.id}.String())
		}
	}
	if who.id == everyone {
		g.Principal.Guard, g.Principal.Covers = "it stands for everybody in the tenant", []string{"*"}
	}
	cover(&g.Scope, b.Scope)
	g.Role, err = p.namesOf(ctx, b, ask)
	return g, err
}

// cover adds patterns for the scopes below a scope. [resourceGroups] occurs at most once in an id.
func cover(n *jit.Named, scope string) {
	if strings.HasPrefix(scope, managementGroups) {
		n.Covers = []string{subscriptions + "*", managementGroups + "*"}
		return
	}
	n.Covers, n.Solid = []string{scope + "/providers/*"}, resourceGroups
	if !strings.Contains(scope, resourceGroups) {
		n.Covers = append(n.Covers, scope+resourceGroups+"*")
	}
}

// namesOf returns the names of the role of a binding; without ask only the one that is written.
func (p *Platform) namesOf(ctx context.Context, b jit.Binding, ask bool) (n jit.Named, err error) {
	id := b.Role
	if ask {
		c, err := p.client()
		if err != nil {
			return n, err
		}
		if id, err = c.roleID(ctx, b.Scope, b.Role); err != nil {
			return n, err
		}
		if n.Name, err = c.roleName(ctx, b.Scope, id); err != nil {
			return n, err
		}
	}
	n.Unresolved = !ask
	if !isID(id) {
		n.Name = id
		return n, nil
	}
	n.IDs = []string{id, *definitionID(b.Scope, id)}
	n.Covers = []string{"*" + definitions + id}
	return n, nil
}
