package postgresql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// statement is one SQL statement and what the server asks of whoever runs it.
type statement struct {
	sql string
	// needs says in words which privilege it takes.
	needs string
}

// server is what statements depend on: the major version, and the role that we act as.
type server struct {
	major    int
	operator string
}

// part is what a unit does for its change.
type part int

const (
	// ensures makes the access what it has to be.
	ensures part = iota
	// cuts takes one member off the wrapper.
	cuts
	// severs takes the wrapper off the roles that it is a member of.
	severs
	// drops drops the wrapper, and with it every membership that is left.
	drops
)

// unit is a list of statements that are carried out together or not at all.
type unit struct {
	change     int
	part       part
	statements []statement
	// dropped is the role that a unit drops and granted the role that it is a member of.
	dropped, granted string
}

// how says how hard a change tries. What it says is the least that is needed, found out by trying.
type how struct {
	// sever: a member could not be taken off, so the wrapper loses its own memberships.
	sever bool
	// clean: something depends on the wrapper, so it cannot be dropped as it is.
	clean bool
	// rebuild: the wrapper may not be repaired, so it is dropped and made again. Since 16 a membership can be
	// taken back only with the rights of whoever granted it, and dropping the role takes every membership along.
	rebuild bool
}

// ensure returns the statements that turn what is there (w, nil when nothing is)
// into the access asked for; none when all is right.
func ensure(a jit.Access, principal role, w *wrapper, on server, h how) []statement {
	name := wrapperName(a.Marker.Owner, a.Marker.ID)
	var list []statement
	foreign := func(maker string) bool { return maker != on.operator }
	if w != nil && (h.rebuild || w.Comment != comment(a.Marker, principal) && slices.ContainsFunc(w.makers, foreign)) {
		// Whoever made a role of that name ahead of us could give it, and what we make of it, to anybody.
		list = append(list, statement{"DROP ROLE " + quote(name), administration(name, on)})
		w = nil
	}
	if w == nil {
		list = append(list, statement{"CREATE ROLE " + quote(name) + " NOLOGIN INHERIT", "CREATEROLE"})
		w = &wrapper{role: role{Name: name, Inherit: true}}
	}
	for _, attr := range w.wrongAttributes() {
		list = append(list, statement{"ALTER ROLE " + quote(name) + " " + attr.want, administration(name, on)})
	}
	if text := comment(a.Marker, principal); w.Comment != text {
		list = append(list, statement{"COMMENT ON ROLE " + quote(name) + " IS " + literal(text), administration(name, on)})
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

// remove returns the units that end the access through w and drop it. Access ends with the
// smallest thing, the principal's own membership, because nobody else's transaction is likely to hold a lock that
// it needs. Dropping the role takes the other memberships along, without a lock on the role that was granted.
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
	var drop []statement
	if h.clean && !w.Owns { // dropping a role that owns something is refused, with the names of what it owns
		drop = clean(w, on)
		if !h.sever && !w.Login {
			drop = append(drop, sever...) // what the wrapper granted itself goes with its own memberships
		}
	}
	drop = append(drop, statement{"DROP ROLE " + quote(w.Name), administration(w.Name, on)})
	return append(units, unit{change: change, part: drops, statements: drop, dropped: w.Name, granted: granted})
}

// clean takes back the privileges that others granted to the wrapper in the database at hand, and its default privileges.
// Property of the wrapper stays where it is: dropped, its data would be lost, and a function or view acts with the rights of
// its owner, so whoever can make a role of that name would choose what runs with the rights of an heir.
//
// DROP OWNED would drop property. unlessOwner stops before it. Between the two, something can become the wrapper's
// only through a superuser, whoever administers the wrapper or, before 16, a session that did SET ROLE; no lock that we may
// take keeps them out for those microseconds.
func clean(w *wrapper, on server) []statement {
	// Only a member of the wrapper may do that.
	join := statement{"GRANT " + quote(w.Name) + " TO CURRENT_USER", administration(w.Name, on)}
	if on.major >= 16 {
		join.sql += " WITH INHERIT TRUE"
	}
	return []statement{join, {unlessOwner(w.Name), "sight of the catalog"}, {"DROP OWNED BY " + quote(w.Name), administration(w.Name, on)}}
}

// unlessOwner fails with [codeDivision] if the role owns anything in reach.
func unlessOwner(name string) string {
	return "SELECT 1 OPERATOR(pg_catalog./) CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) " +
		literal(name) + "::pg_catalog.text::pg_catalog.name AND " + fmt.Sprintf(ownsSQL, inReach) + ") THEN 0 ELSE 1 END"
}

// grant makes member a member of role.
func grant(role, member string, on server) statement {
	s := statement{"GRANT " + quote(role) + " TO " + quote(member), adminOption(role, on)}
	if on.major >= 16 {
		s.sql += " WITH INHERIT TRUE, SET FALSE"
	}
	return s
}

// revoke takes back one membership, and what was granted on the strength of it.
func revoke(m membership, on server) statement {
	s := statement{"REVOKE " + quote(m.Role) + " FROM " + quote(m.Member), adminOption(m.Role, on)}
	if on.major >= 16 && m.Grantor != "" {
		s.sql += " GRANTED BY " + quote(m.Grantor)
		if !strings.HasPrefix(m.Role, wrapperPrefix) { // dropping a wrapper takes its members along, whoever granted it
			s.needs += fmt.Sprintf(", and the privileges of %q, who granted it", m.Grantor)
		}
	}
	s.sql += " CASCADE"
	return s
}

// adminOption is what it takes to grant or revoke a role.
func adminOption(role string, on server) string {
	if strings.HasPrefix(role, wrapperPrefix) {
		return administration(role, on)
	}
	if on.major < 16 {
		return fmt.Sprintf("CREATEROLE or ADMIN OPTION on role %q (a superuser role: SUPERUSER)", role)
	}
	return fmt.Sprintf("ADMIN OPTION on role %q (a superuser role: SUPERUSER)", role)
}

// administration is what it takes to alter or drop a role that carries a grant.
func administration(wrapper string, on server) string {
	if on.major < 16 {
		return "CREATEROLE"
	}
	return fmt.Sprintf("CREATEROLE and ADMIN OPTION on role %q, which the role that created it has until a major upgrade of the server; as a superuser, run: GRANT %s TO %s WITH ADMIN TRUE, INHERIT FALSE, SET FALSE",
		wrapper, quote(wrapper), quote(on.operator))
}

// terminateSQL ends every session of the role named $1 but the one at hand.
const terminateSQL = `SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
WHERE usename::pg_catalog.text OPERATOR(pg_catalog.=) $1 AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()`

// terminateNeeds is what terminateSQL takes.
func terminateNeeds(principal string) string {
	return fmt.Sprintf("membership of pg_signal_backend or of %q (a superuser's sessions: SUPERUSER)", principal)
}
