package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// leasesLooked is how many grants of an owner that are due, those for longest, are asked when their lease ends.
const leasesLooked = 5000

const nextDueQuery = `SELECT min(at) FROM (
		SELECT (SELECT min(g.due_at) FROM jit_grants g WHERE g.owner = owners.owner AND g.due_at > $1) AS at FROM owners
		UNION ALL
		SELECT (SELECT min(lease_until) FROM (
			SELECT g.lease_until FROM jit_grants g WHERE g.owner = owners.owner AND g.due_at <= $1 ORDER BY g.due_at LIMIT $2
		) AS longest WHERE lease_until > $1) AS at FROM owners
	) AS next`

// NextDue returns when the next grant of the owners comes due after a time, or when the next lease of a grant that is due
// already ends; zero when there is nothing to wait for.
func (l *Ledger) NextDue(ctx context.Context, owners jit.Owners, after time.Time) (time.Time, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return time.Time{}, err
	}
	with, args := withOwners(owners, []any{after.UnixMicro(), int64(leasesLooked)})
	var next sql.NullInt64
	err = db.QueryRowContext(ctx, with+nextDueQuery, args...).Scan(&next)
	if err != nil {
		return time.Time{}, l.fail("read", err)
	}
	return moment(next), nil
}

// Clock returns the time of the server; of a file it is zero.
func (l *Ledger) Clock(ctx context.Context) (time.Time, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil || l.clock == "" {
		return time.Time{}, err
	}
	var now float64
	if err := db.QueryRowContext(ctx, l.clock).Scan(&now); err != nil {
		return time.Time{}, l.fail("read", err)
	}
	return time.UnixMicro(int64(now * 1e6)).UTC(), nil
}

// Places lists the scopes on which the owners have grants that are live at a time.
func (l *Ledger) Places(ctx context.Context, owners jit.Owners, liveAt time.Time) ([]jit.Place, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return nil, err
	}
	whose, args := l.whose(owners, []any{liveAt.UnixMicro()})
	// The index leads from one scope to the next, whatever number of grants it has.
	rows, err := db.QueryContext(ctx, `WITH RECURSIVE targets (target) AS (
			SELECT min(target) FROM jit_grants
			UNION ALL
			SELECT (SELECT min(target) FROM jit_grants g WHERE g.target > targets.target) FROM targets WHERE target IS NOT NULL
		), places (target, scope) AS (
			SELECT target, (SELECT min(scope) FROM jit_grants g WHERE g.target = targets.target) FROM targets WHERE target IS NOT NULL
			UNION ALL
			SELECT target, (SELECT min(scope) FROM jit_grants g WHERE g.target = places.target AND g.scope > places.scope) FROM places WHERE scope IS NOT NULL
		)
		SELECT target, scope FROM places WHERE EXISTS (SELECT 1 FROM jit_grants g WHERE g.target = places.target AND g.scope = places.scope
			AND g.expires_at > $1 AND g.revoked_at IS NULL AND `+notFailed+whose+`) ORDER BY target, scope`, args...)
	if err != nil {
		return nil, l.fail("read", err)
	}
	all, err := collect(rows, func(rows *sql.Rows) (p jit.Place, err error) { return p, rows.Scan(&p.Target, &p.Scope) })
	return all, l.fail("read", err)
}

// whose restricts a query to the grants of the owners; its parameter comes after args.
func (l *Ledger) whose(owners jit.Owners, args []any) (condition string, all []any) {
	if len(owners) == 0 {
		return "", args
	}
	args = append(args, l.list(owners))
	return " AND owner" + l.among(numbered(len(args))), args
}

// Counts returns how many grants each of the owners has on each target. Only those that are open are read: the target and the owner are made
// expressions, or SQLite would walk through all grants by an index that has them in order.
func (l *Ledger) Counts(ctx context.Context, owners jit.Owners, at time.Time) ([]jit.Count, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return nil, err
	}
	whose, args := l.whose(owners, []any{at.UnixMicro(), at.Add(-jit.OverdueAfter).UnixMicro()})
	rows, err := db.QueryContext(ctx, `SELECT on_target, of_owner,
			sum(CASE WHEN revoked_at IS NULL AND expires_at > $1 AND starts_at <= $1 AND granted_at IS NOT NULL THEN 1 ELSE 0 END),
			sum(CASE WHEN revoked_at IS NULL AND expires_at > $1 AND (starts_at > $1 OR granted_at IS NULL) THEN 1 ELSE 0 END),
			sum(CASE WHEN ended_at IS NULL AND (revoked_at IS NOT NULL OR expires_at <= $1) AND COALESCE(revoked_at, expires_at) > $2 THEN 1 ELSE 0 END),
			sum(CASE WHEN ended_at IS NULL AND COALESCE(revoked_at, expires_at) <= $2 THEN 1 ELSE 0 END),
			sum(CASE WHEN ended_at IS NOT NULL THEN 1 ELSE 0 END)
		FROM (SELECT target || '' AS on_target, owner || '' AS of_owner, revoked_at, expires_at, starts_at, granted_at, ended_at
			FROM jit_grants WHERE due_at IS NOT NULL`+whose+`) AS open GROUP BY on_target, of_owner`, args...)
	if err != nil {
		return nil, l.fail("read", err)
	}
	all, err := collect(rows, func(rows *sql.Rows) (c jit.Count, err error) {
		return c, rows.Scan(&c.Target, &c.Owner, &c.Live, &c.Waiting, &c.Due, &c.Overdue, &c.Cleanup)
	})
	slices.SortFunc(all, func(a, b jit.Count) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Owner, b.Owner))
	})
	return all, l.fail("read", err)
}

// FirstEvent returns the sequence number of the first event that was recorded at or after a time; that of the event to come if there is none.
func (l *Ledger) FirstEvent(ctx context.Context, at time.Time) (int64, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return 1, err
	}
	var first int64
	err = db.QueryRowContext(ctx, `SELECT coalesce((SELECT min(seq) FROM jit_events WHERE recorded_at >= $1), (SELECT max(head_seq) FROM jit_ledger) + 1)`,
		at.UnixMicro()).Scan(&first)
	if err != nil {
		return 1, l.fail("read", err)
	}
	return first, nil
}
