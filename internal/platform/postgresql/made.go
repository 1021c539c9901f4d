package postgresql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// made is something that acts with the rights of a granted role and that was made, or changed, since a wrapper of the
// role was granted it.
type made struct{ Wrapper, Role, What string }

// maxMade caps how much of it an error names.
const maxMade = 10

// madeSQL selects what is [made] since the wrappers named in the first parameter were granted their roles. Before 16 a
// member can use SET ROLE, whatever the wrapper is. It can then leave a function with SECURITY DEFINER, or a view, that
// the role owns. Both act with the rights of their owner. Of another database only the owners of functions are in sight.
//
// The transactions that wrote the rows tell their order. For a view that is the row of its rule, which CREATE OR REPLACE
// VIEW writes and VACUUM and REFRESH do not.
// https://www.postgresql.org/docs/15/sql-createfunction.html
// https://www.postgresql.org/docs/15/rules-privileges.html
const madeSQL = `WITH given AS MATERIALIZED (
	SELECT w.rolname, m.roleid, pg_catalog.age(m.xmin) AS since
	FROM pg_catalog.pg_roles w JOIN pg_catalog.pg_auth_members m ON m.member OPERATOR(pg_catalog.=) w.oid
	WHERE w.rolname` + named + `
), owned AS MATERIALIZED (
	SELECT r.roleid, s.dbid, s.classid, s.objid, pg_catalog.age(s.xmin) AS age
	FROM (SELECT DISTINCT roleid FROM given) r JOIN pg_catalog.pg_shdepend s
		ON s.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass
		AND s.refobjid OPERATOR(pg_catalog.=) r.roleid AND s.deptype OPERATOR(pg_catalog.=) 'o'
		AND s.classid OPERATOR(pg_catalog.=) ANY (ARRAY['pg_catalog.pg_proc', 'pg_catalog.pg_class']::pg_catalog.regclass[]::pg_catalog.oid[])
), here AS MATERIALIZED (
	SELECT o.* FROM owned o JOIN pg_catalog.pg_database b ON b.oid OPERATOR(pg_catalog.=) o.dbid
	WHERE b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
), acts AS MATERIALIZED (
	SELECT h.roleid, pg_catalog.age(p.xmin) AS age,
		pg_catalog.pg_describe_object(h.classid, h.objid, 0) AS what
	FROM here h JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) h.objid AND p.prosecdef
	WHERE h.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
	UNION ALL
	SELECT h.roleid, pg_catalog.age(w.xmin), pg_catalog.pg_describe_object(h.classid, h.objid, 0)
	FROM here h JOIN pg_catalog.pg_rewrite w ON w.ev_class OPERATOR(pg_catalog.=) h.objid
		AND w.rulename OPERATOR(pg_catalog.=) '_RETURN'
	WHERE h.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
	UNION ALL
	SELECT o.roleid, o.age, 'functions in the database ' OPERATOR(pg_catalog.||) b.datname::pg_catalog.text
	FROM owned o JOIN pg_catalog.pg_database b ON b.oid OPERATOR(pg_catalog.=) o.dbid
	WHERE o.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
		AND b.datname OPERATOR(pg_catalog.<>) pg_catalog.current_database()
)
SELECT DISTINCT g.rolname::pg_catalog.text, r.rolname::pg_catalog.text, a.what
FROM given g JOIN acts a ON a.roleid OPERATOR(pg_catalog.=) g.roleid AND a.age OPERATOR(pg_catalog.<=) g.since
JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) g.roleid
ORDER BY 1, 2, 3`

// leftActing returns an error that names what was made since the wrapper was granted its role and acts with the rights
// of the role; nil if there is nothing.
func (s *state) leftActing(wrapper string) error {
	var role string
	var what []string
	for _, m := range s.made {
		if m.Wrapper == wrapper {
			role, what = m.Role, append(what, m.What)
		}
	}
	if len(what) == 0 {
		return nil
	}
	more := ""
	if len(what) > maxMade {
		what, more = what[:maxMade], fmt.Sprintf(" and %d more", len(what)-maxMade)
	}
	return &jit.Error{
		Problem: fmt.Sprintf("access has ended, but what acts with the rights of role %q was made or changed meanwhile: %s%s",
			role, strings.Join(slices.Compact(what), ", "), more),
		Hint: "look at each, and drop what the holder of the grant left: it still works; no later sweep repeats this",
		Err:  jit.ErrRemains,
	}
}
