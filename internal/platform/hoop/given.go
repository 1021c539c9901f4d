package hoop

import (
	"context"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Given tells that a user may also be written with user: before the e-mail. It makes no call.
func (p *Platform) Given(_ context.Context, b jit.Binding, _ bool) (jit.Given, error) {
	g := jit.AsWritten(b)
	if !strings.HasPrefix(b.Principal, groupPrefix) {
		g.Principal.IDs = []string{userPrefix + b.Principal}
	}
	return g, nil
}
