package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// compatibleSchema is the schema version since which a ledger says which older programs may use it.
const compatibleSchema = 18

// since are the oldest schema versions whose programs can read a ledger and write to it.
type since struct{ readable, writable int }

// compatible holds the schema versions that do not lock out all older programs. A version that only adds an index, or
// a column that has a default and that nothing older depends on, leaves both as they were.
var compatible = map[int]since{}

// compatibleSince returns what is compatible with a schema version.
func compatibleSince(version int) since {
	if s, ok := compatible[version]; ok {
		return s
	}
	return since{version, version}
}

// checkSchema refuses a schema that is newer than this program, as far as the ledger does not permit it. It keeps in h
// why this program may not write.
func (l *Ledger) checkSchema(ctx context.Context, q headReader, h *head) error {
	mine := len(l.migrations)
	if h.schema <= mine {
		return nil
	}
	s, err := recordedSince(ctx, q)
	switch {
	case err != nil: // without the columns, it permits nobody
		return l.newer(h.schema, fmt.Sprintf("; which older programs may use it cannot be read: %v", err))
	case s.readable > mine:
		return l.newer(h.schema, "")
	case s.writable > mine:
		h.refused = l.newer(h.schema, ", so it can read this one but not write to it")
	}
	return nil
}

// recordedSince reads what a ledger says about older programs.
func recordedSince(ctx context.Context, q headReader) (s since, err error) {
	err = q.QueryRowContext(ctx, "SELECT readable_since, writable_since FROM jit_ledger").Scan(&s.readable, &s.writable)
	return s, err
}

func (l *Ledger) newer(schema int, but string) error {
	return newerLedger(l.db.name(), schema, len(l.migrations), but)
}

// newerLedger is the error for a ledger with a schema version above those that a program knows. but says what it can do
// all the same.
func newerLedger(name string, schema, known int, but string) error {
	return &jit.Error{Attribute: "ledger", Err: jit.ErrNewerLedger,
		Problem: fmt.Sprintf("%s has schema version %d, and this program knows versions up to %d%s",
			name, schema, known, but),
		Hint: "a newer version of this program has written to it; update to at least that version"}
}

// Migration says what is to be done to bring a ledger to the schema of this program.
type Migration struct {
	Name string `json:"ledger"`
	// From and To are schema versions.
	From int `json:"from"`
	To   int `json:"to"`
	// ReadableSince and WritableSince are the oldest schema versions whose programs can use the ledger afterwards.
	ReadableSince int `json:"readable_since"`
	WritableSince int `json:"writable_since"`
}

// Migration returns what is to be done; it changes nothing. A ledger that does not exist has no Name.
func (l *Ledger) Migration(ctx context.Context) (m Migration, err error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return m, err
	}
	k := l.known.Load()
	s := compatibleSince(len(l.migrations))
	if k.schema > len(l.migrations) {
		if s, err = recordedSince(ctx, db); err != nil {
			return m, l.fail("read", err)
		}
	}
	return Migration{l.db.name(), k.schema, max(k.schema, len(l.migrations)), s.readable, s.writable}, k.refused
}

// migrateInWrite brings the ledger to the schema of this program within the time that a write may take.
func (l *Ledger) migrateInWrite(ctx context.Context, db *sql.DB) error {
	err := l.migrate(ctx, db, func(int) {})
	if err == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	return &jit.Error{Attribute: "ledger", Err: context.DeadlineExceeded,
		Problem: fmt.Sprintf("%s has an older schema, and to bring it to version %d takes longer than a write may wait",
			l.db.name(), len(l.migrations)),
		Hint: "run `jit ledger migrate` once, which takes the time that it needs, then run this again"}
}

// Migrate brings the ledger to the schema of this program, however long that takes. Before each step it calls began with
// the schema version that the step leads to.
func (l *Ledger) Migrate(ctx context.Context, began func(version int)) error {
	for n := 0; ; n++ {
		db, err := l.db.writer(ctx)
		if err == nil {
			err = l.migrate(ctx, db, began)
		}
		if err == nil || !errors.Is(err, errAgain) && !l.db.conflict(err) {
			return l.fail("write", err)
		}
		if err := backoff.Wait(ctx, n, 4*time.Millisecond, time.Second); err != nil {
			return err
		}
	}
}
