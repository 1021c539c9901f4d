package hoop

import (
	"fmt"
	"net/mail"
	"regexp"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// connect is the one role.
	connect = "connect"

	userPrefix  = "user:"
	groupPrefix = "group:"

	// maxTTL is the longest review that hoop makes; a longer one leaves a session without any.
	maxTTL = 48 * time.Hour
)

// connectionName is what hoop takes as the name of a connection.
var connectionName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// Check accepts in review mode the e-mail of a user, for at most 48 hours: hoop ends the right to
// connect, and a session that is open then goes on for as long as the grant was. In attribute mode it accepts
// group:<name>, and only a sweeper ends the access. The role is connect and the scope the name of a connection.
func (p *Platform) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	var traits jit.Traits
	var err error
	if p.cfg.Mode == modeReview {
		traits = jit.Traits{Enforcement: jit.Native, SessionTail: maxTTL, CanTerminate: true, MaxTTL: maxTTL}
		b.Principal, err = parseUser(b.Principal)
	} else {
		traits = jit.Traits{Enforcement: jit.Sweeper, SessionTail: jit.Unlimited}
		err = checkGroup(b.Principal)
	}
	switch {
	case err != nil:
		return b, jit.Traits{}, err
	case b.Role != connect:
		return b, jit.Traits{}, jit.Invalid("role", `write role = "connect"`, "%q is not a role of hoop; there is one, connect", b.Role)
	case b.Scope == "":
		return b, jit.Traits{}, jit.Invalid("scope", `write for example scope = "payments-db"`, "the scope is missing; it is the name of a connection")
	case !connectionName.MatchString(b.Scope):
		return b, jit.Traits{}, jit.Invalid("scope", `write for example scope = "payments-db"`,
			"%q is not the name of a connection; it takes 1 to 128 letters, digits, underscores, dots and hyphens, and begins with none of the last two", b.Scope)
	}
	return b, traits, nil
}

// parseUser reads the e-mail of a user. Its case is kept: hoop tells Alice@example.com from alice@example.com.
func parseUser(s string) (string, error) {
	const hint = `write for example principal = "alice@example.com"`
	if err := jit.CheckText("principal", s); err != nil {
		return s, err
	}
	if strings.HasPrefix(s, groupPrefix) {
		return s, jit.Invalid("principal", `write the e-mail of a user, or use a target with mode = "attribute"`, "%q is a group, and a review is of one user", s)
	}
	email := strings.TrimPrefix(s, userPrefix)
	if read, err := mail.ParseAddress(email); err != nil || read.Address != email || strings.ContainsAny(email, `"\/`) {
		return s, jit.Invalid("principal", hint, "%q is not the e-mail of a user", s)
	}
	return email, nil
}

// checkGroup accepts group:<name>.
func checkGroup(s string) error {
	if err := jit.CheckText("principal", s); err != nil {
		return err
	}
	name, ok := strings.CutPrefix(s, groupPrefix)
	if !ok {
		hint := `write for example principal = "group:oncall"`
		if _, err := parseUser(s); err == nil {
			hint += fmt.Sprintf(`, or use a target with mode = "review" for %s`, s)
		}
		return jit.Invalid("principal", hint, "%q is not a group; an attribute ties groups to connections", s)
	}
	if name == "" || name != strings.TrimSpace(name) {
		return jit.Invalid("principal", `write for example principal = "group:oncall"`, "%q names no group, or has a blank at an end", s)
	}
	return nil
}
