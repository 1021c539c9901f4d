package postgresql

import (
	"context"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

var _ jit.Interpreter = (*Platform)(nil)

// Given says of a predefined role (https://www.postgresql.org/docs/current/predefined-roles.html) that it has to be
// named: some read every table, some run programs on the server. It makes no call.
func (p *Platform) Given(_ context.Context, b jit.Binding, _ bool) (jit.Given, error) {
	g := jit.AsWritten(b)
	if strings.HasPrefix(b.Role, "pg_") {
		g.Role.Guard = "PostgreSQL itself gives it powers over the whole server"
	}
	return g, nil
}
