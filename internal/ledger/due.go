package ledger

import (
	"context"
	"database/sql"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// leasesLooked is how many grants that are due, those for longest, are asked when their lease ends.
const leasesLooked = 5000

// NextDue returns when the next grant of owner comes due after a time, or when the next lease of a grant that is due
// already ends; zero when there is nothing to wait for.
func (l *Ledger) NextDue(ctx context.Context, owner string, after time.Time) (time.Time, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return time.Time{}, err
	}
	var next sql.NullInt64
	err = db.QueryRowContext(ctx, `SELECT min(at) FROM (
		SELECT min(due_at) AS at FROM jit_grants WHERE owner = $1 AND due_at > $2
		UNION ALL
		SELECT min(lease_until) AS at FROM (
			SELECT lease_until FROM jit_grants WHERE owner = $1 AND due_at <= $2 ORDER BY due_at LIMIT $3
		) AS longest WHERE lease_until > $2
	) AS next`, owner, after.UnixMicro(), int64(leasesLooked)).Scan(&next)
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

// Places lists the scopes on which there are grants of owner that are live at a time.
func (l *Ledger) Places(ctx context.Context, owner string, liveAt time.Time) ([]jit.Place, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return nil, err
	}
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
			AND g.expires_at > $2 AND g.owner = $1 AND g.revoked_at IS NULL AND `+notFailed+`) ORDER BY target, scope`, owner, liveAt.UnixMicro())
	if err != nil {
		return nil, l.fail("read", err)
	}
	all, err := collect(rows, func(rows *sql.Rows) (p jit.Place, err error) { return p, rows.Scan(&p.Target, &p.Scope) })
	return all, l.fail("read", err)
}

// Counts returns how many grants of owner there are on each target.
func (l *Ledger) Counts(ctx context.Context, owner string, at time.Time) ([]jit.Count, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, `SELECT target,
			sum(CASE WHEN revoked_at IS NULL AND expires_at > $2 AND starts_at <= $2 AND granted_at IS NOT NULL THEN 1 ELSE 0 END),
			sum(CASE WHEN revoked_at IS NULL AND expires_at > $2 AND (starts_at > $2 OR granted_at IS NULL) THEN 1 ELSE 0 END),
			sum(CASE WHEN (revoked_at IS NOT NULL OR expires_at <= $2) AND COALESCE(revoked_at, expires_at) > $3 THEN 1 ELSE 0 END),
			sum(CASE WHEN COALESCE(revoked_at, expires_at) <= $3 THEN 1 ELSE 0 END)
		FROM jit_grants WHERE owner = $1 AND ended_at IS NULL AND `+notFailed+` GROUP BY target ORDER BY target`, owner, at.UnixMicro(), at.Add(-jit.OverdueAfter).UnixMicro())
	if err != nil {
		return nil, l.fail("read", err)
	}
	all, err := collect(rows, func(rows *sql.Rows) (c jit.Count, err error) {
		return c, rows.Scan(&c.Target, &c.Live, &c.Waiting, &c.Due, &c.Overdue)
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
