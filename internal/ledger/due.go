package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// leasesLooked caps how many due grants of an owner NextDue asks for the end of their lease, longest due first.
const leasesLooked = 5000

// nextDueQuery selects the next time at which an owner has due work in a table.
func nextDueQuery(dueTable string) string {
	return `SELECT min(at) FROM (
		SELECT (SELECT min(g.due_at) FROM ` + dueTable + ` g WHERE g.owner = owners.owner AND g.due_at > $1) AS at
		FROM owners
		UNION ALL
		SELECT (SELECT min(lease_until) FROM (
			SELECT g.lease_until FROM ` + dueTable + ` g
			WHERE g.owner = owners.owner AND g.due_at <= $1 ORDER BY g.due_at LIMIT $2
		) AS longest WHERE lease_until > $1) AS at FROM owners
	) AS next`
}

// NextDue returns when the next grant of the owners becomes due after a time, or when the next lease of a due grant
// ends; zero if neither is recorded.
func (l *Ledger) NextDue(ctx context.Context, owners jit.Owners, after time.Time) (time.Time, error) {
	ctx = tolerant(ctx)
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return time.Time{}, err
	}
	with, args := withOwners(l.dueTable(), owners, []any{after.UnixMicro(), int64(leasesLooked)})
	var next sql.NullInt64
	_, err = l.row(ctx, with+nextDueQuery(l.dueTable()), args, &next)
	return moment(next), err
}

// acceptedQuery selects the last acceptance, newestQuery the time of the newest event since then in the log and
// newestOldQuery that in jit_events; each goes by an index. Whoever accepts a ledger knows the times of the events
// before: one that a wrong clock dated ahead counts no longer.
const (
	acceptedQuery = "SELECT coalesce(max(seq), 0) FROM jit_log WHERE chain = '" + jit.AllChain + "' AND " +
		restoreEvents + " AND kind = 'ledger_restored'"
	newestQuery = `SELECT max(at) FROM (SELECT (SELECT l.recorded_at FROM jit_log l WHERE l.chain = c.chain
		AND CASE WHEN l.chain = '` + jit.AllChain + `' THEN l.seq ELSE l.after_seq END >= $1
		ORDER BY l.recorded_at DESC LIMIT 1) AS at FROM jit_chains c) AS newest`
	newestOldQuery = `SELECT recorded_at FROM jit_events
	WHERE +seq >= (SELECT coalesce(max(seq), 0) FROM jit_events WHERE ` + restoreEvents + ` AND kind = 'ledger_restored')
	ORDER BY recorded_at DESC LIMIT 1`
)

// Clock returns the time of the server or, for a file, that of the newest event since the last acceptance.
func (l *Ledger) Clock(ctx context.Context) (now, notBefore time.Time, err error) {
	if c, ok := l.db.(committer); ok {
		_, err := l.read(tolerant(ctx)) // the answer has the time
		return c.now(l.now()), time.Time{}, err
	}
	if l.clock == "" {
		notBefore, err := l.newest(ctx)
		return time.Time{}, notBefore, err
	}
	var seconds float64
	ok, err := l.row(ctx, l.clock, nil, &seconds)
	if !ok {
		return time.Time{}, time.Time{}, err
	}
	return time.UnixMicro(int64(seconds * 1e6)).UTC(), time.Time{}, nil
}

// newest returns the time of the newest event since the last acceptance.
func (l *Ledger) newest(ctx context.Context) (time.Time, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return time.Time{}, err
	}
	lay := l.known.Load().layout
	var accepted int64
	var newest, old sql.NullInt64
	if lay.log {
		_, err = l.row(ctx, acceptedQuery, nil, &accepted)
		if err == nil {
			_, err = l.row(ctx, newestQuery, []any{accepted}, &newest)
		}
	}
	if lay.old && accepted == 0 && err == nil {
		_, err = l.row(ctx, newestOldQuery, nil, &old)
	}
	if old.Valid && old.Int64 > newest.Int64 {
		newest = old
	}
	return moment(newest), err
}

// placesQuery lists the scopes with a live grant. The index leads from one scope to the next, however many grants it
// has: a server would rather read all grants once for an EXISTS. Conditions on the live grant may follow, then LIMIT 1).
func placesQuery(dueTable, openGrants string) string {
	return `WITH RECURSIVE targets (target) AS (
		SELECT min(target) FROM ` + dueTable + `
		UNION ALL
		SELECT (SELECT min(target) FROM ` + dueTable + ` g WHERE g.target > targets.target)
		FROM targets WHERE target IS NOT NULL
	), places (target, scope) AS (
		SELECT target, (SELECT min(scope) FROM ` + dueTable + ` g WHERE g.target = targets.target)
		FROM targets WHERE target IS NOT NULL
		UNION ALL
		SELECT target, (SELECT min(scope) FROM ` + dueTable + ` g
			WHERE g.target = places.target AND g.scope > places.scope)
		FROM places WHERE scope IS NOT NULL
	)
	SELECT target, scope FROM places WHERE 1 = (
		SELECT 1 FROM ` + openGrants + ` WHERE target = places.target AND scope = places.scope
		AND expires_at > $1 AND revoked_at IS NULL AND due_at IS NOT NULL AND ` + notFailed
}

// Places lists the scopes on which the owners have live grants.
func (l *Ledger) Places(ctx context.Context, owners jit.Owners, liveAt time.Time) ([]jit.Place, error) {
	ctx, err := l.serving(ctx, owners)
	if err != nil {
		return nil, err
	}
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return nil, err
	}
	ofOwners, args := l.ofOwners(owners, []any{liveAt.UnixMicro()})
	return list(ctx, l, func(rows *sql.Rows) (p jit.Place, err error) { return p, rows.Scan(&p.Target, &p.Scope) },
		placesQuery(l.dueTable(), l.openGrants())+ofOwners+" LIMIT 1) ORDER BY target, scope", args...)
}

// ofOwners restricts a query to the grants of the owners; its parameter comes after args.
func (l *Ledger) ofOwners(owners jit.Owners, args []any) (condition string, all []any) {
	if len(owners) == 0 {
		return "", args
	}
	args = append(args, l.list(owners))
	return " AND owner" + l.among(numbered(len(args))), args
}

// countsQuery counts the grants that are not closed. SQLite would walk through all grants by an index on target and
// owner, so the query makes them expressions.
func countsQuery(openGrants string) string {
	return `SELECT on_target, of_owner,
		sum(CASE WHEN revoked_at IS NULL AND expires_at > $1 AND starts_at <= $1 AND granted_at IS NOT NULL
			THEN 1 ELSE 0 END),
		sum(CASE WHEN revoked_at IS NULL AND expires_at > $1 AND (starts_at > $1 OR granted_at IS NULL)
			THEN 1 ELSE 0 END),
		sum(CASE WHEN ended_at IS NULL AND (revoked_at IS NOT NULL OR expires_at <= $1)
			AND COALESCE(revoked_at, expires_at) > $2 THEN 1 ELSE 0 END),
		sum(CASE WHEN ended_at IS NULL AND COALESCE(revoked_at, expires_at) <= $2 THEN 1 ELSE 0 END),
		sum(CASE WHEN ended_at IS NOT NULL THEN 1 ELSE 0 END)
	FROM (
		SELECT target || '' AS on_target, owner || '' AS of_owner,
			revoked_at, expires_at, starts_at, granted_at, ended_at
		FROM ` + openGrants + ` WHERE due_at IS NOT NULL`
}

// Counts returns how many open grants each of the owners has on each target.
func (l *Ledger) Counts(ctx context.Context, owners jit.Owners, at time.Time) ([]jit.Count, error) {
	ctx, err := l.serving(ctx, owners)
	if err != nil {
		return nil, err
	}
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return nil, err
	}
	ofOwners, args := l.ofOwners(owners, []any{at.UnixMicro(), at.Add(-jit.OverdueAfter).UnixMicro()})
	all, err := list(ctx, l, func(rows *sql.Rows) (c jit.Count, err error) {
		return c, rows.Scan(&c.Target, &c.Owner, &c.Live, &c.Waiting, &c.Due, &c.Overdue, &c.Cleanup)
	}, countsQuery(l.openGrants())+ofOwners+") AS open GROUP BY on_target, of_owner", args...)
	slices.SortFunc(all, func(a, b jit.Count) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Owner, b.Owner))
	})
	return all, err
}

// FirstEvent returns the sequence number of the first event of a chain recorded at or after a time; if there is none,
// that of the next event.
func (l *Ledger) FirstEvent(ctx context.Context, chain string, at time.Time) (int64, error) {
	seq, ctx := int64(1), tolerant(ctx)
	db, err := l.read(ctx)
	if err = cmp.Or(err, l.wholeFor(chain)); err != nil || db == nil {
		return seq, err
	}
	lay, args := l.known.Load().layout, []any{at.UnixMicro()}
	var found []string
	if lay.old && chain == jit.AllChain {
		found = append(found, "(SELECT min(seq) FROM jit_events WHERE recorded_at >= $1)")
	}
	if lay.log {
		args = append(args, chain)
		found = append(found, "(SELECT min(seq) FROM jit_log WHERE chain = $2 AND recorded_at >= $1)",
			"(SELECT head_seq FROM jit_chains WHERE chain = $2) + 1")
	} else if chain == jit.AllChain {
		found = append(found, strconv.FormatInt(lay.last+1, 10))
	}
	if len(found) == 0 {
		return seq, nil
	}
	_, err = l.row(ctx, "SELECT coalesce("+strings.Join(found, ", ")+", 1)", args, &seq)
	return seq, err
}
