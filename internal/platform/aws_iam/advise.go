package awsiam

import (
	"context"
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// advise warns of a principal, a role or a policy of AWS that does not exist, and of a grant that does not fit beside
// the others of the plan. It knows no other account.
func (p *Platform) advise(c *client, a *account, scope string) func(context.Context, jit.Binding) []jit.Advice {
	return func(ctx context.Context, b jit.Binding) []jit.Advice {
		b.Scope = scope
		asked, err := p.parse(&b)
		if err != nil {
			return nil
		}
		asked = asked.in(a, scope)
		var all []jit.Advice
		absent := func(attribute string, named arn) {
			if p.lacks(ctx, c, a, scope, named) {
				all = append(all, jit.Advice{Attribute: attribute,
					Title: fmt.Sprintf("The %s does not exist", attribute),
					Text: fmt.Sprintf("There is no %s in the account %s. The apply fails until it exists.",
						named.text, named.account)})
			}
		}
		absent("principal", asked.principal)
		absent("role", asked.role)
		if e := a.entities[asked.principal.text]; e != nil {
			if why := e.impostor(asked); why != "" {
				all = append(all, jit.Advice{Attribute: "principal", Title: "The session can be somebody else's",
					Text: "The apply refuses the grant: " + why + ". To mend it, " + impostorHint + "."})
			}
		}
		if text := p.crowded(ctx, c, a, asked, b); text != "" {
			all = append(all, jit.Advice{Attribute: "role", Title: "The grants of this plan do not fit", Text: text})
		}
		return all
	}
}

// lacks reports whether an account lacks what is named. A policy of AWS is looked up, and kept for further grants.
func (p *Platform) lacks(ctx context.Context, c *client, a *account, scope string, named arn) bool {
	if named.account == "aws" {
		_, err := p.source(ctx, c, a, named)
		return awsconfig.Code(err) == noSuchEntity
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	_, entity := a.entities[named.text]
	_, policy := a.policies[named.text]
	return named.account == scope && !entity && !policy
}
