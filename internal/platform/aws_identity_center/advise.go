package awsidentitycenter

import (
	"context"
	"errors"
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// advise warns of a user, group or permission set that does not exist.
func (p *Platform) advise(ctx context.Context, b jit.Binding) []jit.Advice {
	c, err := p.client(ctx)
	if err != nil {
		return nil
	}
	_, err = c.object(ctx, b)
	var told *jit.Error
	if !errors.As(err, &told) || told.Attribute != "principal" && told.Attribute != "role" {
		return nil
	}
	title := "The permission set does not exist"
	if told.Attribute == "principal" {
		title = "The principal does not exist"
	}
	return []jit.Advice{{Attribute: told.Attribute, Title: title,
		Text: fmt.Sprintf("%s; %s. The apply fails until it exists.", told.Problem, told.Hint)}}
}
