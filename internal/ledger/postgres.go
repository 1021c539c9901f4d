package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// postgres is a ledger in a database that speaks PostgreSQL's protocol.
type postgres struct {
	label string
	db    *sql.DB
}

var _ engine = (*postgres)(nil)

var postgresDialect = dialect{
	mark:       numbered,
	among:      func(mark string) string { return " = ANY (" + mark + ")" },
	list:       func(values []string) any { return values },
	insert:     insertUnnested,
	update:     updateUnnested,
	forUpdate:  " FOR UPDATE",
	skipLocked: " FOR UPDATE SKIP LOCKED",
	// The locked rows of the chains give the order; a stricter level would only add retries.
	write:    sql.TxOptions{Isolation: sql.LevelReadCommitted},
	snapshot: sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true},
	// A page has room for another version of each of its rows, so that updates need not touch an index.
	// https://www.postgresql.org/docs/current/storage-hot.html
	tune: map[int][]string{dueSchema: {
		"ALTER TABLE jit_grants SET (fillfactor = 50)", "ALTER TABLE jit_due SET (fillfactor = 50)",
	}},
	giveWay: "SET LOCAL lock_timeout = '1s'",
	size: "SELECT CAST(sum(pg_catalog.pg_total_relation_size(pg_catalog.to_regclass(name))) AS bigint) FROM (VALUES " +
		"('jit_ledger'), ('jit_grants'), ('jit_due'), ('jit_events'), ('jit_chains'), ('jit_log'), " +
		"('jit_policies'), ('jit_persons'), " +
		"('jit_runs'), ('jit_marks'), ('jit_mark_scopes'), ('jit_leases'), ('jit_sweeps')) AS tables (name)",
	clock: "SELECT CAST(extract(epoch FROM pg_catalog.clock_timestamp()) AS double precision)",
}

// insertUnnested inserts rows a page at a time.
func insertUnnested(ctx context.Context, tx *sql.Tx, into string, rows [][]any, onConflict string) error {
	_, err := execUnnested(ctx, tx, into+"SELECT * FROM ", rows, " AS added"+onConflict)
	return err
}

// updateUnnested updates grants a page at a time.
func updateUnnested(ctx context.Context, tx *sql.Tx, rows [][]any) (int64, error) {
	return execUnnested(ctx, tx, "UPDATE jit_grants SET "+excluded(factColumns[1:])+" FROM ", rows,
		" AS excluded ("+strings.Join(factColumns, ", ")+") WHERE jit_grants.id = excluded.id")
}

// execUnnested runs a statement with rows between before and after, a page at a time, and returns how many rows it
// changed in all.
func execUnnested(ctx context.Context, tx *sql.Tx, before string, rows [][]any, after string) (int64, error) {
	var changed int64
	for page := range slices.Chunk(rows, pageSize) {
		source, args := unnested(page)
		done, err := tx.ExecContext(ctx, before+source+after, args...)
		if err != nil {
			return changed, err
		}
		n, err := done.RowsAffected()
		if err != nil {
			return changed, err
		}
		changed += n
	}
	return changed, nil
}

// unnested returns a subquery for rows, with one parameter for each column: an array, or the value that all rows share.
// The server parses a statement of thousands of parameters slower than it carries it out.
func unnested(rows [][]any) (source string, args []any) {
	var columns, arrays, names []string
	for c := range rows[0] {
		mark, kind := numbered(c+1), "bigint"
		if slices.ContainsFunc(rows, func(row []any) bool { _, ok := row[c].(string); return ok }) {
			kind = "text"
		}
		if c > 0 && !slices.ContainsFunc(rows, func(row []any) bool { return row[c] != rows[0][c] }) {
			columns, args = append(columns, mark+"::"+kind), append(args, rows[0][c])
			continue
		}
		name := fmt.Sprintf("c%d", c)
		columns, names = append(columns, name), append(names, name)
		arrays, args = append(arrays, mark+"::"+kind+"[]"), append(args, arrayOf(rows, c))
	}
	return fmt.Sprintf("(SELECT %s FROM unnest(%s) AS varying (%s))", strings.Join(columns, ", "),
		strings.Join(arrays, ", "), strings.Join(names, ", ")), args
}

// arrayText quotes what ends a text in an array.
// https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO
var arrayText = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// arrayOf returns one column of rows in the server's notation of an array; nil is NULL.
func arrayOf(rows [][]any, c int) string {
	var b []byte
	before := byte('{')
	for i, row := range rows {
		if i == 1 {
			b = slices.Grow(b, len(rows)*(len(b)+1)) // the others are about as long as the first
		}
		b = append(b, before)
		before = ','
		switch value := row[c].(type) {
		case string:
			b = append(b, '"')
			b = append(b, arrayText.Replace(value)...)
			b = append(b, '"')
		case int64:
			b = strconv.AppendInt(b, value, 10)
		case nil:
			b = append(b, "NULL"...)
		default:
			b = fmt.Append(b, value)
		}
	}
	return string(append(b, '}'))
}

func openPostgres(raw string, u *url.URL) (*postgres, error) {
	config, err := pgx.ParseConfig(raw)
	if err != nil {
		// pgx quotes the URL and masks the password as well as it can; the cause alone is enough.
		cause := errors.Unwrap(err)
		if cause == nil {
			cause = errors.New("an option is unknown")
		}
		return nil, jit.Invalid("ledger", "correct the options at the end of the URL, after the ?",
			"the postgres:// URL of the ledger cannot be used: %v", cause)
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 10 * time.Second
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "jit"
	}
	// No statement is prepared by name, so a pooler in front of the server does no harm.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	db := openPinned(*config)
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(4)
	db.SetConnMaxIdleTime(time.Minute)
	label := url.URL{Scheme: "postgres", Host: u.Host, Path: u.Path}
	return &postgres{label: label.String(), db: db}, nil
}

func (p *postgres) name() string { return p.label }

func (p *postgres) reader(context.Context) (*sql.DB, error) { return p.db, nil }

func (p *postgres) writer(context.Context) (*sql.DB, error) { return p.db, nil }

func (p *postgres) exposed() error { return nil }

func (p *postgres) close() error { return p.db.Close() }

// The SQLSTATE codes are those of PostgreSQL's documentation, appendix A.
const (
	undefinedTable       = "42P01"
	uniqueViolation      = "23505"
	duplicateTable       = "42P07"
	duplicateObject      = "42710" // the type of a table's rows, created with the table
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	invalidCatalogName   = "3D000"
	insufficientRights   = "42501"
	readOnlyTransaction  = "25006"
	invalidSchemaName    = "3F000"
	lockNotAvailable     = "55P03"
)

func (p *postgres) absent(err error) bool { return sqlState(err) == undefinedTable }

func (p *postgres) conflict(err error) bool {
	code := sqlState(err)
	return code == serializationFailure || code == deadlockDetected || code == lockNotAvailable ||
		pgconn.SafeToRetry(err) && !isConnect(err)
}

func (p *postgres) exists(err error) bool {
	code := sqlState(err)
	return code == uniqueViolation || code == duplicateTable || code == duplicateObject
}

func (p *postgres) explain(err error) (problem, hint string) {
	problem = err.Error()
	switch code := sqlState(err); {
	case strings.HasPrefix(code, "28"):
		hint = "check the user and the password of the ledger's URL"
	case code == invalidCatalogName:
		hint = "create the database first; the first write creates its tables"
	case code == insufficientRights || code == invalidSchemaName:
		hint = "allow the user of the URL to create, read and write tables in the database's first schema"
	case code == readOnlyTransaction:
		hint = "the URL must name the primary server, not a standby"
	case code == lockNotAvailable:
		hint = "somebody reads the tables for long, such as pg_dump or `jit audit verify`; run again when that is done"
	case code == uniqueViolation:
		hint = "another program has written to the tables of the ledger; run `jit audit verify`"
	case strings.HasPrefix(code, "53"):
		hint = "the server is out of connections, memory or disk space; run again when it has more"
	case code == "":
		hint = "check that the server runs and is reachable from here, and check host and port in the ledger's URL"
	}
	return problem, hint
}

func isConnect(err error) bool {
	var e *pgconn.ConnectError
	return errors.As(err, &e)
}

// sqlState returns the server's error code; empty if the error is not from the server.
func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}
