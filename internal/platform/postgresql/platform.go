// Package postgresql gives temporary membership of roles on a PostgreSQL server.
//
// Every grant has a wrapper role of its own, jit:<id>:<owner>, without login. The wrapper is a member of the role that
// was asked for, the principal is a member of the wrapper, and the wrapper's comment is the marker. Other memberships
// of the principal are never touched.
//
// On 16 and later the memberships are WITH INHERIT TRUE, SET FALSE. Before 16 a principal that is NOINHERIT must SET
// ROLE to use the grant, and a session that did SET ROLE keeps its privileges when the grant ends.
//
// The admin role of the target needs CREATEROLE, ADMIN OPTION on each role that it grants, and pg_signal_backend to end
// sessions. Several admin roles can share a server, but since 16 only the one that created a wrapper, or a superuser,
// can remove it.
//
// The owner of the database, or anybody who may create a schema in it, must not be able to run code with the rights of
// the admin role. So each transaction begins with [pgsession.Pin], and statements qualify functions, operators, types
// and relations.
package postgresql

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/singleflight"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/pgsession"
)

const (
	// kind is the platform's name.
	kind = "postgresql"
	// cluster is the one scope: roles belong to the whole server.
	cluster = "cluster"
	// connectTimeout caps a connection attempt if the URL does not.
	connectTimeout = 15 * time.Second
	// maxConns is enough for one writer and some readers; the URL's pool_max_conns replaces it.
	maxConns = 4
)

// Config says which server, and as whom.
type Config struct {
	// URL is a connection URL or keyword string, as libpq reads it. What it leaves out comes from the PG* environment,
	// the password file and the service file. It is a secret: it may hold a password.
	URL string `tfsdk:"url" json:"url"`
}

// Platform is one PostgreSQL server. It is safe for concurrent use.
type Platform struct {
	// OnCall, if set before use, is called before each round trip that reads ("read") or changes ("write") the server,
	// also by several goroutines at a time.
	OnCall func(op string)

	pool *pgxpool.Pool
	// pin holds the first statements of every transaction.
	pin []string
	now func() time.Time

	mu sync.Mutex
	// inclusions are the roles that roles include, by role.
	inclusions map[string]recalled
	// asking shares one call among callers that ask for the same role at a time.
	asking singleflight.Group
}

var _ jit.Platform = (*Platform)(nil)

// New checks the form of the configuration; the first call connects.
func New(cfg Config, s jit.Services) (*Platform, error) {
	// The parser's errors repeat the URL, and a malformed one hides its password too badly to be shown.
	unreadable := jit.Invalid("url", `write for example url = "postgres://admin@db.example.com:5432/postgres?sslmode=verify-full"`,
		"it cannot be read as a PostgreSQL connection URL, or a certificate or service file that it names cannot be")
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, unreadable
	}
	if strings.Contains(cfg.URL, "://") && jit.Misplaced(cfg.URL) || strings.Contains(pc.ConnConfig.Host, "@") {
		return nil, jit.Invalid("url",
			"percent-encode every special character in the user and the password (@ is %40, / is %2F)",
			"the URL has an @ that does not end its user")
	}
	if pc.ConnConfig.ConnectTimeout == 0 {
		pc.ConnConfig.ConnectTimeout = connectTimeout
	}
	if !strings.Contains(cfg.URL, "pool_max_conns") {
		pc.MaxConns = maxConns
	}
	// Without prepared statements every call is one round trip from the first on, through a pooler too.
	pc.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	if pc.ConnConfig.RuntimeParams["application_name"] == "" {
		pc.ConnConfig.RuntimeParams["application_name"] = "terraform-provider-jit"
	}
	pin := pgsession.Pin(pgsession.Catalog, pgsession.Parameter(pc.ConnConfig.RuntimeParams, "role"))
	pgsession.Guard(&pc.ConnConfig.Config, pin)
	pool, err := pgxpool.NewWithConfig(context.Background(), pc)
	if err != nil {
		return nil, unreadable
	}
	return &Platform{pool: pool, pin: pin, now: s.Now}, nil
}

// Close ends the connections and waits for calls under way.
func (p *Platform) Close() { p.pool.Close() }

// Kind returns "postgresql".
func (p *Platform) Kind() string { return kind }

// Scopes returns the one scope, "cluster", without a call.
func (p *Platform) Scopes(context.Context) ([]string, error) { return []string{cluster}, nil }

// call tells the hook of a round trip.
func (p *Platform) call(op string) {
	if p.OnCall != nil {
		p.OnCall(op)
	}
}

// acquire takes a connection from the pool and returns the server's major version with it.
func (p *Platform) acquire(ctx context.Context) (*pgxpool.Conn, int, error) {
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return nil, 0, p.explainConnect(err)
	}
	major, err := majorVersion(conn.Conn().PgConn().ParameterStatus("server_version"))
	if err != nil {
		conn.Release()
		return nil, 0, err
	}
	return conn, major, nil
}

// begin queues the first statements of a transaction.
func (p *Platform) begin(batch *pgx.Batch, mode string) {
	batch.Queue("BEGIN ISOLATION LEVEL " + mode)
	for _, sql := range p.pin {
		batch.Queue(sql)
	}
}

// query returns the rows of one statement that only reads, and the server's major version, in one round trip. doing
// describes it in errors.
func query[T any](ctx context.Context, p *Platform, doing, sql string, args ...any) (found []T, major int, err error) {
	conn, major, err := p.acquire(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer conn.Release()
	batch := &pgx.Batch{}
	p.begin(batch, "READ COMMITTED READ ONLY")
	batch.Queue(sql, args...).Query(collect(&found))
	batch.Queue("COMMIT")
	p.call("read")
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return nil, 0, p.explain(ctx, doing, err)
	}
	return found, major, nil
}

// collect returns a function that stores rows in found.
func collect[T any](found *[]T) func(pgx.Rows) error {
	return func(rows pgx.Rows) (err error) {
		*found, err = pgx.CollectRows(rows, pgx.RowToStructByPos[T])
		return err
	}
}

// majorVersion reads server_version: "15.18 (Debian 15.18-0+deb12u1)", "17beta1".
func majorVersion(s string) (int, error) {
	digits := 0
	for digits < len(s) && s[digits] >= '0' && s[digits] <= '9' {
		digits++
	}
	major, err := strconv.Atoi(s[:digits])
	if err != nil {
		return 0, fmt.Errorf("read server_version %q: %w", s, errors.New("no number"))
	}
	return major, nil
}
