package postgresql

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// SQLSTATE codes (PostgreSQL, appendix A).
const (
	codeUnsupported     = "0A000"
	codeReadOnly        = "25006"
	codeAuthorization   = "28000"
	codePassword        = "28P01"
	codeDependents      = "2BP01"
	codeNoDatabase      = "3D000"
	codeDivision        = "22012"
	codeSerialization   = "40001"
	codeDeadlock        = "40P01"
	codePrivilege       = "42501"
	codeUndefinedObject = "42704"
	codeDuplicateObject = "42710"
	codeUniqueViolation = "23505"
	codeLockTimeout     = "55P03"
	codeCanceled        = "57014"
	codeInternal        = "XX000"
	codeTooManyClients  = "53300"
)

// primaryHint is the hint for a standby.
const primaryHint = "name the primary in the target's url, or several hosts with target_session_attrs=primary"

// sqlState returns the SQLSTATE of an error; empty if the error is not the server's.
func sqlState(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

// lostRace reports whether the error comes from another writer and the same change may succeed if repeated.
func lostRace(err error) bool {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.Code {
	case codeCanceled: // by a statement_timeout that hit before it was pinned, or by somebody
		return true
	case codeDivision: // of unlessOwner alone
		return true
	case codeSerialization, codeDeadlock, codeUniqueViolation, codeDuplicateObject, codeUndefinedObject, codeTooManyClients, codeLockTimeout:
		return true
	case codeInternal:
		return slices.ContainsFunc([]string{"tuple concurrently", "cache lookup failed", "could not find tuple"},
			func(s string) bool { return strings.Contains(refused.Message, s) })
	}
	return false
}

// explain describes an error that concerns a whole call.
func (p *Platform) explain(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s on %s: %w", doing, p.address(), ctx.Err())
	}
	// A standby refuses BEGIN READ WRITE as not supported; a transaction that is read-only is refused at the first
	// write.
	if code := sqlState(err); code == codeReadOnly || code == codeUnsupported {
		return &jit.Error{Problem: fmt.Sprintf("%s can only be read; it is a standby", p.address()),
			Hint: primaryHint, Err: err}
	}
	return fmt.Errorf("%s on %s: %w", doing, p.address(), err)
}

// explainConnect describes why there is no connection. It never shows the password.
func (p *Platform) explainConnect(err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("connect to %s: %w", p.address(), context.Canceled)
	}
	config := p.pool.Config().ConnConfig
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return &jit.Error{Problem: fmt.Sprintf("cannot reach PostgreSQL at %s: %s", p.address(), reason(err)),
			Hint: "check the host and port in the target's url, and the network between", Err: err}
	}
	hint := "check the target's url"
	switch refused.Code {
	case codePassword:
		hint = "correct the password in the target's url, PGPASSWORD or the password file"
	case codeAuthorization:
		hint = "check the user in the target's url and the server's pg_hba.conf"
	case codeNoDatabase:
		hint = "name a database that exists in the target's url, for example /postgres"
	case codeTooManyClients:
		hint = "wait until connections are free, or raise max_connections"
	}
	return &jit.Error{Problem: fmt.Sprintf("PostgreSQL at %s does not let %q in: %s", p.address(), config.User,
		refused.Message), Hint: hint, Err: err}
}

// reason is the innermost error of a chain; the outer ones repeat the address.
func reason(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Error()
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// address names the server, without user and password.
func (p *Platform) address() string {
	config := p.pool.Config().ConnConfig
	all := []string{net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))}
	for _, f := range config.Fallbacks {
		all = append(all, net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port))))
	}
	return strings.Join(slices.Compact(all), ", ")
}

// explainStatement describes why a statement of a change was refused.
func explainStatement(c jit.Change, s statement, err error) error {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return err
	}
	if refused.Code == codePrivilege {
		return &jit.Error{
			Problem: fmt.Sprintf("the admin role of the target lacks a privilege: %s", sentence(refused)),
			Hint:    "it needs " + s.needs,
			Err:     err,
		}
	}
	return &jit.Error{Problem: fmt.Sprintf("%s membership of %q in %q: %s", c.Op, c.Access.Binding.Principal,
		c.Access.Binding.Role, sentence(refused)), Err: err}
}

// leftover is the error for access that has ended and whose wrapper could not be dropped.
func leftover(r refusal) error {
	var refused *pgconn.PgError
	if !errors.As(r.err, &refused) {
		return r.err
	}
	u := r.unit
	failure := &jit.Error{
		Problem: fmt.Sprintf("access has ended, but role %q cannot be dropped: %s", u.dropped, sentence(refused)),
		Hint:    "the next sweep tries again",
		Err:     errors.Join(jit.ErrRemains, r.err),
	}
	switch refused.Code {
	case codeDependents:
		failure.Hint = fmt.Sprintf("look first at what it owns, because a function or view acts with the rights of "+
			"its owner: give it to no role that has rights; "+
			"in each database named, run as a superuser: BEGIN; CREATE ROLE leftover; REASSIGN OWNED BY %[1]s TO "+
			"leftover; DROP OWNED BY %[1]s; COMMIT; the next sweep drops the role", quote(u.dropped))
	case codePrivilege:
		failure.Hint = "the admin role of the target needs " + r.statement.needs
	}
	return failure
}

// explainSessions describes why the sessions of a principal could not be ended.
func explainSessions(principal string, err error) *jit.Error {
	failure := &jit.Error{Attribute: "terminate_sessions",
		Problem: fmt.Sprintf("access has ended, but the open sessions of %q continue: %v", principal, err), Err: err}
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		failure.Problem = fmt.Sprintf("access has ended, but the open sessions of %q continue: %s", principal,
			sentence(refused))
		if refused.Code == codePrivilege {
			failure.Hint = "the admin role of the target needs " + terminateNeeds(principal)
		}
	}
	return failure
}

// withSessions adds to the error of a change that sessions continue. The result is not [jit.ErrRemains]: access
// continues.
func withSessions(err error, sessions *jit.Error) error {
	if errors.Is(err, jit.ErrRemains) {
		sessions.Problem = fmt.Sprintf("%s; %v", sessions.Problem, err)
		return sessions
	}
	return errors.Join(err, sessions)
}

// sentence is the server's message with its detail, on one line.
func sentence(e *pgconn.PgError) string {
	text := e.Message
	if e.Detail != "" {
		text += " (" + strings.ReplaceAll(e.Detail, "\n", ", ") + ")"
	}
	return text
}

// noLogin is the error for a principal that is a group.
func noLogin(principal string) *jit.Error {
	return &jit.Error{Attribute: "principal", Problem: fmt.Sprintf("%q cannot log in; as a group it would pass the "+
		"access on to all of its members", principal),
		Hint: "name the role that the person or program logs in as"}
}

// missingRole is the error for a role of a grant that does not exist.
func missingRole(attribute, name string) *jit.Error {
	return &jit.Error{
		Attribute: attribute,
		Problem:   fmt.Sprintf("the server has no role %q (case counts)", name),
		Hint:      "create the role first, or correct the name",
	}
}
