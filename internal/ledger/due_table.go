package ledger

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// dueSchema is the schema version that brought jit_due. In an older ledger jit_grants has the columns of due work.
const dueSchema = 17

// deriveDue makes the rows of jit_due from grants with a due_at, as the migration to dueSchema. A condition may follow.
const deriveDue = `INSERT INTO jit_due (id, owner, target, scope, expires_at, start_by, due_at)
	SELECT id, owner, target, scope, expires_at, CASE WHEN revoked_at IS NULL THEN start_by END, due_at
	FROM jit_grants WHERE due_at IS NOT NULL`

// dueColumns are the columns of jit_due that a write sets. The lease belongs to whoever acquired the work.
var dueColumns = []string{"id", "owner", "target", "scope", "expires_at", "start_by", "due_at"}

// replaceDue updates the row of a grant, and keeps its lease until the grant is due at another time.
var replaceDue = " ON CONFLICT (id) DO UPDATE SET " + excluded(dueColumns[1:]) +
	", lease_until = CASE WHEN jit_due.due_at = excluded.due_at THEN jit_due.lease_until END"

// due is when a grant needs a sweeper, and until when that may start it; the zero value means that it needs none.
type due struct{ at, startBy sql.NullInt64 }

func dueOf(g *jit.Grant) due {
	at, startBy := g.DueAt(), g.StartBy
	if at.IsZero() {
		return due{}
	}
	d := due{at: sql.NullInt64{Int64: at.UnixMicro(), Valid: true}}
	if g.RevokedAt.IsZero() && !startBy.IsZero() {
		d.startBy = sql.NullInt64{Int64: startBy.UnixMicro(), Valid: true}
	}
	return d
}

// row returns the values of dueColumns; nil if the grant has no row.
func (d due) row(id jit.ID, of indexed) []any {
	if !d.at.Valid {
		return nil
	}
	row := []any{string(id), of.owner, of.target, of.scope, of.end, nil, d.at.Int64}
	if d.startBy.Valid {
		row[5] = d.startBy.Int64
	}
	return row
}

// writeDue writes the rows of jit_due, and deletes those of grants that need no sweeper any more.
func (l *Ledger) writeDue(ctx context.Context, tx *sql.Tx, rows map[jit.ID][]any) error {
	var kept [][]any
	var done []string
	for id, row := range sorted(rows) {
		if row != nil {
			kept = append(kept, row)
		} else {
			done = append(done, string(id))
		}
	}
	if err := l.insert(ctx, tx, "jit_due", dueColumns, kept, replaceDue); err != nil || len(done) == 0 {
		return err
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM jit_due WHERE id"+l.among("$1"), l.list(done))
	return err
}

// dueTable returns the table with the columns of due work, by the schema that [Ledger.read] has checked.
func (l *Ledger) dueTable() string {
	if l.known.Load().schema < dueSchema {
		return "jit_grants"
	}
	return "jit_due"
}

// openGrants is the source of the open grants: those that need a sweeper now or later. In an older ledger it has others
// too, and only the open ones have a due_at.
func (l *Ledger) openGrants() string {
	if l.known.Load().schema < dueSchema {
		return "jit_grants"
	}
	columns := slices.Clone(grantColumns)
	for i, c := range columns {
		of := "g."
		if slices.Contains(dueColumns, c) && c != "start_by" {
			of = "d."
		}
		columns[i] = of + c
	}
	return "(SELECT " + strings.Join(columns, ", ") + ", d.due_at" +
		" FROM jit_due d JOIN jit_grants g ON g.id = d.id) AS open_grants"
}
