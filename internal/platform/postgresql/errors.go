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

// primaryHint says what to do about a standby.
const primaryHint = "name the primary in the target's url, or several hosts with target_session_attrs=primary"

// sqlState returns the server's code of an error, "" when the error is not the server's.
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

// explain turns an error that concerns all of a call into words.
func (p *Platform) explain(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s on %s: %w", doing, p.address(), ctx.Err())
	}
	// A standby refuses BEGIN READ WRITE as not supported; a transaction that is read-only is refused at the first write.
	if code := sqlState(err); code == codeReadOnly || code == codeUnsupported {
		return &jit.Error{Problem: fmt.Sprintf("%s can only be read; it is a standby", p.address()),
			Hint: primaryHint, Err: err}
	}
	return fmt.Errorf("%s on %s: %w", doing, p.address(), err)
}

// explainConnect says why there is no connection, without a word of the password.
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
	return &jit.Error{Problem: fmt.Sprintf("PostgreSQL at %s does not let %q in: %s", p.address(), config.User, refused.Message), Hint: hint, Err: err}
}

// reason is the innermost of a chain of errors; those around it repeat the address.
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

// explainStatement says why a statement of a change was refused.
func explainStatement(c jit.Change, s statement, err error) error {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return err
	}
	if refused.Code == codePrivilege {
		return &jit.Error{
			Problem: fmt.Sprintf("the admin role of the target may not do it: %s", sentence(refused)),
			Hint:    "it needs " + s.needs,
			Err:     err,
		}
	}
	return &jit.Error{Problem: fmt.Sprintf("%s membership of %q in %q: %s", c.Op, c.Access.Binding.Principal, c.Access.Binding.Role, sentence(refused)), Err: err}
}

// leftover says that access has ended and that its wrapper could not be dropped.
func leftover(r refusal) error {
	var refused *pgconn.PgError
	if !errors.As(r.err, &refused) {
		return r.err
	}
	u := r.unit
	told := &jit.Error{
		Problem: fmt.Sprintf("access has ended, but role %q cannot be dropped: %s", u.dropped, sentence(refused)),
		Hint:    "the next sweep tries again",
		Err:     errors.Join(jit.ErrRemains, r.err),
	}
	switch refused.Code {
	case codeDependents:
		told.Hint = fmt.Sprintf("look first at what it owns, because a function or view acts with the rights of its owner: give it to no role that has rights; "+
			"in each database named, run as a superuser: BEGIN; CREATE ROLE leftover; REASSIGN OWNED BY %[1]s TO leftover; DROP OWNED BY %[1]s; COMMIT; the next sweep drops the role", quote(u.dropped))
	case codePrivilege:
		told.Hint = "the admin role of the target needs " + r.statement.needs
	}
	return told
}

// explainSessions says why the sessions of a principal could not be ended.
func explainSessions(principal string, err error) *jit.Error {
	told := &jit.Error{Attribute: "terminate_sessions", Problem: fmt.Sprintf("access has ended, but the open sessions of %q live on: %v", principal, err), Err: err}
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		told.Problem = fmt.Sprintf("access has ended, but the open sessions of %q live on: %s", principal, sentence(refused))
		if refused.Code == codePrivilege {
			told.Hint = "the admin role of the target needs " + terminateNeeds(principal)
		}
	}
	return told
}

// withSessions adds that sessions live on to the error of a change. Then it is more than remains that is left.
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

// noLogin says that the principal of a grant is a group.
func noLogin(principal string) *jit.Error {
	return &jit.Error{Attribute: "principal", Problem: fmt.Sprintf("%q cannot log in; as a group it would pass the access on to all of its members", principal),
		Hint: "name the role that the person or program logs in as"}
}

// missingRole says that a role named by a grant is not there.
func missingRole(attribute, name string) *jit.Error {
	return &jit.Error{
		Attribute: attribute,
		Problem:   fmt.Sprintf("the server has no role %q (case counts)", name),
		Hint:      "create the role first, or correct the name",
	}
}
