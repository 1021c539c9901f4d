package azure

import (
	"context"
	"errors"
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// advise says whether the role of a binding can be assigned on its scope. Principals are in a directory that the
// operator need not be able to read.
func (p *Platform) advise(ctx context.Context, b jit.Binding) []jit.Advice {
	c, err := p.client()
	if err != nil {
		return nil
	}
	role := b.Role
	_, err = c.roleID(ctx, b.Scope, role)
	var told *jit.Error
	if !errors.As(err, &told) || told.Attribute != "role" {
		return nil
	}
	return []jit.Advice{{Attribute: "role", Title: "The role does not exist", Text: fmt.Sprintf("%s; %s. Until it exists the apply fails.", told.Problem, told.Hint)}}
}
