package postgresql

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// state is a server's answer about all roles, or about those that were asked for.
type state struct {
	clock time.Time
	// operator is the role that we act as.
	operator string
	// standby: the server follows another one and is read-only.
	standby bool
	roles   map[string]role
	// oids are those of the roles, for a snapshot.
	oids map[string]bool
	// memberships, in the order of role, member and grantor.
	memberships []membership
	// made is what may outlive the access that ends.
	made []made
}

// role is one role of the server.
type role struct {
	OID        uint32
	Name       string
	Login      bool
	Inherit    bool
	Super      bool
	CreateRole bool
	CreateDB   bool
	Replicate  bool
	BypassRLS  bool
	Comment    string
	// Owns: it owns something that counts in the query.
	Owns bool
}

// membership is one row of pg_auth_members. Since 16 there may be several for the same role and member, each by another
// grantor.
type membership struct {
	Role, Member, Grantor string
	Admin                 bool
	// Inherit and Set are always true before 16.
	Inherit, Set bool
	// Automatic: the server itself granted it to the creator of the role, as it does since 16. It gives no access, only
	// the right to administer the role.
	Automatic bool
}

// Every name is qualified, operators too: see the package comment.
const (
	// clockSQL reads the time, the current role, and whether the server is a standby.
	clockSQL = `SELECT pg_catalog.clock_timestamp(), CURRENT_USER::pg_catalog.text, pg_catalog.pg_is_in_recovery()`

	// rolesSQL is a format for ownsSQL. A comment can have a gigabyte, and a marker never has more than 1000 characters.
	rolesSQL = `SELECT r.oid, r.rolname::pg_catalog.text, r.rolcanlogin, r.rolinherit, r.rolsuper, r.rolcreaterole, r.rolcreatedb,
	r.rolreplication, r.rolbypassrls, COALESCE(pg_catalog.left(d.description, 1000), ''),
	%s
FROM pg_catalog.pg_roles r
LEFT JOIN pg_catalog.pg_shdescription d ON d.objoid OPERATOR(pg_catalog.=) r.oid
	AND d.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass`

	// ownsSQL tests whether the role r owns anything. It is a format for a condition on the property that counts.
	ownsSQL = `EXISTS (SELECT FROM pg_catalog.pg_shdepend s WHERE s.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass
		AND s.refobjid OPERATOR(pg_catalog.=) r.oid AND s.deptype OPERATOR(pg_catalog.=) 'o'%s)`

	// inReach: the property is in the current database, or shared, such as a database. Default privileges do not count.
	inReach = ` AND (s.dbid OPERATOR(pg_catalog.=) 0 OR s.dbid OPERATOR(pg_catalog.=)
		(SELECT b.oid FROM pg_catalog.pg_database b WHERE b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()))
		AND s.classid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_default_acl'::pg_catalog.regclass`

	membershipsSQL = `SELECT g.rolname::pg_catalog.text, u.rolname::pg_catalog.text, COALESCE(b.rolname::pg_catalog.text, ''), m.admin_option, %s
FROM pg_catalog.pg_auth_members m
JOIN pg_catalog.pg_roles g ON g.oid OPERATOR(pg_catalog.=) m.roleid
JOIN pg_catalog.pg_roles u ON u.oid OPERATOR(pg_catalog.=) m.member
LEFT JOIN pg_catalog.pg_roles b ON b.oid OPERATOR(pg_catalog.=) m.grantor`
	membershipsOrder = ` ORDER BY 1, 2, 3`

	// named is the condition that a name is among those of the first parameter.
	named = ` OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.text[]::pg_catalog.name[])`

	optionsBefore16 = `true, true, false`
	// 10 is the role that initdb creates, in whose name the server grants.
	optionsSince16 = `m.inherit_option, m.set_option,
	m.admin_option AND NOT m.inherit_option AND NOT m.set_option AND m.grantor OPERATOR(pg_catalog.=) 10`
)

var (
	// allRoles selects all roles of the server, and whether they own anything.
	allRoles = fmt.Sprintf(rolesSQL, fmt.Sprintf(ownsSQL, ""))
	// namedRoles selects the roles named in the first parameter, and whether they own anything in reach.
	namedRoles = fmt.Sprintf(rolesSQL, fmt.Sprintf(ownsSQL, inReach)) + ` WHERE r.rolname` + named
)

func membershipsQuery(major int) string {
	if major < 16 {
		return fmt.Sprintf(membershipsSQL, optionsBefore16)
	}
	return fmt.Sprintf(membershipsSQL, optionsSince16)
}

// namedMemberships is the query for the memberships of, and in, the roles whose names are in the first parameter. Each
// half can use an index of its own.
func namedMemberships(major int) string {
	query := membershipsQuery(major)
	return query + " WHERE g.rolname" + named + " UNION " + query + " WHERE u.rolname" + named + membershipsOrder
}

// queueAll queues the queries for a snapshot.
func (s *state) queueAll(batch *pgx.Batch, major int) {
	s.queue(batch, batch.Queue(allRoles),
		batch.Queue(membershipsQuery(major)+membershipsOrder))
}

// queueNamed queues the queries for the roles of these names and the memberships of the wrappers among them.
func (s *state) queueNamed(batch *pgx.Batch, major int, names, wrappers []string) {
	s.queue(batch, batch.Queue(namedRoles, names), batch.Queue(namedMemberships(major), wrappers))
}

func (s *state) queue(batch *pgx.Batch, roles, memberships *pgx.QueuedQuery) {
	roles.Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[role])
		s.roles = make(map[string]role, len(found))
		for _, r := range found {
			s.roles[r.Name] = r
		}
		return err
	})
	memberships.Query(collect(&s.memberships))
	batch.Queue(clockSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&s.clock, &s.operator, &s.standby) })
}

// wrapper is a role named like one that carries a grant, with its memberships.
type wrapper struct {
	role
	// marker is the marker in the comment; marked is false if there is none.
	marker jit.Marker
	marked bool
	// principal is the oid, from the comment, of the role that the grant was made for; empty if the comment has none.
	principal string
	// members are the rows in which the wrapper is the role, without the automatic ones.
	members []membership
	// makers are the roles that created the wrapper or may administer it; known since 16.
	makers []string
	// memberOf are the rows in which the wrapper is the member.
	memberOf []membership
}

// wrappers returns every role that is named like a wrapper, ordered by name.
func (s *state) wrappers() []*wrapper {
	byName := map[string]*wrapper{}
	for name, r := range s.roles {
		if strings.HasPrefix(name, wrapperPrefix) {
			w := &wrapper{role: r}
			var marker string
			marker, w.principal, _ = strings.Cut(r.Comment, forPrincipal)
			w.marker, w.marked = jit.ParseMarker(marker)
			byName[name] = w
		}
	}
	for _, m := range s.memberships {
		if w := byName[m.Role]; w != nil && m.Automatic {
			w.makers = append(w.makers, m.Member)
		} else if w != nil {
			w.members = append(w.members, m)
		}
		if w := byName[m.Member]; w != nil {
			w.memberOf = append(w.memberOf, m)
		}
	}
	return slices.SortedFunc(maps.Values(byName), func(a, b *wrapper) int { return strings.Compare(a.Name, b.Name) })
}

// forPrincipal stands between the marker and the principal's oid in the comment of a wrapper. A role that was dropped
// and created again under the same name has another oid.
const forPrincipal = " for role "

func comment(m jit.Marker, principal role) string {
	return fmt.Sprint(m, forPrincipal, principal.OID)
}

// ours reports whether the role carries the grant that its comment names.
func (w *wrapper) ours() bool {
	return w.marked && w.Name == wrapperName(w.marker.Owner, w.marker.ID)
}

// right reports whether the row gives access as we grant it on a server of that major version.
func (m membership) right(major int) bool {
	return !m.Admin && m.Inherit && (major < 16 || !m.Set)
}

// gives reports whether the member has the privileges of the role, or can take them.
func (m membership) gives() bool { return m.Inherit || m.Set }

// has reports whether a role is a member of the wrapper.
func (w *wrapper) has(member string) bool {
	return slices.ContainsFunc(w.members, func(m membership) bool { return m.Member == member })
}

// carries reports whether the principal has the role of the binding through the wrapper.
func (w *wrapper) carries(b jit.Binding) bool {
	return w.has(b.Principal) && slices.ContainsFunc(w.memberOf, func(m membership) bool { return m.Role == b.Role })
}
