package ledger

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// withOwners begins a query with the table owners (owner): the named ones, or else all that have an open grant in the
// table of due work. Its parameters come after args. The index leads from one owner to the next, however many grants they have.
func withOwners(dueTable string, owners jit.Owners, args []any) (with string, all []any) {
	if len(owners) == 0 {
		return `WITH RECURSIVE owners (owner) AS (
			SELECT (SELECT min(owner) FROM ` + dueTable + ` WHERE due_at IS NOT NULL)
			UNION ALL
			SELECT (SELECT min(g.owner) FROM ` + dueTable + ` g WHERE g.due_at IS NOT NULL AND g.owner > owners.owner)
			FROM owners WHERE owners.owner IS NOT NULL
		) `, args
	}
	rows := make([]string, len(owners))
	for i, owner := range owners {
		args = append(args, owner)
		rows[i] = "(" + numbered(len(args)) + ")"
	}
	return "WITH owners (owner) AS (VALUES " + strings.Join(rows, ", ") + ") ", args
}

// dueOwnersQuery selects the owners with due work in a table. For an EXISTS a server might read the whole table.
func dueOwnersQuery(dueTable string) string {
	return "SELECT owner FROM owners WHERE 1 = (SELECT 1 FROM " + dueTable +
		" g WHERE g.owner = owners.owner AND g.due_at <= $1 LIMIT 1)"
}

// dueOwners returns the sorted names of those of the owners that have a grant due by a time.
func (l *Ledger) dueOwners(ctx context.Context, db queryer, owners jit.Owners, by time.Time) ([]string, error) {
	with, args := withOwners(l.dueTable(), owners, []any{by.UnixMicro()})
	names, err := collect(ctx, db, scanOne[string], with+dueOwnersQuery(l.dueTable()), args...)
	slices.Sort(names) // the server's order depends on its collation
	return names, err
}

const ownersQuery = `WITH RECURSIVE owners (owner) AS (
		SELECT (SELECT min(owner) FROM jit_grants)
		UNION ALL
		SELECT (SELECT min(g.owner) FROM jit_grants g WHERE g.owner > owners.owner)
		FROM owners WHERE owners.owner IS NOT NULL
	) SELECT owner FROM owners WHERE owner IS NOT NULL`

// Owners returns the sorted names of all owners that have a grant in the ledger.
func (l *Ledger) Owners(ctx context.Context) ([]string, error) {
	names, err := list(ctx, l, scanOne[string], ownersQuery)
	slices.Sort(names)
	return names, err
}
