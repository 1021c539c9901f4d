package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A record without a reason makes way for the grant of another owner: see [jit.Grant.YieldsTo]. The commits of two
// owners have no order, so both orders lead to the same: the record of the grant that has the right to its id or, of
// two records without a reason, that of the owner whose name sorts first.

// yielding are the ids of records that make way.
type yielding map[string]bool

// reasons returns the ids of the grants of a commit whose rows have a reason, or have none.
func reasons(c *bucket.Commit, with bool) (ids []string) {
	for _, t := range c.Tables {
		id, reason := slices.Index(t.Columns, "id"), slices.Index(t.Columns, "reason")
		if t.Name != "jit_grants" || min(id, reason) < 0 {
			continue
		}
		for _, row := range t.Rows {
			if max(id, reason) < len(row) && (row[reason] != "") == with {
				ids = append(ids, fmt.Sprint(row[id]))
			}
		}
	}
	return ids
}

// yields returns the records of a commit that make way for grants that have been applied.
func (p projection) yields(ctx context.Context, c *bucket.Commit) (yielding, error) {
	ids := reasons(c, false)
	if len(ids) == 0 || c.Chain == jit.AllChain {
		return nil, nil
	}
	found := yielding{}
	_, err := collect(ctx, p.tx, func(rows *sql.Rows) (none struct{}, err error) {
		var id string
		err = rows.Scan(&id)
		found[id] = true
		return none, err
	}, "SELECT id FROM jit_grants WHERE owner <> $1 AND (reason <> '' OR owner < $1) AND id"+sqliteDialect.among("$2"),
		c.Chain, sqliteDialect.list(ids))
	return found, err
}

// from returns a table without the records and their due work.
func (y yielding) from(t bucket.Table) bucket.Table {
	if len(y) == 0 || t.Name != "jit_grants" && t.Name != "jit_due" {
		return t
	}
	without := func(rows [][]any, id int) [][]any {
		return slices.DeleteFunc(slices.Clone(rows), func(row []any) bool {
			return id >= 0 && id < len(row) && y[fmt.Sprint(row[id])]
		})
	}
	t.Rows = without(t.Rows, slices.Index(t.Columns, "id"))
	t.Deleted = without(t.Deleted, slices.Index(t.Key, "id"))
	return t
}

// takeOver removes the records of other owners that make way for grants of a commit, with their due work. Whoever calls
// it undoes that if the commit is refused.
func (p projection) takeOver(ctx context.Context, c *bucket.Commit) error {
	asked, lost := reasons(c, true), reasons(c, false)
	if len(asked)+len(lost) == 0 || c.Chain == jit.AllChain {
		return nil
	}
	found, err := collect(ctx, p.tx, scanOne[string], "SELECT id FROM jit_grants WHERE owner <> $1 AND reason = '' AND (id"+
		sqliteDialect.among("$2")+" OR owner > $1 AND id"+sqliteDialect.among("$3")+")",
		c.Chain, sqliteDialect.list(asked), sqliteDialect.list(lost))
	if err != nil || len(found) == 0 {
		return err
	}
	tables := []string{"jit_grants"}
	if c.Schema >= dueSchema {
		tables = append(tables, "jit_due")
	}
	for _, table := range tables {
		_, err := p.tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE id"+sqliteDialect.among("$1"),
			sqliteDialect.list(found))
		if err != nil {
			return err
		}
	}
	return nil
}

// checkGone refuses a commit that removes due work of another owner. Work that is not there may have made way.
func (p projection) checkGone(ctx context.Context, c *bucket.Commit, keys [][]any) error {
	ids := make([]string, 0, len(keys))
	for _, key := range keys {
		ids = append(ids, fmt.Sprint(key...))
	}
	left, err := collect(ctx, p.tx, scanOne[string], "SELECT id FROM jit_due WHERE id"+sqliteDialect.among("$1"),
		sqliteDialect.list(ids))
	if err == nil && len(left) > 0 {
		return p.damaged(c, "it removes due work of another owner")
	}
	return err
}
