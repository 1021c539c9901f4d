package ledger

import (
	"context"
	"fmt"
	"math"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// due chooses among the grants whose due_at has come. One that is over is outstanding; one
// that is not has come to its start, unless it may no longer begin.
const due = ` WHERE owner = $1 AND due_at <= $2 AND (due_at, target, scope, id) > ($7, $8, $9, $10)
	AND (revoked_at IS NOT NULL OR expires_at <= $2 OR start_by IS NULL OR start_by >= $2)
	AND (lease_until IS NULL OR lease_until <= $2 OR lease_until > $5 OR lease_holder = $3 AND lease_until < $6)`

const dueOrder = " ORDER BY due_at, target, scope, id LIMIT $4"

// Claim leases up to q.Limit due grants, those that are due for longest first and scope by scope, so that several who claim share scopes
// and not each other's calls. A claim does not change the version of a grant, and in a ledger that does not exist nothing is due.
func (l *Ledger) Claim(ctx context.Context, q jit.ClaimQuery) ([]jit.Grant, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil || q.Limit <= 0 {
		return nil, err
	}
	after := []any{int64(math.MinInt64), "", "", ""}
	if q.After != nil {
		after = []any{q.After.DueAt().UnixMicro(), q.After.Target, q.After.Scope, string(q.After.ID)}
	}
	until := q.Now.Add(q.Lease).UnixMicro()
	args := append([]any{q.Owner, q.Now.UnixMicro(), q.Holder, int64(q.Limit), q.Now.Add(jit.MaxLease).UnixMicro(), until}, after...)
	wanted := due
	if len(q.Except) > 0 {
		places := make([]string, len(q.Except))
		for i, at := range q.Except {
			places[i] = at.Target + "\n" + at.Scope
		}
		args = append(args, l.list(places))
		wanted += " AND NOT (target || '\n' || scope" + l.among(fmt.Sprintf("$%d", len(args))) + ")"
	}
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
		if claimed, err = queryGrants(ctx, tx, l.selectGrant()+wanted+dueOrder+l.skipLocked, args); err != nil || len(claimed) == 0 {
			return err
		}
		ids := make([]string, len(claimed))
		for i, g := range claimed {
			ids[i] = string(g.ID)
		}
		_, err = tx.ExecContext(ctx, "UPDATE jit_grants SET lease_holder = $1, lease_until = $2 WHERE id"+l.among("$3"), q.Holder, until, l.list(ids))
		if err != nil {
			return err
		}
		return tx.Commit()
	})
	if err != nil {
		return nil, l.fail("write", err)
	}
	return claimed, nil
}
