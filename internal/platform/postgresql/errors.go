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
	codeReadOnly        = "25006"
	codeAuthorization   = "28000"
	codePassword        = "28P01"
	codeDependents      = "2BP01"
	codeNoDatabase      = "3D000"
	codeSerialization   = "40001"
	codeDeadlock        = "40P01"
	codePrivilege       = "42501"
	codeUndefinedObject = "42704"
	codeDuplicateObject = "42710"
	codeUniqueViolation = "23505"
	codeLockTimeout     = "55P03"
	codeInternal        = "XX000"
	codeTooManyClients  = "53300"
)

// lostRace reports whether the error comes from another writer and the same change may succeed if repeated.
func lostRace(err error) bool {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.Code {
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
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == codeReadOnly {
		return &jit.Error{Problem: fmt.Sprintf("%s can only be read; it is a standby, or default_transaction_read_only is on", p.address()),
			Hint: "name the primary in the target's url, or several hosts with target_session_attrs=read-write", Err: err}
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
func leftover(u unit, s statement, err error) error {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return err
	}
	told := &jit.Error{
		Problem: fmt.Sprintf("access has ended, but role %q cannot be dropped: %s", u.dropped, sentence(refused)),
		Err:     err,
	}
	heir := u.heir
	if heir == "" {
		heir = "another role"
	}
	switch refused.Code {
	case codeDependents:
		told.Hint = fmt.Sprintf("in each database named, run: REASSIGN OWNED BY %s TO %s, then look at what is left and run: DROP OWNED BY %s; the next sweep drops the role",
			quote(u.dropped), quote(heir), quote(u.dropped))
	case codeLockTimeout:
		told.Hint = "a session has a transaction open in which it made something as that role: end the session, or set terminate_sessions; the next sweep drops the role"
	case codePrivilege:
		told.Hint = "the admin role of the target needs " + s.needs
	}
	return told
}

// explainSessions says why the sessions of a principal could not be ended.
func explainSessions(principal string, err error) error {
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

// sentence is the server's message with its detail, on one line.
func sentence(e *pgconn.PgError) string {
	text := e.Message
	if e.Detail != "" {
		text += " (" + strings.ReplaceAll(e.Detail, "\n", ", ") + ")"
	}
	return text
}
