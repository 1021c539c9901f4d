package postgresql

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// wrapperPrefix begins the name of every wrapper role.
	wrapperPrefix = "jit:"
	// maxName is the longest role name in bytes (NAMEDATALEN - 1); the server cuts longer ones short.
	maxName = 63
)

// Check accepts the names of two different roles, as the server spells them (case counts, no quotes), and the scope
// "cluster", which it also fills in. Access ends only through a sweeper. A session can outlive it for ever: SET ROLE
// survives REVOKE.
func (p *Platform) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	if err := checkName("principal", b.Principal); err != nil {
		return b, jit.Traits{}, err
	}
	if err := checkName("role", b.Role); err != nil {
		return b, jit.Traits{}, err
	}
	switch {
	case strings.HasPrefix(b.Principal, "pg_"):
		return b, jit.Traits{}, jit.Invalid("principal", "name the role that the person or program logs in as",
			"%q is reserved by PostgreSQL; no role that begins with pg_ can log in", b.Principal)
	case b.Principal == b.Role:
		return b, jit.Traits{}, jit.Invalid("role", "name the role whose privileges the principal is to have",
			"%q is the principal itself; a role cannot be a member of itself", b.Role)
	case b.Scope != "" && b.Scope != cluster:
		return b, jit.Traits{}, jit.Invalid("scope", `leave scope out, or write scope = "cluster"`,
			"%q is not a scope of a PostgreSQL server; memberships hold in all of its databases", b.Scope)
	}
	b.Scope = cluster
	return b, jit.Traits{Enforcement: jit.Sweeper, SessionTail: jit.Unlimited, CanTerminate: true}, nil
}

// checkName accepts what the server can have as the name of a role that is not ours.
func checkName(attribute, name string) error {
	if err := jit.CheckText(attribute, name); err != nil {
		return err
	}
	const hint = "write the name of a role as \\du of psql shows it"
	switch {
	case name == "":
		return jit.Invalid(attribute, hint, "the name is empty")
	case len(name) > maxName:
		return jit.Invalid(attribute, hint, "%q has %d bytes; a role name has at most %d", name, len(name), maxName)
	case strings.HasPrefix(name, wrapperPrefix):
		return jit.Invalid(attribute, hint, "%q begins with %s, the mark of the roles that carry grants", name,
			wrapperPrefix)
	case name == "public" || name == "none":
		return jit.Invalid(attribute, hint, "%q is a word of SQL; no role can have that name", name)
	}
	return nil
}

// wrapperName names the role that carries a grant: jit:<id>:<owner>. Of an owner that would make the name too long, a
// hash stands there; it begins with ~, as no owner does.
func wrapperName(owner string, id jit.ID) string {
	name := wrapperPrefix + string(id) + ":" + owner
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(owner))
	return (wrapperPrefix + string(id) + ":~" + hex.EncodeToString(sum[:]))[:maxName]
}

// quote writes a role name as an SQL identifier; all names pass through here.
func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
