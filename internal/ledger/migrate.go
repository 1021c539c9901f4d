package ledger

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/google/uuid"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrations holds the statements of every schema version; that of version n is at n-1. A
// ledger is never read by a program older than its schema, and read before it is migrated by a
// newer one, so a migration adds and does not take away.
var migrations = loadMigrations()

func loadMigrations() [][]string {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	slices.Sort(names)
	versions := make([][]string, len(names))
	for i, name := range names {
		text, err := migrationFiles.ReadFile(path.Clean(name))
		if err != nil {
			panic(err) // it is part of the program
		}
		versions[i] = statements(string(text))
	}
	return versions
}

// statements splits a migration, for drivers that take one statement at a time.
func statements(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "--") {
			lines = append(lines, line)
		}
	}
	all := strings.Split(strings.Join(lines, ""), ";")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

// migrate makes the ledger or brings it to the newest schema. Any number of processes may
// do so at once: the first version makes only what is not there, and every later one is applied by
// whoever locks the head first. An engine may refuse the others, who then look again.
func (l *Ledger) migrate(ctx context.Context, db *sql.DB) error {
	h, err := l.head(ctx, db, "")
	if err != nil && !errors.Is(err, errOutdated) {
		return err
	}
	for version := h.schema; version < len(l.migrations); version++ {
		err := l.apply(ctx, db, version)
		if err != nil && l.db.exists(err) {
			return errAgain
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// apply brings the schema from version to the next.
func (l *Ledger) apply(ctx context.Context, db *sql.DB, version int) error {
	tx, err := db.BeginTx(ctx, &l.write)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if version > 0 {
		h, err := l.head(ctx, tx, l.forUpdate)
		if err != nil || h.schema > version {
			return err
		}
	}
	for _, statement := range l.migrations[version] {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	if version == 0 {
		id := uuid.NewString()
		// The id is what the first event follows.
		_, err = tx.ExecContext(ctx, `INSERT INTO jit_ledger (singleton, id, schema_version, head_seq, head_hash)
			VALUES (1, $1, 1, 0, $1) ON CONFLICT (singleton) DO NOTHING`, id)
	} else {
		_, err = tx.ExecContext(ctx, "UPDATE jit_ledger SET schema_version = $1", version+1)
	}
	if err != nil {
		return err
	}
	return tx.Commit()
}
