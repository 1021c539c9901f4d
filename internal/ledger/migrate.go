package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrations holds the statements of each schema version; those of version n are at n-1. A program reads a ledger with
// an older schema before it migrates it, so a migration adds and never removes; and a newer one as far as that permits
// it, see [compatible]. What takes long comes first in a migration: a DROP or an ALTER keeps all readers out until the
// commit.
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
			panic(err) // the file is part of the program
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

// migrate creates the ledger or brings it to the newest schema. Any number of processes may do so at once: the first
// version creates only what is absent, and each later one is applied by the process that locks the ledger first. A
// database may refuse the others, which then try again. Before each version it calls began.
func (l *Ledger) migrate(ctx context.Context, db *sql.DB, began func(version int)) error {
	if c, ok := l.db.(committer); ok {
		return c.commit(ctx, jit.AllChain, func(tx *sql.Tx) error {
			for version := range l.migrations { // it passes over those that have been applied
				if err := l.apply(ctx, tx, version); err != nil {
					return err
				}
			}
			return nil
		})
	}
	h, err := l.head(ctx, db, "")
	if err != nil && !errors.Is(err, errOutdated) {
		return err
	}
	for version := h.schema; version < len(l.migrations); version++ {
		began(version + 1)
		err := inTx(ctx, db, &l.write, func(tx *sql.Tx) error { return l.apply(ctx, tx, version) })
		switch {
		case err != nil && version == 0 && l.db.exists(err): // each later one has locked the ledger
			return errAgain
		case err != nil:
			return err
		}
	}
	return nil
}

// apply brings the schema from version to the next, unless another process has.
func (l *Ledger) apply(ctx context.Context, tx *sql.Tx, version int) error {
	if version > 0 {
		h, err := l.lockAll(ctx, tx)
		if err != nil || h.schema > version {
			return err
		}
	}
	if l.giveWay != "" {
		if err := l.try(ctx, tx, l.giveWay); err != nil {
			return err
		}
	}
	for _, statement := range l.migrations[version] {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	for _, statement := range l.tune[version+1] {
		if err := l.try(ctx, tx, statement); err != nil {
			return err
		}
	}
	if version+1 >= compatibleSchema {
		since := compatibleSince(version + 1)
		_, err := tx.ExecContext(ctx, "UPDATE jit_ledger SET schema_version = $1, readable_since = $2, writable_since = $3",
			version+1, since.readable, since.writable)
		return err
	}
	if version > 0 {
		_, err := tx.ExecContext(ctx, "UPDATE jit_ledger SET schema_version = $1", version+1)
		return err
	}
	// Older programs let the first event follow the id.
	_, err := tx.ExecContext(ctx, `INSERT INTO jit_ledger (singleton, id, schema_version, head_seq, head_hash)
		VALUES (1, $1, 1, 0, $1) ON CONFLICT (singleton) DO NOTHING`, uuid.NewString())
	return err
}

// lockAll locks the row of the ledger and all chains, so nobody else writes events or creates a chain.
func (l *Ledger) lockAll(ctx context.Context, tx *sql.Tx) (*state, error) {
	h, err := l.head(ctx, tx, l.forUpdate)
	if err = cmp.Or(err, h.refused); err != nil {
		return nil, err
	}
	s := &state{head: h, tips: map[string]tip{}}
	if h.schema >= chainsSchema {
		err = l.addTips(ctx, tx, s.tips, " ORDER BY chain"+l.forUpdate)
	}
	return s, err
}

// try runs a statement whose failure changes nothing.
func (l *Ledger) try(ctx context.Context, tx *sql.Tx, statement string) error {
	if _, err := tx.ExecContext(ctx, "SAVEPOINT tuned"); err != nil {
		return err
	}
	after := "RELEASE SAVEPOINT tuned"
	if _, err := tx.ExecContext(ctx, statement); err != nil {
		after = "ROLLBACK TO SAVEPOINT tuned"
	}
	_, err := tx.ExecContext(ctx, after)
	return err
}
