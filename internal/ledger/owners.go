package ledger

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// withOwners begins a query with the table owners (owner): those that are named, or all that have a grant for which something is still to be
// done. Its parameters come after args. The index leads from one owner to the next, whatever number of grants they have.
func withOwners(owners jit.Owners, args []any) (with string, all []any) {
	if len(owners) == 0 {
		return `WITH RECURSIVE owners (owner) AS (
			SELECT (SELECT min(owner) FROM jit_grants WHERE due_at IS NOT NULL)
			UNION ALL
			SELECT (SELECT min(g.owner) FROM jit_grants g WHERE g.due_at IS NOT NULL AND g.owner > owners.owner) FROM owners WHERE owners.owner IS NOT NULL
		) `, args
	}
	rows := make([]string, len(owners))
	for i, owner := range owners {
		args = append(args, owner)
		rows[i] = "(" + numbered(len(args)) + ")"
	}
	return "WITH owners (owner) AS (VALUES " + strings.Join(rows, ", ") + ") ", args
}

const dueOwnersQuery = "SELECT owner FROM owners WHERE EXISTS (SELECT 1 FROM jit_grants g WHERE g.owner = owners.owner AND g.due_at <= $1)"

// dueOwners returns those of the owners that have a grant that is due by a time, in order.
func (l *Ledger) dueOwners(ctx context.Context, db queryer, owners jit.Owners, by time.Time) ([]string, error) {
	with, args := withOwners(owners, []any{by.UnixMicro()})
	rows, err := db.QueryContext(ctx, with+dueOwnersQuery, args...)
	if err != nil {
		return nil, err
	}
	return names(rows)
}

// names reads a column of names. The order is ours: the server's depends on the language it was set up with.
func names(rows *sql.Rows) ([]string, error) {
	all, err := collect(rows, func(rows *sql.Rows) (name string, err error) { return name, rows.Scan(&name) })
	slices.Sort(all)
	return all, err
}

const ownersQuery = `WITH RECURSIVE owners (owner) AS (
		SELECT (SELECT min(owner) FROM jit_grants)
		UNION ALL
		SELECT (SELECT min(g.owner) FROM jit_grants g WHERE g.owner > owners.owner) FROM owners WHERE owners.owner IS NOT NULL
	) SELECT owner FROM owners WHERE owner IS NOT NULL`

// Owners returns the names of all owners that have a grant in the ledger, in order.
func (l *Ledger) Owners(ctx context.Context) ([]string, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, ownersQuery)
	if err != nil {
		return nil, l.fail("read", err)
	}
	all, err := names(rows)
	return all, l.fail("read", err)
}
