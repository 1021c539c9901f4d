package ledger

import (
	"context"
	"database/sql"
	"slices"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// LookAlways makes every read of a ledger in a bucket look into the log first, for tests with several processes.
func (l *Ledger) LookAlways() {
	if b, ok := l.db.(*inBucket); ok {
		b.fresh = 0
	}
}

// LookAgain makes the next read of a ledger in a bucket look into the log, as some time later.
func (l *Ledger) LookAgain() { l.db.(*inBucket).doubt() }

// Validity is how long a look into the log is valid for reads.
func (l *Ledger) Validity() time.Duration {
	b := l.db.(*inBucket)
	return max(b.fresh, time.Duration(b.calm.Load()))
}

// SnapshotEach sets after how many commits this process stores a snapshot of a log in a bucket.
func (l *Ledger) SnapshotEach(commits int64) { l.db.(*inBucket).snapshotEach = commits }

// KnowUpTo makes this a program of an older schema version.
func (l *Ledger) KnowUpTo(version int) { l.migrations = migrations[:version] }

// RecordAsBefore writes the row of a grant as programs without jit_due did.
func (l *Ledger) RecordAsBefore(ctx context.Context, g jit.Grant) error {
	db, err := l.db.writer(ctx)
	if err != nil {
		return err
	}
	columns := append(grantColumns[:len(grantColumns):len(grantColumns)], "due_at")
	return inTx(ctx, db, &l.write, func(tx *sql.Tx) error {
		return l.insert(ctx, tx, "jit_grants", columns, [][]any{append(grantRow(&g), instant(g.DueAt()))}, "")
	})
}

// Schemas counts the schema versions of this program.
func Schemas() int { return len(migrations) }

// CopiedTables are the tables that a copy takes along.
var CopiedTables = copied

// Later makes this ledger's program one of a later version, which adds an index and a column to the ledger. Programs of
// this version can go on reading it and writing to it. The version lasts for the rest of the test.
func (l *Ledger) Later(t testing.TB) {
	mine := len(migrations)
	compatible[mine+1] = since{mine, mine}
	t.Cleanup(func() { delete(compatible, mine+1) })
	l.migrations = append(slices.Clone(migrations), []string{"CREATE INDEX jit_grants_later ON jit_grants (reason)",
		"ALTER TABLE jit_grants ADD COLUMN later TEXT NOT NULL DEFAULT ''"})
}
