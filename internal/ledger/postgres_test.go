package ledger

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// TestRowsAsArrays: rows reach a PostgreSQL server as they are, whether their columns differ or not.
func TestRowsAsArrays(t *testing.T) {
	db, err := sql.Open("pgx", testenv.Postgres(t).Database(t)+"&default_query_exec_mode=exec")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	for name, rows := range map[string][][]any{
		"one row":             {{"a", int64(1), "x", nil}},
		"one value":           {{"a", int64(1), "x", nil}, {"a", int64(1), "x", nil}},
		"null and its name":   {{"NULL", nil, "null", nil}, {"null", int64(0), nil, nil}},
		"what arrays are of":  {{`{"a",b}`, int64(-1), `\"`, int64(1)}, {`\`, int64(1), `,`, int64(2)}},
		"empty and blank":     {{"", int64(0), " ", nil}, {" ", nil, "", int64(1 << 62)}},
		"lines and beyond":    {{"a\nb\tc", int64(1), "\u202e", nil}, {"é", int64(1), "😀\r", nil}},
		"nothing comes first": {{"a", nil, nil, nil}, {"b", int64(1), "c", int64(2)}},
	} {
		t.Run(name, func(t *testing.T) {
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback() }()
			if _, err = tx.ExecContext(t.Context(),
				"CREATE TEMPORARY TABLE facts (a text, b bigint, c text, d bigint) ON COMMIT DROP"); err == nil {
				err = insertUnnested(t.Context(), tx, "INSERT INTO facts (a, b, c, d) ", rows, "")
			}
			if err != nil {
				t.Fatal(err)
			}
			stored, err := collect(t.Context(), tx, func(rows *sql.Rows) ([]any, error) {
				row := make([]any, 4)
				return row, rows.Scan(&row[0], &row[1], &row[2], &row[3])
			}, "SELECT a, b, c, d FROM facts")
			if err != nil || !slices.EqualFunc(stored, rows, slices.Equal[[]any]) {
				t.Errorf("stored %s, want %s, error %v", fmt.Sprintf("%q", stored), fmt.Sprintf("%q", rows), err)
			}
		})
	}
}

// What a grant goes through touches no index: a page has room for the new row, and no index has what changes.
func TestUpdatesOfGrantsTouchNoIndex(t *testing.T) {
	l := opened(t, testenv.Postgres(t).Database(t))
	db, err := l.db.writer(t.Context())
	must(t, err)
	must(t, l.migrate(t.Context(), db, func(int) {}))
	for _, table := range []string{"jit_grants", "jit_due"} {
		var options string
		must(t, db.QueryRowContext(t.Context(),
			"SELECT reloptions::text FROM pg_catalog.pg_class WHERE oid = $1::regclass", table).Scan(&options))
		if !strings.Contains(options, "fillfactor=50") {
			t.Errorf("%s has %s", table, options)
		}
	}
	indexes, err := collect(t.Context(), db, scanOne[string],
		"SELECT indexdef FROM pg_catalog.pg_indexes WHERE tablename = 'jit_grants'")
	if err != nil || len(indexes) < 5 {
		t.Fatal(indexes, err)
	}
	for _, index := range indexes {
		for _, changes := range []string{
			"granted_at", "revoked_at", "failed_at", "ended_at", "version", "open_drift", "due_at", "lease_until",
		} {
			if strings.Contains(index, changes) {
				t.Errorf("%s has %s", index, changes)
			}
		}
	}
}

// A server that refuses to be tuned has the ledger all the same.
func TestServerThatCannotBeTuned(t *testing.T) {
	l := opened(t, testenv.Postgres(t).Database(t))
	l.tune = map[int][]string{dueSchema: {"ALTER TABLE jit_grants SET (no_such_parameter = 1)"}}
	db, err := l.db.writer(t.Context())
	must(t, err)
	must(t, l.migrate(t.Context(), db, func(int) {}))
	if h, err := l.head(t.Context(), db, ""); err != nil || h.schema != len(migrations) {
		t.Errorf("schema %d, %v", h.schema, err)
	}
}
