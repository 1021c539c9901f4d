package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// projection is the SQLite file with what the log of a bucket tells, within one transaction that writes to it. The row
// of jit_bucket says which commit was applied last, so a projection is never ahead of what it holds.
type projection struct {
	tx         *sql.Tx
	migrations [][]string
	name       string // of the ledger, for messages
}

// tableShape is what a row of a table consists of.
type tableShape struct {
	columns, key []string
	// whole are the columns with whole numbers. All others have texts.
	whole []string
}

// prepare creates what the projection needs besides the tables of the ledger.
func (p projection) prepare(ctx context.Context) error {
	return p.exec(ctx,
		"CREATE TABLE IF NOT EXISTS jit_bucket (chain TEXT PRIMARY KEY, number BIGINT NOT NULL, hash TEXT NOT NULL)",
		"CREATE TEMP TABLE IF NOT EXISTS changed (id INTEGER PRIMARY KEY, name TEXT, row_key TEXT, row_values TEXT)",
		"CREATE TEMP TABLE IF NOT EXISTS capturing (schema BIGINT, active BIGINT)")
}

func (p projection) exec(ctx context.Context, statements ...string) error {
	for _, s := range statements {
		if _, err := p.tx.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// head returns the last commit of a chain that was applied.
func (p projection) head(ctx context.Context, chain string) (h bucket.Head, err error) {
	err = p.tx.QueryRowContext(ctx, "SELECT number, hash FROM jit_bucket WHERE chain = $1", chain).
		Scan(&h.Number, &h.Hash)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return h, err
}

// setHead notes that a commit has been applied.
func (p projection) setHead(ctx context.Context, c *bucket.Commit) error {
	_, err := p.tx.ExecContext(ctx, `INSERT INTO jit_bucket (chain, number, hash) VALUES ($1, $2, $3)
		ON CONFLICT (chain) DO UPDATE SET number = excluded.number, hash = excluded.hash`, c.Chain, c.Number, c.Hash)
	return err
}

// ledger reads the row of jit_ledger; a ledger that does not exist has the schema 0.
func (p projection) ledger(ctx context.Context) (h head, err error) {
	var tables int
	err = p.tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE name = 'jit_ledger'").Scan(&tables)
	if err != nil || tables == 0 {
		return h, err
	}
	err = p.tx.QueryRowContext(ctx, "SELECT id, schema_version, head_seq, head_hash FROM jit_ledger").
		Scan(&h.id, &h.schema, &h.seq, &h.hash)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return h, err
}

// shapes returns the tables of the ledger.
func (p projection) shapes(ctx context.Context) (map[string]tableShape, error) {
	all := map[string]tableShape{}
	type column struct {
		table, name string
		key         int
		whole       bool
	}
	columns, err := collect(ctx, p.tx, func(rows *sql.Rows) (c column, err error) {
		return c, rows.Scan(&c.table, &c.name, &c.key, &c.whole)
	}, `SELECT m.name, c.name, c.pk, c.type LIKE '%INT%' FROM sqlite_master m, pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name LIKE 'jit\_%' ESCAPE '\' AND m.name <> 'jit_bucket' ORDER BY m.name, c.cid`)
	for _, c := range columns {
		shape := all[c.table]
		shape.columns = append(shape.columns, c.name)
		if c.key > 0 {
			shape.key = append(shape.key, c.name)
		}
		if c.whole {
			shape.whole = append(shape.whole, c.name)
		}
		all[c.table] = shape
	}
	return all, err
}

// capture begins to note every row that a transaction changes. It returns the tables that there are.
func (p projection) capture(ctx context.Context, schema int) (map[string]tableShape, error) {
	shapes, err := p.shapes(ctx)
	if err != nil {
		return nil, err
	}
	var known int
	err = p.tx.QueryRowContext(ctx, "SELECT schema FROM capturing").Scan(&known)
	if errors.Is(err, sql.ErrNoRows) {
		known, err = -1, nil
	}
	if err == nil && known != schema {
		err = p.installTriggers(ctx, schema, shapes)
	}
	if err != nil {
		return nil, err
	}
	return shapes, p.exec(ctx, "DELETE FROM changed", "UPDATE capturing SET active = 1")
}

// installTriggers makes the triggers for the tables of a schema. They belong to the connection, not to the file.
func (p projection) installTriggers(ctx context.Context, schema int, shapes map[string]tableShape) error {
	old, err := collect(ctx, p.tx, scanOne[string], "SELECT name FROM sqlite_temp_master WHERE type = 'trigger'")
	if err != nil {
		return err
	}
	statements := []string{"DELETE FROM capturing", fmt.Sprintf("INSERT INTO capturing VALUES (%d, 0)", schema)}
	for _, name := range old {
		statements = append(statements, "DROP TRIGGER temp."+name)
	}
	for table, shape := range sorted(shapes) {
		for event, row := range map[string]string{"INSERT": "NEW", "UPDATE": "NEW", "DELETE": "OLD"} {
			values := "NULL"
			if row == "NEW" {
				values = jsonArray(row, shape.columns)
			}
			statements = append(statements, fmt.Sprintf(`CREATE TEMP TRIGGER capture_%s_%s AFTER %s ON main.%s
				WHEN (SELECT active FROM capturing) = 1
				BEGIN INSERT INTO changed (name, row_key, row_values) VALUES ('%s', %s, %s); END`,
				strings.ToLower(event), table, event, table, table, jsonArray(row, shape.key), values))
		}
	}
	return p.exec(ctx, statements...)
}

// jsonArray writes the SQL for a JSON array of columns of a row.
func jsonArray(row string, columns []string) string {
	return "json_array(" + row + "." + strings.Join(columns, ", "+row+".") + ")"
}

// changes ends the capture and returns the changed rows as the transaction leaves them, sorted, and all rows of tables
// that it created, except due work. before are the tables at its beginning.
func (p projection) changes(ctx context.Context, before map[string]tableShape) ([]bucket.Table, error) {
	tables, err := p.changed(ctx, before)
	if err != nil {
		return nil, err
	}
	now, err := p.shapes(ctx)
	if err != nil {
		return nil, err
	}
	for name, shape := range sorted(now) {
		if _, old := before[name]; old || name == "jit_due" { // every projection derives it from the grants
			continue
		}
		rows, err := collect(ctx, p.tx, scanOne[string],
			"SELECT "+jsonArray(name, shape.columns)+" FROM "+name+" ORDER BY "+strings.Join(shape.key, ", "))
		if err != nil {
			return nil, err
		}
		t := bucket.Table{Name: name, Columns: shape.columns}
		for _, row := range rows {
			if t.Rows, err = appendRow(t.Rows, row); err != nil {
				return nil, err
			}
		}
		if len(rows) > 0 {
			tables = append(tables, t)
		}
	}
	return tables, nil
}

// changed returns the captured rows.
func (p projection) changed(ctx context.Context, shapes map[string]tableShape) ([]bucket.Table, error) {
	type change struct {
		table, key string
		values     sql.NullString
	}
	var tables []bucket.Table
	err := p.exec(ctx, "UPDATE capturing SET active = 0")
	if err != nil {
		return nil, err
	}
	last, err := collect(ctx, p.tx, func(rows *sql.Rows) (c change, err error) {
		return c, rows.Scan(&c.table, &c.key, &c.values)
	}, `SELECT name, row_key, row_values FROM changed WHERE id IN (SELECT max(id) FROM changed GROUP BY name, row_key)
		ORDER BY name, row_key`)
	for _, c := range last {
		if n := len(tables); n == 0 || tables[n-1].Name != c.table {
			tables = append(tables, bucket.Table{Name: c.table})
		}
		t := &tables[len(tables)-1]
		if c.values.Valid {
			t.Columns = shapes[c.table].columns
			t.Rows, err = appendRow(t.Rows, c.values.String)
		} else {
			t.Key = shapes[c.table].key
			t.Deleted, err = appendRow(t.Deleted, c.key)
		}
		if err != nil {
			return nil, err
		}
	}
	return tables, err
}

func appendRow(rows [][]any, text string) ([][]any, error) {
	var row []any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	err := d.Decode(&row)
	return append(rows, row), err
}

// split shares out the changed rows of a transaction among the logs. home is the log of rows that belong to no other.
func split(tables []bucket.Table, home string) map[string][]bucket.Table {
	all := map[string][]bucket.Table{}
	in := func(log string, like bucket.Table) *bucket.Table {
		if n := len(all[log]); n == 0 || all[log][n-1].Name != like.Name {
			all[log] = append(all[log], bucket.Table{Name: like.Name})
		}
		return &all[log][len(all[log])-1]
	}
	for _, t := range tables {
		for _, row := range t.Rows {
			to := in(logOfRow(t, row, home), t)
			to.Columns, to.Rows = t.Columns, append(to.Rows, row)
		}
		for _, key := range t.Deleted {
			log := home
			if ofAll[t.Name] {
				log = jit.AllChain
			}
			to := in(log, t)
			to.Key, to.Deleted = t.Key, append(to.Deleted, key)
		}
	}
	return all
}

// ofAll are the tables of the log of [jit.AllChain].
var ofAll = map[string]bool{
	"jit_ledger": true, "jit_policies": true, "jit_persons": true, "jit_runs": true, oldTable: true,
	"jit_marks": true, "jit_mark_scopes": true,
}

// logOfRow returns the log of a row.
func logOfRow(t bucket.Table, row []any, home string) string {
	value := func(column string) any { return row[slices.Index(t.Columns, column)] }
	switch {
	case ofAll[t.Name]:
		return jit.AllChain
	case t.Name == "jit_grants" || t.Name == "jit_due" || t.Name == "jit_sweeps":
		return jit.ChainOf(fmt.Sprint(value("owner")))
	case t.Name == logTable || t.Name == chainTable && fmt.Sprint(value("head_seq")) != "0":
		return fmt.Sprint(value("chain"))
	}
	return home
}
