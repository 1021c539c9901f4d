package awsiam

import (
	"context"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Given separates a policy from the resources that narrow it. In other partitions than the commercial one, it adds the
// commercial names, which policies are often written with. It lists actions one by one. Roles of another account lead
// into that account. What names a role as principal concerns its sessions too. It makes no call.
func (p *Platform) Given(_ context.Context, b jit.Binding, _ bool) (jit.Given, error) {
	g := jit.AsWritten(b)
	a, err := p.parse(&b)
	if err != nil {
		return g, err
	}
	g.Principal, g.Role, g.Named = a.givesPrincipal(), namesOf(a.role), a.terms.named
	if a.role.kind == actions {
		g.Role = a.givesActions()
	}
	g.Narrowing = narrowing(a.resources)
	g.Narrowing.Also = inPartitions(a.resources)[len(a.resources):]
	g.Scope.Covers = a.reaches(b.Scope)
	return g, nil
}

// givesPrincipal describes the principal. A session belongs to its role, whose path is unknown.
func (a access) givesPrincipal() jit.Named {
	if a.session == "" {
		return namesOf(a.principal)
	}
	of := "arn:" + a.principal.partition + ":iam::" + a.principal.account + ":role/"
	n := namesOf(a.principal)
	n.Covers = inPartitions([]string{of + a.principal.name, of + "*/" + a.principal.name})
	return n
}

func namesOf(a arn) jit.Named {
	n := jit.Named{Name: a.text}
	n.IDs = inPartitions([]string{a.text})[1:]
	return n
}
