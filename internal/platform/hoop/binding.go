package hoop

import (
	"context"
	"fmt"
	"net/mail"
	"regexp"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// connect is the only role.
	connect = "connect"

	userPrefix  = "user:"
	groupPrefix = "group:"

	// maxTTL is the longest review that hoop makes. Asked for a longer one, it leaves a session without a review.
	maxTTL = 48 * time.Hour
)

// connectionName is the form of a connection's name.
var connectionName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// Check accepts the role connect on a connection, which is the scope. In review mode the principal is the e-mail of a
// user, for at most 48 hours: hoop ends the right to connect, and an open session continues for as long as the grant
// was. In attribute mode the principal is group:<name>, and only a sweeper ends the access.
func (p *Platform) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	traits := jit.Traits{Enforcement: jit.Sweeper, SessionTail: jit.Unlimited}
	parse := parseGroup
	if p.cfg.Mode == modeReview {
		traits = jit.Traits{Enforcement: jit.Native, SessionTail: maxTTL, CanTerminate: true, MaxTTL: maxTTL}
		parse = parseUser
	}
	principal, err := parse(b.Principal)
	const scopeHint = `write for example scope = "payments-db"`
	switch {
	case err != nil:
	case b.Role != connect:
		err = jit.Invalid("role", `write role = "connect"`, "%q is not a role of hoop; connect is the only one", b.Role)
	case b.Scope == "":
		err = jit.Invalid("scope", scopeHint, "the scope is missing; it is the name of a connection")
	case !connectionName.MatchString(b.Scope):
		err = jit.Invalid("scope", scopeHint, "%q is not the name of a connection; it has 1 to 128 letters, digits, "+
			"underscores, dots and hyphens, the first no dot or hyphen", b.Scope)
	}
	if err != nil {
		return b, jit.Traits{}, err
	}
	b.Principal = principal
	return b, traits, nil
}

// checkOn is Check of a binding that must be on a scope.
func (p *Platform) checkOn(scope string, b jit.Binding) (jit.Binding, error) {
	b, _, err := p.Check(b)
	if err == nil && b.Scope != scope {
		err = jit.Invalid("scope", "ask for it on its own scope", "a grant on %q cannot be made on %q", b.Scope, scope)
	}
	return b, err
}

// parseUser reads the e-mail of a user. It keeps the case: hoop distinguishes Alice@example.com from alice@example.com.
func parseUser(s string) (string, error) {
	if err := jit.CheckText("principal", s); err != nil {
		return s, err
	}
	if strings.HasPrefix(s, groupPrefix) {
		return s, jit.Invalid("principal", `write the e-mail of a user, or use a target with mode = "attribute"`,
			"%q is a group, and a review is for one user", s)
	}
	email := strings.TrimPrefix(s, userPrefix)
	read, err := mail.ParseAddress(email)
	if err != nil || read.Address != email || strings.ContainsAny(email, `"\/`) {
		return s, jit.Invalid("principal", `write for example principal = "alice@example.com"`,
			"%q is not the e-mail of a user", s)
	}
	return email, nil
}

// parseGroup accepts group:<name>.
func parseGroup(s string) (string, error) {
	if err := jit.CheckText("principal", s); err != nil {
		return s, err
	}
	hint := `write for example principal = "group:oncall"`
	name, ok := strings.CutPrefix(s, groupPrefix)
	if !ok {
		if _, err := parseUser(s); err == nil {
			hint += fmt.Sprintf(`, or use a target with mode = "review" for %s`, s)
		}
		return s, jit.Invalid("principal", hint, "%q is not a group; an attribute ties groups to connections", s)
	}
	if name == "" || name != strings.TrimSpace(name) {
		return s, jit.Invalid("principal", hint, "%q names no group, or begins or ends with a blank", s)
	}
	return s, nil
}

// Given adds the other form of a user, with user: before the e-mail. It makes no call.
func (p *Platform) Given(_ context.Context, b jit.Binding, _ bool) (jit.Given, error) {
	g := jit.AsWritten(b)
	if !strings.HasPrefix(b.Principal, groupPrefix) {
		g.Principal.IDs = []string{userPrefix + b.Principal}
	}
	return g, nil
}
