package ledger

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// due chooses among the grants whose due_at has come. One that is over is outstanding; one
// that is not has come to its start, unless it may no longer begin.
const due = ` WHERE owner = $1 AND due_at <= $2 AND (due_at, id) > ($7, $8)
	AND (revoked_at IS NOT NULL OR expires_at <= $2 OR start_by IS NULL OR start_by >= $2)
	AND (lease_until IS NULL OR lease_until <= $2 OR lease_until > $6 OR lease_holder = $3)
	ORDER BY due_at, id LIMIT $4`

// Claim leases up to q.Limit due grants, those that are due for longest first, then by id. A claim
// does not change the version of a grant, and in a ledger that does not exist nothing is due.
func (l *Ledger) Claim(ctx context.Context, q jit.ClaimQuery) ([]jit.Grant, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil || q.Limit <= 0 {
		return nil, err
	}
	// In a common table expression, which runs once, the rows are locked before any is changed.
	query := "WITH due AS (SELECT id FROM jit_grants" + due + l.skipLocked + ")" +
		" UPDATE jit_grants SET lease_holder = $3, lease_until = $5 WHERE id IN (SELECT id FROM due) RETURNING " + columnsOf(l.known.Load().schema)
	afterDue, afterID := int64(math.MinInt64), jit.ID("")
	if q.After != nil {
		afterDue, afterID = q.After.DueAt().UnixMicro(), q.After.ID
	}
	args := []any{q.Owner, q.Now.UnixMicro(), q.Holder, int64(q.Limit), q.Now.Add(q.Lease).UnixMicro(), q.Now.Add(jit.MaxLease).UnixMicro(), afterDue, string(afterID)}
	var claimed []jit.Grant
	err = l.persist(ctx, func(ctx context.Context) error {
		db, err := l.db.writer(ctx)
		if err != nil {
			return err
		}
		tx, err := l.begin(ctx, db)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // after a commit it does nothing
		if claimed, err = queryGrants(ctx, tx, query, args); err != nil {
			return err
		}
		return tx.Commit()
	})
	if err != nil {
		return nil, l.fail("write", err)
	}
	slices.SortFunc(claimed, byDue)
	return claimed, nil
}

// byDue orders as the claim chose; what it returns has no order.
func byDue(a, b jit.Grant) int {
	return cmp.Or(a.DueAt().Compare(b.DueAt()), cmp.Compare(a.ID, b.ID))
}
