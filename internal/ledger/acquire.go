package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// lockDue selects the due work of one owner that nobody else has leased. A grant that is not over is due to start,
// unless its start_by has passed. Work whose grant was removed would fill the answers for ever, and is passed over. A
// lease that ends more than jit.MaxLease ($5) from now was written by a wrong clock and is ignored.
const lockDue = `SELECT id FROM jit_due WHERE owner = $1 AND due_at <= $2
	AND (due_at, target, scope, id) > ($7, $8, $9, $10)
	AND (expires_at <= $2 OR start_by IS NULL OR start_by >= $2)
	AND (lease_until IS NULL OR lease_until <= $2 OR lease_until > $5 OR lease_holder = $3 AND lease_until < $6)
	AND 1 = (SELECT 1 FROM jit_grants g WHERE g.id = jit_due.id)`

const dueOrder = " ORDER BY due_at, target, scope, id LIMIT "

// first sorts before every grant in dueOrder.
func first() []any { return []any{int64(math.MinInt64), "", "", ""} }

// after is the position of a grant in dueOrder; of nil it is first.
func after(g *jit.Grant) []any {
	if g == nil {
		return first()
	}
	return []any{g.DueAt().UnixMicro(), g.Target, g.Scope, string(g.ID)}
}

// AcquireDue leases up to q.Limit due grants. Of each owner those come first that have been due longest, scope by
// scope, so holders share out scopes rather than the calls on one scope. A lease does not change the version of a
// grant.
func (l *Ledger) AcquireDue(ctx context.Context, q jit.DueQuery) ([]jit.Grant, error) {
	ctx = tolerant(ctx)
	db, err := l.read(ctx)
	if err != nil || db == nil || q.Limit <= 0 {
		return nil, err
	}
	owners, err := l.dueOwners(ctx, db, q.Owners, q.Now)
	if err != nil {
		return nil, l.fail("read", err)
	}
	if q.After != nil {
		owners = slices.DeleteFunc(owners, func(owner string) bool { return owner < q.After.Owner })
	}
	if len(owners) == 0 {
		_, err := l.serving(ctx, q.Owners)
		return nil, err
	}
	if _, ok := l.db.(committer); !ok {
		return l.acquireOf(ctx, owners, q)
	}
	var acquired []jit.Grant
	var errs []error
	limit := q.Limit
	for _, owner := range owners { // each has a log
		more, err := l.acquireOf(ctx, []string{owner}, q)
		errs = append(errs, err)
		acquired = append(acquired, more...)
		if q.Limit = limit - len(acquired); q.Limit == 0 {
			break
		}
	}
	if len(acquired) > 0 { // the next call has the errors
		return acquired, nil
	}
	if _, err := l.serving(ctx, q.Owners); err != nil {
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// acquireOf leases due grants of owners in one transaction.
func (l *Ledger) acquireOf(ctx context.Context, owners []string, q jit.DueQuery) (acquired []jit.Grant, err error) {
	err = l.persist(ctx, func(ctx context.Context) error {
		db, err := l.db.writer(ctx)
		if k := l.known.Load(); err == nil && k.refused != nil {
			err = k.refused
		} else if err == nil && k.schema < dueSchema {
			err = l.migrateInWrite(ctx, db)
		}
		if err != nil {
			return err
		}
		return l.inWrite(ctx, db, jit.ChainOf(owners[0]), func(tx *sql.Tx) error {
			acquired, err = l.acquire(ctx, tx, owners, q)
			return err
		})
	})
	if err != nil {
		return nil, l.fail("write", err)
	}
	return acquired, nil
}

// acquire leases due grants of the owners, in their order.
func (l *Ledger) acquire(ctx context.Context, tx *sql.Tx, owners []string, q jit.DueQuery) ([]jit.Grant, error) {
	var acquired []jit.Grant
	for _, owner := range owners {
		more, err := l.acquireFrom(ctx, tx, owner, q, q.Limit-len(acquired))
		if err != nil {
			return nil, err
		}
		if acquired = append(acquired, more...); len(acquired) == q.Limit {
			break
		}
	}
	if len(acquired) == 0 {
		return nil, nil
	}
	ids := make([]jit.ID, len(acquired))
	for i, g := range acquired {
		ids[i] = g.ID
	}
	_, err := tx.ExecContext(ctx,
		"UPDATE jit_due SET lease_holder = $1, lease_until = $2 WHERE id"+l.among("$3"),
		q.Holder, q.Now.Add(q.Lease).UnixMicro(), l.list(texts(ids)))
	return acquired, err
}

// acquireFrom locks and returns up to limit due grants of one owner.
func (l *Ledger) acquireFrom(
	ctx context.Context, tx *sql.Tx, owner string, q jit.DueQuery, limit int,
) ([]jit.Grant, error) {
	last := q.After
	if last != nil && last.Owner != owner {
		last = nil
	}
	args := append([]any{
		owner, q.Now.UnixMicro(), q.Holder, int64(limit), q.Now.Add(jit.MaxLease).UnixMicro(),
		q.Now.Add(q.Lease).UnixMicro(),
	}, after(last)...)
	query := lockDue
	if len(q.Targets) > 0 {
		args = append(args, l.list(q.Targets))
		query += " AND target" + l.among(numbered(len(args)))
	}
	if len(q.Except) > 0 {
		places := make([]string, len(q.Except))
		for i, at := range q.Except {
			places[i] = at.Target + "\n" + at.Scope
		}
		args = append(args, l.list(places))
		query += " AND NOT (target || '\n' || scope" + l.among(numbered(len(args))) + ")"
	}
	ids, err := collect(ctx, tx, scanOne[jit.ID], query+dueOrder+"$4"+l.skipLocked, args...)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	grants, err := collect(ctx, tx, readGrant,
		"SELECT "+columnsOf(dueSchema)+" FROM jit_grants WHERE id"+l.among("$1"), l.list(texts(ids)))
	at := make(map[jit.ID]int, len(ids))
	for i, id := range ids {
		at[id] = i
	}
	slices.SortFunc(grants, func(a, b jit.Grant) int { return cmp.Compare(at[a.ID], at[b.ID]) })
	return grants, err
}
