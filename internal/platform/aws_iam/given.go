package awsiam

import (
	"context"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Given separates a policy from the resources that narrow it. In other partitions than the commercial one, it adds the
// commercial names, which policies are often written with. It lists actions one by one. A role of another account leads into that account. It makes
// no call.
func (p *Platform) Given(_ context.Context, b jit.Binding, _ bool) (jit.Given, error) {
	g := jit.AsWritten(b)
	a, err := p.parse(&b)
	if err != nil {
		return g, err
	}
	g.Principal, g.Role = namesOf(a.principal), namesOf(a.role)
	if a.role.kind == actions {
		g.Role = a.givesActions()
	}
	g.Narrowing = narrowing(a.resources)
	if a.role.kind == role && a.role.account != b.Scope {
		g.Scope.Covers = []string{a.role.account} // where the role leads
	}
	return g, nil
}

func namesOf(a arn) jit.Named {
	n := jit.Named{Name: a.text}
	if a.partition != "aws" {
		n.IDs = []string{"arn:aws:" + strings.TrimPrefix(a.text, "arn:"+a.partition+":")}
	}
	return n
}
