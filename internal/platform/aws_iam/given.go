package awsiam

import (
	"context"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Given tells the resources to which a policy is narrowed apart from the policy. In a partition other than the
// commercial one the same things are called by their commercial names too, since policies are often written with those.
// A role of another account leads into that account. It makes no call.
func (p *Platform) Given(_ context.Context, b jit.Binding, _ bool) (jit.Given, error) {
	g := jit.AsWritten(b)
	a, err := p.parse(&b)
	if err != nil {
		return g, err
	}
	g.Principal, g.Role = namesOf(a.principal), namesOf(a.role)
	g.Narrowing = jit.Narrowing{Word: narrowing, Parts: a.resources}
	if a.role.kind == role && a.role.account != b.Scope {
		g.Scope.Covers = []string{a.role.account} // where the role leads to
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
