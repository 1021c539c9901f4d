package ledger

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// A migration that cannot succeed says why, and is not tried for ever.
func TestMigrationMeetsAForeignTable(t *testing.T) {
	onDatabases(t, func(t *testing.T, url string) {
		db := olderLedger(t, url, dueSchema-1, nil)
		_, err := db.ExecContext(t.Context(), "CREATE TABLE jit_due (x BIGINT)")
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		tries := 0
		err = opened(t, url).Migrate(ctx, func(int) {
			if tries++; tries > 1 {
				cancel()
			}
		})
		if err == nil || !strings.Contains(err.Error(), "jit_due") || tries != 1 {
			t.Errorf("after %d tries: %v", tries, err)
		}
	})
}

// An index that an administrator has dropped is no reason to keep the older schema.
func TestMigrationWithoutAnIndex(t *testing.T) {
	onDatabases(t, func(t *testing.T, url string) {
		db := olderLedger(t, url, dueSchema-1, nil)
		for _, index := range []string{"jit_grants_due", "jit_grants_open", "jit_grants_owner_open"} {
			_, err := db.ExecContext(t.Context(), "DROP INDEX "+index)
			must(t, err)
		}
		must(t, opened(t, url).Migrate(t.Context(), func(int) {}))
	})
}

// A migration that waits for whoever reads for long, as pg_dump or `jit audit verify`, keeps nobody else waiting.
func TestMigrationBehindALongReader(t *testing.T) {
	url := testenv.Postgres(t).Database(t)
	olderLedger(t, url, dueSchema-1, nil)
	db, err := sql.Open("pgx", url)
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	long, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	must(t, err)
	defer func() { _ = long.Rollback() }()
	for _, table := range []string{"jit_grants", "jit_ledger"} {
		_, err = long.ExecContext(t.Context(), "SELECT 1 FROM "+table)
		must(t, err)
	}
	migrated := make(chan error, 1)
	l := opened(t, url)
	go func() { migrated <- l.Migrate(t.Context(), func(int) {}) }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for waits := 0; waits == 0; {
		must(t, db.QueryRowContext(ctx,
			"SELECT count(*) FROM pg_catalog.pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'").Scan(&waits))
	}
	reader := opened(t, url)
	for _, err := range reader.Grants(ctx, jit.Filter{Open: true}) {
		if err != nil {
			t.Errorf("another reader: %v", err)
		}
	}
	must(t, long.Rollback())
	must(t, <-migrated)
}
