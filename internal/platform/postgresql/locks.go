package postgresql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// holdersSQL lists the sessions that hold locks on the roles named in the first parameter, or on tables that depend on
// a wrapper among them. Granting, revoking and commenting a role take its ShareUpdateExclusiveLock; dropping one takes
// AccessExclusiveLock, which any lock is in the way of (PostgreSQL, "Explicit Locking").
const holdersSQL = `SELECT r.rolname::pg_catalog.text, COALESCE(l.pid, 0), COALESCE(a.usename::pg_catalog.text, ''),
	COALESCE(a.application_name, ''), a.xact_start
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) l.objid
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) l.pid
WHERE l.locktype OPERATOR(pg_catalog.=) 'object' AND l.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass
	AND (l.mode OPERATOR(pg_catalog.<>) 'AccessShareLock' OR pg_catalog.starts_with(r.rolname::pg_catalog.text, 'jit:'))
	AND l.granted AND (l.pid IS NULL OR l.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()) AND r.rolname` + named + `
UNION SELECT r.rolname::pg_catalog.text, COALESCE(l.pid, 0), COALESCE(a.usename::pg_catalog.text, ''),
	COALESCE(a.application_name, ''), a.xact_start
FROM pg_catalog.pg_roles r
JOIN pg_catalog.pg_shdepend s ON s.refobjid OPERATOR(pg_catalog.=) r.oid
	AND s.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass
	AND s.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
JOIN pg_catalog.pg_locks l ON l.relation OPERATOR(pg_catalog.=) s.objid AND l.database OPERATOR(pg_catalog.=) s.dbid
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) l.pid
WHERE pg_catalog.starts_with(r.rolname::pg_catalog.text, 'jit:') AND l.granted
	AND (l.pid IS NULL OR l.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()) AND r.rolname` + named + `
ORDER BY 1, 2`

// holder is a session that holds a lock on a role.
type holder struct {
	Role        string
	PID         int32 // 0: a prepared transaction, which has no session
	User        string
	Application string
	Since       *time.Time // when its transaction began; nil where we may not see it
}

func (h holder) String() string {
	if h.PID == 0 {
		return "a prepared transaction (see pg_prepared_xacts)"
	}
	s := fmt.Sprintf("process %d of %q", h.PID, h.User)
	if h.Application != "" {
		s += fmt.Sprintf(" (%s)", h.Application)
	}
	if h.Since != nil {
		s += " since " + jit.FormatTime(*h.Since)
	}
	return s
}

// nameHolders adds the sessions that hold the locks to the errors of changes that stayed blocked.
func (w *work) nameHolders(ctx context.Context) {
	roles := map[int][]string{}
	var all []string
	for i, m := range w.memory {
		if m.blocked == nil || w.errs[i] == nil {
			continue
		}
		a := w.changes[i].Access
		roles[i] = []string{wrapperName(a.Marker.Owner, a.Marker.ID), a.Binding.Role, m.blocked.granted}
		if w.changes[i].Op == jit.Ensure {
			roles[i] = append(roles[i], a.Binding.Principal)
		}
		all = append(all, roles[i]...)
	}
	if len(all) == 0 || ctx.Err() != nil {
		return
	}
	slices.Sort(all)
	holders, _, err := query[holder](ctx, w.platform, "read locks", holdersSQL, slices.Compact(all))
	if err != nil {
		return // the errors stand as they are
	}
	for i, names := range roles {
		var found []holder
		for _, h := range holders {
			if slices.Contains(names, h.Role) {
				found = append(found, h)
			}
		}
		w.errs[i] = blockedBy(w.errs[i], found, w.changes[i].Access.Binding.Principal)
	}
}

// blockedBy adds to the error of a change the sessions that block it, and what to do about them.
func blockedBy(err error, holders []holder, principal string) error {
	var blocked *jit.Error
	if !errors.As(err, &blocked) {
		return err
	}
	more := *blocked
	if len(holders) == 0 {
		more.Hint = "an open transaction of another session blocks it; " +
			"find it with: SELECT pid, usename, xact_start FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER " +
			"BY xact_start"
		return &more
	}
	var who []string
	for _, h := range holders {
		who = append(who, h.String())
	}
	who = slices.Compact(who)
	more.Problem = fmt.Sprintf("%s; it is locked by %s", blocked.Problem, strings.Join(who[:min(3, len(who))], ", "))
	more.Hint = "end that transaction"
	if pid := holders[0].PID; pid != 0 {
		more.Hint += fmt.Sprintf(", or its session: SELECT pg_terminate_backend(%d)", pid)
	}
	if holders[0].User == principal {
		more.Hint += ", or set terminate_sessions"
	}
	more.Hint += "; the next sweep or apply goes on from here"
	return &more
}
