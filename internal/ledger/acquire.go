package ledger

import (
	"context"
	"database/sql"
	"math"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// due chooses among the grants of one owner whose due_at has come. One that is over is outstanding; one
// that is not has come to its start, unless it may no longer begin.
const due = ` WHERE owner = $1 AND due_at <= $2 AND (due_at, target, scope, id) > ($7, $8, $9, $10)
	AND (revoked_at IS NOT NULL OR expires_at <= $2 OR start_by IS NULL OR start_by >= $2)
	AND (lease_until IS NULL OR lease_until <= $2 OR lease_until > $5 OR lease_holder = $3 AND lease_until < $6)`

const dueOrder = " ORDER BY due_at, target, scope, id LIMIT "

// first comes before every grant in dueOrder.
func first() []any { return []any{int64(math.MinInt64), "", "", ""} }

// after is the place of a grant in dueOrder.
func after(g *jit.Grant) []any { return []any{g.DueAt().UnixMicro(), g.Target, g.Scope, string(g.ID)} }

// AcquireDue leases up to q.Limit due grants, those of an owner that are due for longest first and scope by scope, so that several who claim share
// scopes and not each other's calls. A claim does not change the version of a grant, and in a ledger that does not exist nothing is due.
func (l *Ledger) AcquireDue(ctx context.Context, q jit.DueQuery) ([]jit.Grant, error) {
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
		return nil, nil
	}
	var claimed []jit.Grant
	err = l.persist(ctx, func(ctx context.Context) error {
		db, err := l.db.writer(ctx)
		if err != nil {
			return err
		}
		tx, err := db.BeginTx(ctx, &l.write)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // after a commit it does nothing
		claimed = nil
		for _, owner := range owners {
			some, err := l.claimOf(ctx, tx, owner, q, q.Limit-len(claimed))
			if err != nil {
				return err
			}
			if claimed = append(claimed, some...); len(claimed) == q.Limit {
				break
			}
		}
		if len(claimed) == 0 {
			return nil
		}
		ids := make([]string, len(claimed))
		for i, g := range claimed {
			ids[i] = string(g.ID)
		}
		_, err = tx.ExecContext(ctx, "UPDATE jit_grants SET lease_holder = $1, lease_until = $2 WHERE id"+l.among("$3"), q.Holder, q.Now.Add(q.Lease).UnixMicro(), l.list(ids))
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

// claimOf locks up to limit grants of one owner that a claim is given.
func (l *Ledger) claimOf(ctx context.Context, tx *sql.Tx, owner string, q jit.DueQuery, limit int) ([]jit.Grant, error) {
	from := first()
	if q.After != nil && q.After.Owner == owner {
		from = after(q.After)
	}
	args := append([]any{owner, q.Now.UnixMicro(), q.Holder, int64(limit), q.Now.Add(jit.MaxLease).UnixMicro(), q.Now.Add(q.Lease).UnixMicro()}, from...)
	wanted := due
	if len(q.Targets) > 0 {
		args = append(args, l.list(q.Targets))
		wanted += " AND target" + l.among(numbered(len(args)))
	}
	if len(q.Except) > 0 {
		places := make([]string, len(q.Except))
		for i, at := range q.Except {
			places[i] = at.Target + "\n" + at.Scope
		}
		args = append(args, l.list(places))
		wanted += " AND NOT (target || '\n' || scope" + l.among(numbered(len(args))) + ")"
	}
	return queryGrants(ctx, tx, l.selectGrant()+wanted+dueOrder+"$4"+l.skipLocked, args)
}
