package awsiam

import (
	"context"
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// advise warns of a principal or role that does not exist in the account. It knows neither other accounts nor the
// policies of AWS.
func (p *Platform) advise(a *account, scope string) func(context.Context, jit.Binding) []jit.Advice {
	return func(_ context.Context, b jit.Binding) []jit.Advice {
		b.Scope = scope
		asked, err := p.parse(&b)
		if err != nil {
			return nil
		}
		var all []jit.Advice
		a.mu.Lock()
		defer a.mu.Unlock()
		absent := func(attribute string, named arn) {
			_, entity := a.entities[named.text]
			_, policy := a.policies[named.text]
			if named.account == scope && !entity && !policy {
				all = append(all, jit.Advice{Attribute: attribute,
					Title: fmt.Sprintf("The %s does not exist", attribute),
					Text: fmt.Sprintf("There is no %s in the account %s. The apply fails until it exists.",
						named.text, scope)})
			}
		}
		absent("principal", asked.principal)
		absent("role", asked.role)
		return all
	}
}
