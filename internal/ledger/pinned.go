package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/pgsession"
)

// pinned opens connections that run each statement in a transaction that begins with [pgsession.Pin]. A pooler may pass
// each transaction to another session, so pinning a session once is not enough.
type pinned struct {
	driver.Connector
	pin []string
}

// openPinned opens the database. The search_path of the URL, or else the server's own default, finds the tables, never
// the default of a role or a database.
func openPinned(config pgx.ConnConfig) *sql.DB {
	path := pgsession.Parameter(config.RuntimeParams, "search_path")
	if path == "" {
		path = `"$user", public`
	}
	pin := pgsession.Pin(path+", pg_temp", pgsession.Parameter(config.RuntimeParams, "role"))
	pgsession.Guard(&config.Config, pin)
	return sql.OpenDB(&pinned{stdlib.GetConnector(config), pin})
}

// Connect opens a connection.
func (p *pinned) Connect(ctx context.Context) (driver.Conn, error) {
	made, err := p.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	c := &pinnedConn{Conn: made.(*stdlib.Conn), pin: p.pin}
	if err := c.sameTables(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// pinnedConn is one connection. Like every [driver.Conn] it serves one goroutine at a time.
type pinnedConn struct {
	*stdlib.Conn
	pin []string
	// inside: a transaction is open.
	inside bool
}

var (
	_ driver.ConnBeginTx    = (*pinnedConn)(nil)
	_ driver.QueryerContext = (*pinnedConn)(nil)
	_ driver.ExecerContext  = (*pinnedConn)(nil)
)

// schemaSQL returns the schema in which the session finds the ledger; no row if it finds none.
const schemaSQL = `SELECT n.nspname FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('jit_ledger')`

// sameTables refuses a session that finds the ledger only by the defaults of the role or database: pinned, it would
// read an empty ledger.
func (c *pinnedConn) sameTables(ctx context.Context) error {
	pinned := "BEGIN READ ONLY; " + strings.Join(c.pin, "; ") + "; " + schemaSQL + "; COMMIT"
	all, err := c.Conn.Conn().PgConn().Exec(ctx, schemaSQL+"; "+pinned).ReadAll()
	if err != nil {
		return err
	}
	before, after := all[0].Rows, all[len(all)-2].Rows
	if len(before) == 0 || len(after) > 0 {
		return nil
	}
	schema := string(before[0][0])
	return &jit.Error{ // of no kind: for the caller, the ledger cannot be read
		Attribute: "ledger",
		Problem: fmt.Sprintf("the tables of the ledger are in schema %q, where only a search_path set for the role or "+
			"the database finds them; the owner of the database could point it elsewhere", schema),
		Hint: fmt.Sprintf("if that is your ledger, end its URL with ?search_path=%s", schema),
	}
}

// begin opens a transaction and pins its settings, in one round trip.
func (c *pinnedConn) begin(ctx context.Context, mode string) error {
	_, err := c.Conn.Conn().PgConn().Exec(ctx, "BEGIN "+mode+"; "+strings.Join(c.pin, "; ")).ReadAll()
	switch {
	case err == nil:
		c.inside = true
		return nil
	case pgconn.SafeToRetry(err):
		return driver.ErrBadConn
	}
	c.abandon()
	return err
}

// end ends the transaction by COMMIT or ROLLBACK.
func (c *pinnedConn) end(ctx context.Context, how string) error {
	c.inside = false
	results, err := c.Conn.Conn().PgConn().Exec(ctx, how).ReadAll()
	if err != nil {
		c.abandon()
		return err
	}
	if how == "COMMIT" && results[0].CommandTag.String() != how {
		return pgx.ErrTxCommitRollback
	}
	return nil
}

// abandon closes a connection in an unknown state.
func (c *pinnedConn) abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Conn.Conn().Close(ctx)
}

// BeginTx opens a transaction.
func (c *pinnedConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	mode := "ISOLATION LEVEL READ COMMITTED"
	if sql.IsolationLevel(opts.Isolation) == sql.LevelRepeatableRead {
		mode = "ISOLATION LEVEL REPEATABLE READ"
	}
	if opts.ReadOnly {
		mode += " READ ONLY"
	} else {
		mode += " READ WRITE"
	}
	if err := c.begin(ctx, mode); err != nil {
		return nil, err
	}
	return pinnedTx{ctx, c}, nil
}

type pinnedTx struct {
	ctx  context.Context
	conn *pinnedConn
}

func (t pinnedTx) Commit() error   { return t.conn.end(t.ctx, "COMMIT") }
func (t pinnedTx) Rollback() error { return t.conn.end(t.ctx, "ROLLBACK") }

// QueryContext runs a query, outside of a transaction in one of its own, which ends with the rows.
func (c *pinnedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if c.inside {
		return c.Conn.QueryContext(ctx, query, args)
	}
	results, err := c.alone(ctx, "READ ONLY", query, args)
	if err != nil {
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		return nil, errors.Join(err, c.finish(ctx, results))
	}
	// Next reports an error of the server before the caller asks for the columns.
	r := &pinnedRows{rows: rows, more: rows.Next(), results: results, ctx: ctx, conn: c}
	if err := rows.Err(); err != nil {
		return nil, errors.Join(err, c.finish(ctx, results))
	}
	return r, nil
}

// ExecContext runs a statement, outside of a transaction in one of its own.
func (c *pinnedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if c.inside {
		return c.Conn.ExecContext(ctx, query, args)
	}
	results, err := c.alone(ctx, "READ WRITE", query, args)
	if err != nil {
		return nil, err
	}
	tag, err := results.Exec()
	if err == nil {
		_, err = results.Exec() // the answer to COMMIT
	}
	return driver.RowsAffected(tag.RowsAffected()), errors.Join(err, c.finish(ctx, results))
}

// alone sends a statement in a transaction of its own. It takes one round trip, so a read on a slow network is not
// three times as slow. The results begin with those of the statement, then come those of COMMIT.
func (c *pinnedConn) alone(
	ctx context.Context, mode, query string, args []driver.NamedValue,
) (pgx.BatchResults, error) {
	values := make([]any, len(args))
	for i, a := range args {
		values[i] = a.Value
	}
	var b pgx.Batch
	b.Queue("BEGIN ISOLATION LEVEL READ COMMITTED " + mode)
	for _, statement := range c.pin {
		b.Queue(statement)
	}
	b.Queue(query, values...)
	b.Queue("COMMIT")
	results := c.Conn.Conn().SendBatch(ctx, &b)
	for range 1 + len(c.pin) {
		if _, err := results.Exec(); err != nil {
			if pgconn.SafeToRetry(err) {
				_ = results.Close()
				return nil, driver.ErrBadConn
			}
			return nil, errors.Join(err, c.finish(ctx, results))
		}
	}
	return results, nil
}

// finish reads the remaining results. After an error the server has skipped the COMMIT, so finish ends the transaction.
func (c *pinnedConn) finish(ctx context.Context, results pgx.BatchResults) error {
	_ = results.Close() // the caller has the error that stopped the results, if any
	switch pg := c.Conn.Conn().PgConn(); {
	case pg.IsClosed(), pg.TxStatus() == 'I':
		return nil
	default:
		return c.end(ctx, "ROLLBACK")
	}
}

// pinnedRows are the rows of a query in a transaction of its own.
type pinnedRows struct {
	rows pgx.Rows
	// more: the next row has been read.
	more    bool
	results pgx.BatchResults
	ctx     context.Context
	conn    *pinnedConn
}

// Columns returns the names of the columns.
func (r *pinnedRows) Columns() []string {
	var names []string
	for _, f := range r.rows.FieldDescriptions() {
		names = append(names, f.Name)
	}
	return names
}

// Next reads a row.
func (r *pinnedRows) Next(dest []driver.Value) error {
	more := r.more || r.rows.Next()
	r.more = false
	if !more {
		return cmp.Or(r.rows.Err(), io.EOF)
	}
	values, err := r.rows.Values()
	if err != nil {
		return err
	}
	for i, v := range values {
		if dest[i], err = driver.DefaultParameterConverter.ConvertValue(v); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the transaction.
func (r *pinnedRows) Close() error {
	r.rows.Close()
	_, err := r.results.Exec() // the answer to COMMIT
	return errors.Join(err, r.conn.finish(r.ctx, r.results))
}

// Prepare and PrepareContext refuse: a statement that was prepared in one session may run in another.
func (c *pinnedConn) Prepare(string) (driver.Stmt, error) {
	return nil, errors.New("statements are not prepared")
}

// PrepareContext refuses, as Prepare does.
func (c *pinnedConn) PrepareContext(context.Context, string) (driver.Stmt, error) {
	return c.Prepare("")
}
