package ledger

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/pgsession"
)

// pinned makes connections of which every statement runs in a transaction that begins with
// [pgsession.Pin]. A pooler may hand each transaction to another session, so a session cannot be pinned once.
type pinned struct {
	driver.Connector
	pin string
}

// openPinned opens the database. Tables are found by the search_path of the URL, or else by the server's own
// default: never by what a role or a database has been given as its default.
func openPinned(config pgx.ConnConfig) *sql.DB {
	path := pgsession.Parameter(config.RuntimeParams, "search_path")
	if path == "" {
		path = `"$user", public`
	}
	pin := pgsession.Pin(path+", pg_temp", pgsession.Parameter(config.RuntimeParams, "role"))
	pgsession.Guard(&config.Config, pin)
	return sql.OpenDB(&pinned{stdlib.GetConnector(config), strings.Join(pin, "; ")})
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
	pin string
	// inside: a transaction is open.
	inside bool
}

var (
	_ driver.ConnBeginTx    = (*pinnedConn)(nil)
	_ driver.QueryerContext = (*pinnedConn)(nil)
	_ driver.ExecerContext  = (*pinnedConn)(nil)
)

// schemaSQL names the schema in which the session finds the ledger; there is no row where it finds none.
const schemaSQL = `SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('jit_ledger')`

// sameTables refuses a session that would find the ledger by its own defaults and does not find it when pinned: it would
// read as an empty ledger.
func (c *pinnedConn) sameTables(ctx context.Context) error {
	all, err := c.Conn.Conn().PgConn().Exec(ctx, schemaSQL+"; BEGIN READ ONLY; "+c.pin+"; "+schemaSQL+"; COMMIT").ReadAll()
	if err != nil {
		return err
	}
	before, after := all[0].Rows, all[len(all)-2].Rows
	if len(before) == 0 || len(after) > 0 {
		return nil
	}
	schema := string(before[0][0])
	return &jit.Error{ // of no kind: to the caller the ledger cannot be read
		Attribute: "ledger",
		Problem:   fmt.Sprintf("the tables of the ledger are in schema %q, where only a search_path set for the role or the database finds them; the owner of the database could point that elsewhere", schema),
		Hint:      fmt.Sprintf("end the URL of the ledger with ?search_path=%s, if that is the ledger you mean", schema),
	}
}

// begin opens a transaction and pins its settings, in one round trip.
func (c *pinnedConn) begin(ctx context.Context, mode string) error {
	_, err := c.Conn.Conn().PgConn().Exec(ctx, "BEGIN "+mode+"; "+c.pin).ReadAll()
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

// abandon closes a connection whose state is not known.
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
	if err := c.begin(ctx, "ISOLATION LEVEL READ COMMITTED READ ONLY"); err != nil {
		return nil, err
	}
	rows, err := c.Conn.QueryContext(ctx, query, args)
	if err != nil {
		return nil, errors.Join(err, c.end(ctx, "ROLLBACK"))
	}
	return &pinnedRows{rows, ctx, c}, nil
}

type pinnedRows struct {
	driver.Rows
	ctx  context.Context
	conn *pinnedConn
}

func (r *pinnedRows) Close() error {
	return errors.Join(r.Rows.Close(), r.conn.end(r.ctx, "COMMIT"))
}

// ExecContext runs a statement, outside of a transaction in one of its own.
func (c *pinnedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if c.inside {
		return c.Conn.ExecContext(ctx, query, args)
	}
	if err := c.begin(ctx, "ISOLATION LEVEL READ COMMITTED READ WRITE"); err != nil {
		return nil, err
	}
	result, err := c.Conn.ExecContext(ctx, query, args)
	if err != nil {
		return nil, errors.Join(err, c.end(ctx, "ROLLBACK"))
	}
	return result, c.end(ctx, "COMMIT")
}

// Prepare and PrepareContext refuse: a statement that was prepared in one session may run in another.
func (c *pinnedConn) Prepare(string) (driver.Stmt, error) {
	return nil, errors.New("statements are not prepared")
}

// PrepareContext refuses, as Prepare does.
func (c *pinnedConn) PrepareContext(context.Context, string) (driver.Stmt, error) {
	return c.Prepare("")
}
