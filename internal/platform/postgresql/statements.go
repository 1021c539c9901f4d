package postgresql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/pgsession"
)

// statement is one SQL statement: the text before a list of roles, the list, and the text after it.
type statement struct {
	before string
	// role is the only role in the list. It is empty if the statement has no list; before is then the whole text.
	role, after string
	// needs names the privilege that it requires.
	needs string
}

// sql returns the text of the statement.
func (s statement) sql() string {
	if s.role == "" {
		return s.before
	}
	return s.before + quote(s.role) + s.after
}

// plain returns a statement without a list of roles.
func plain(sql, needs string) statement { return statement{before: sql, needs: needs} }

// of returns a statement about a role and its member, with a list of whichever is a wrapper.
func of(verb, preposition, role, member, needs string) statement {
	if strings.HasPrefix(role, wrapperPrefix) {
		return statement{verb, role, preposition + quote(member), needs}
	}
	return statement{verb + quote(role) + preposition, member, "", needs}
}

// drop drops a wrapper.
func drop(name string, on server) statement {
	return statement{"DROP ROLE ", name, "", administration(name, on)}
}

// server holds what statements depend on: the major version, and the role that we act as.
type server struct {
	major    int
	operator string
}

// part is what a unit does for its change.
type part int

const (
	// ensures makes the access as asked for.
	ensures part = iota
	// cuts takes one member off the wrapper.
	cuts
	// severs takes the wrapper off the roles that it is a member of.
	severs
	// drops drops the wrapper, and with it its remaining memberships.
	drops
)

// unit is a list of statements that take effect together or not at all.
type unit struct {
	change     int
	part       part
	statements []statement
	// dropped is the role that the unit drops, granted the role that it is a member of.
	dropped, granted string
}

// how is how hard a change tries. Each attempt that fails raises it as far as needed.
type how struct {
	// sever: a member could not be taken off, so the wrapper loses its own memberships.
	sever bool
	// clean: something depends on the wrapper, so its privileges are taken back before the drop.
	clean bool
	// rebuild: the wrapper cannot be repaired, so it is dropped and created again. Since 16 only the grantor's rights
	// permit revoking a membership, but dropping the role removes every membership.
	rebuild bool
}

// ensure returns the statements that turn the wrapper w, nil if there is none, into the access asked for; none if it is
// right already.
func ensure(a jit.Access, principal role, w *wrapper, on server, h how) []statement {
	name := wrapperName(a.Marker.Owner, a.Marker.ID)
	var list []statement
	foreign := func(maker string) bool { return maker != on.operator }
	if w != nil && (h.rebuild || w.Comment != comment(a.Marker, principal) && slices.ContainsFunc(w.makers, foreign)) {
		// Another role that created this one ahead of us could grant it, with the access, to anybody.
		list = append(list, drop(name, on))
		w = nil
	}
	if w == nil {
		list = append(list, plain("CREATE ROLE "+quote(name)+" NOLOGIN INHERIT", "CREATEROLE"))
		w = &wrapper{role: role{Name: name, Inherit: true}}
	}
	for _, attr := range w.wrongAttributes() {
		list = append(list, plain("ALTER ROLE "+quote(name)+" "+attr.want, administration(name, on)))
	}
	if text := comment(a.Marker, principal); w.Comment != text {
		list = append(list, plain("COMMENT ON ROLE "+quote(name)+" IS "+pgsession.Literal(text),
			administration(name, on)))
	}
	granted := func(rows []membership, role, member string) {
		there := false
		for _, m := range rows {
			if m.Role == role && m.Member == member && m.right(on.major) {
				there = true
				continue
			}
			list = append(list, revoke(m, on))
		}
		if !there {
			list = append(list, grant(role, member, on))
		}
	}
	granted(w.memberOf, a.Binding.Role, name)
	granted(w.members, name, a.Binding.Principal)
	return list
}

// remove returns the units that end the access through w and drop it. The principal's own membership ends first,
// because other transactions rarely hold a lock that this needs. Dropping the role removes the other memberships,
// without a lock on the role that was granted.
func remove(change int, a jit.Access, w *wrapper, on server, h how) []unit {
	var units []unit
	for _, m := range w.members {
		units = append(units, unit{change: change, part: cuts, statements: []statement{revoke(m, on)}})
	}
	var sever []statement
	granted := a.Binding.Role
	for i, m := range w.memberOf {
		if i == 0 {
			granted = m.Role
		}
		sever = append(sever, revoke(m, on))
	}
	// A wrapper that can log in has the access itself.
	if (h.sever || w.Login) && len(sever) > 0 {
		units = append(units, unit{change: change, part: severs, statements: sever})
	}
	var last []statement
	if h.clean && !w.Owns { // dropping a role that owns something is refused, with the names of what it owns
		last = clean(w, on)
		if !h.sever && !w.Login {
			last = append(last, sever...) // grants that the wrapper made end with its memberships
		}
	}
	last = append(last, drop(w.Name, on))
	return append(units, unit{change: change, part: drops, statements: last, dropped: w.Name, granted: granted})
}

// clean takes back the privileges that others granted to the wrapper in the current database, and its default
// privileges. It does not touch property of the wrapper. Dropping it would lose data. Giving it to another role would
// run code of the wrapper with that role's rights, because functions and views act with the rights of their owner.
//
// DROP OWNED would drop property, so unlessOwner stops before it. Between the two, only a superuser, an administrator
// of the wrapper or, before 16, a session that did SET ROLE can give the wrapper property. We may take no lock that
// prevents this for those microseconds.
func clean(w *wrapper, on server) []statement {
	// Only a member of the wrapper may run DROP OWNED.
	join := "GRANT " + quote(w.Name) + " TO CURRENT_USER"
	if on.major >= 16 {
		join += " WITH INHERIT TRUE"
	}
	return []statement{plain(join, administration(w.Name, on)), plain(unlessOwner(w.Name), "sight of the catalog"),
		plain("DROP OWNED BY "+quote(w.Name), administration(w.Name, on))}
}

// unlessOwner fails with [codeDivision] if the role owns anything in reach.
func unlessOwner(name string) string {
	return "SELECT 1 OPERATOR(pg_catalog./) CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname " +
		"OPERATOR(pg_catalog.=) " +
		pgsession.Literal(name) + "::pg_catalog.text::pg_catalog.name AND " + fmt.Sprintf(ownsSQL,
		inReach) + ") THEN 0 ELSE 1 END"
}

// grant makes member a member of role.
func grant(role, member string, on server) statement {
	s := of("GRANT ", " TO ", role, member, adminOption(role, on))
	if on.major >= 16 {
		s.after += " WITH INHERIT TRUE, SET FALSE"
	}
	return s
}

// revoke takes back one membership, and what its member granted with it.
func revoke(m membership, on server) statement {
	s := of("REVOKE ", " FROM ", m.Role, m.Member, adminOption(m.Role, on))
	if on.major >= 16 && m.Grantor != "" {
		s.after += " GRANTED BY " + quote(m.Grantor)
		if !strings.HasPrefix(m.Role, wrapperPrefix) { // dropping a wrapper takes its members along, whoever granted it
			s.needs += fmt.Sprintf(", and the privileges of %q, who granted it", m.Grantor)
		}
	}
	s.after += " CASCADE"
	return s
}

// adminOption names the privilege to grant or revoke a role.
func adminOption(role string, on server) string {
	if strings.HasPrefix(role, wrapperPrefix) {
		return administration(role, on)
	}
	if on.major < 16 {
		return fmt.Sprintf("CREATEROLE or ADMIN OPTION on role %q (a superuser role: SUPERUSER)", role)
	}
	return fmt.Sprintf("ADMIN OPTION on role %q (a superuser role: SUPERUSER)", role)
}

// administration names the privilege to alter or drop a role that carries a grant.
func administration(wrapper string, on server) string {
	if on.major < 16 {
		return "CREATEROLE"
	}
	return fmt.Sprintf("CREATEROLE and ADMIN OPTION on role %q, which the role that created it has until a major "+
		"upgrade of the server; as a superuser, run: GRANT %s TO %s WITH ADMIN TRUE, INHERIT FALSE, SET FALSE",
		wrapper, quote(wrapper), quote(on.operator))
}

// terminateSQL ends every session of the role named $1 except its own.
const terminateSQL = `SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
WHERE usename::pg_catalog.text OPERATOR(pg_catalog.=) $1 AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()`

// terminateNeeds names the privilege for terminateSQL.
func terminateNeeds(principal string) string {
	return fmt.Sprintf("membership of pg_signal_backend or of %q (a superuser's sessions: SUPERUSER)", principal)
}
