package postgresql

import (
	"fmt"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// statement is one SQL statement and what the server asks of whoever runs it.
type statement struct {
	sql string
	// needs says in words which privilege it takes.
	needs string
}

// unit is a list of statements that are carried out together or not at all.
type unit struct {
	change     int
	statements []statement
	// early: it ends access ahead of the unit that follows, whose success makes up for a failure of this one.
	early bool
	// dropped is the role that the unit drops and heir the role its property goes to; empty when none.
	dropped, heir string
}

// ensure returns the statements that turn what is there (w, nil when nothing is)
// into the access asked for; none when all is right.
func ensure(a jit.Access, w *wrapper, major int) []statement {
	name := wrapperName(a.Marker.Owner, a.Marker.ID)
	var list []statement
	if w == nil {
		list = append(list, statement{"CREATE ROLE " + quote(name) + " NOLOGIN INHERIT", "CREATEROLE"})
		w = &wrapper{role: role{Name: name, Inherit: true}}
	}
	for _, attr := range w.wrongAttributes() {
		list = append(list, statement{"ALTER ROLE " + quote(name) + " " + attr.want, administration(name, major)})
	}
	if w.Comment != a.Marker.String() {
		list = append(list, statement{"COMMENT ON ROLE " + quote(name) + " IS " + literal(a.Marker.String()), administration(name, major)})
	}
	granted := func(rows []membership, role, member string) {
		there := false
		for _, m := range rows {
			if m.Role == role && m.Member == member && m.right(major) {
				there = true
				continue
			}
			list = append(list, revoke(m, major))
		}
		if !there {
			list = append(list, grant(role, member, major))
		}
	}
	granted(w.memberOf, a.Binding.Role, name)
	granted(w.members, name, a.Binding.Principal)
	return list
}

// remove returns the units that end the access through w and drop it. The first ends
// the access even where the second fails, because the wrapper owns something out of reach.
// What the wrapper owns in reach goes to the role that it stood for; nothing is dropped with it.
func remove(change int, a jit.Access, w *wrapper, major int) []unit {
	heir := a.Binding.Role
	var end []statement
	for _, m := range w.members {
		end = append(end, revoke(m, major))
	}
	for i, m := range w.memberOf {
		if i == 0 {
			heir = m.Role
		}
		end = append(end, revoke(m, major))
	}
	var drop []statement
	if w.Owns && heir != "" {
		// Only a member of the wrapper may give its property away.
		drop = append(drop,
			statement{"GRANT " + quote(w.Name) + " TO CURRENT_USER", administration(w.Name, major)},
			statement{"REASSIGN OWNED BY " + quote(w.Name) + " TO " + quote(heir), fmt.Sprintf("membership of %q", heir)})
	}
	drop = append(drop, statement{"DROP ROLE " + quote(w.Name), administration(w.Name, major)})
	units := []unit{{change: change, statements: drop, dropped: w.Name, heir: heir}}
	if len(end) > 0 {
		units = append([]unit{{change: change, statements: end, early: true}}, units...)
	}
	return units
}

// grant makes member a member of role.
func grant(role, member string, major int) statement {
	s := statement{"GRANT " + quote(role) + " TO " + quote(member), adminOption(role, major)}
	if major >= 16 {
		s.sql += " WITH INHERIT TRUE, SET FALSE"
	}
	return s
}

// revoke takes back one membership, and what was granted on the strength of it.
func revoke(m membership, major int) statement {
	s := statement{"REVOKE " + quote(m.Role) + " FROM " + quote(m.Member), adminOption(m.Role, major)}
	if major >= 16 && m.Grantor != "" {
		s.sql += " GRANTED BY " + quote(m.Grantor)
		s.needs += fmt.Sprintf(", and the privileges of %q, who granted it", m.Grantor)
	}
	s.sql += " CASCADE"
	return s
}

// adminOption is what it takes to grant or revoke a role.
func adminOption(role string, major int) string {
	if strings.HasPrefix(role, wrapperPrefix) {
		return administration(role, major)
	}
	if major < 16 {
		return fmt.Sprintf("CREATEROLE or ADMIN OPTION on role %q (a superuser role: SUPERUSER)", role)
	}
	return fmt.Sprintf("ADMIN OPTION on role %q (a superuser role: SUPERUSER)", role)
}

// administration is what it takes to alter or drop a role that carries a grant.
func administration(wrapper string, major int) string {
	if major < 16 {
		return "CREATEROLE"
	}
	return fmt.Sprintf("CREATEROLE and ADMIN OPTION on role %q, which the role that created it has", wrapper)
}

// terminateSQL ends every session of the role named $1 but the one at hand.
const terminateSQL = `SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
WHERE usename::text = $1 AND pid <> pg_catalog.pg_backend_pid()`

// terminateNeeds is what terminateSQL takes.
func terminateNeeds(principal string) string {
	return fmt.Sprintf("membership of pg_signal_backend or of %q (a superuser's sessions: SUPERUSER)", principal)
}
