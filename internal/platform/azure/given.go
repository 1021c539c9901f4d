package azure

import (
	"context"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// everyone is the object id that stands for all principals
// (https://learn.microsoft.com/azure/role-based-access-control/deny-assignments).
const everyone = "00000000-0000-0000-0000-000000000000"

// Given tells the names of a role: its own, the id of its definition, and the definition's path. Which name belongs to
// which id only Azure knows. A scope holds everything below it; what a management group holds cannot be
// told from its name, so it may be any subscription. Names match in any case.
func (p *Platform) Given(ctx context.Context, b jit.Binding, ask bool) (jit.Given, error) {
	g := jit.AsWritten(b)
	g.AnyCase = true
	who, err := parsePrincipal(b.Principal)
	if err != nil {
		return g, err
	}
	// An object id is one principal, whatever it is called.
	for kind := range principalTypes {
		if kind != who.kind {
			g.Principal.IDs = append(g.Principal.IDs, principal{kind, who.id}.String())
		}
	}
	if who.id == everyone {
		g.Principal.Guard, g.Principal.Covers = "it stands for everybody in the tenant", []string{"*"}
	}
	below(&g.Scope, b.Scope)
	if g.Role, err = p.namesOf(ctx, b, ask); err != nil {
		return g, err
	}
	return g, nil
}

// resourceGroups stands in the id of a resource group and of what is in it, once.
const resourceGroups = "/resourceGroups/"

// below adds patterns over the scopes that a scope holds.
func below(n *jit.Named, scope string) {
	if strings.HasPrefix(scope, managementGroups) {
		n.Covers = []string{"/subscriptions/*", managementGroups + "*"}
		return
	}
	n.Covers, n.Solid = []string{scope + "/providers/*"}, resourceGroups
	if !strings.Contains(scope, resourceGroups) {
		n.Covers = append(n.Covers, scope+resourceGroups+"*")
	}
}

// namesOf tells the names of the role of a binding.
func (p *Platform) namesOf(ctx context.Context, b jit.Binding, ask bool) (jit.Named, error) {
	name, id := b.Role, ""
	if isID(b.Role) {
		name, id = "", b.Role
	}
	if ask {
		c, err := p.client()
		if err != nil {
			return jit.Named{}, err
		}
		if id, err = c.roleID(ctx, b.Scope, b.Role); err != nil {
			return jit.Named{}, err
		}
		if name, err = c.roleName(ctx, b.Scope, id); err != nil {
			return jit.Named{}, err
		}
	}
	n := jit.Named{Name: name, Unresolved: !ask}
	if id != "" {
		n.IDs = []string{id, *definitionID(b.Scope, id)}
		n.Covers = []string{"*" + definitions + id}
	}
	return n, nil
}
