package ledger

import (
	"database/sql"
	"fmt"
	"slices"
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
