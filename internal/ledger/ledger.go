// Package ledger stores the durable record of grants, policies and events in a SQL database, a SQLite file or a
// PostgreSQL database, with one implementation.
//
// Reading never writes: a missing file or missing tables read as an empty ledger, and the first write creates them.
//
// The events of each owner are a chain of their own, and what belongs to all owners is in the chain [jit.AllChain]. The
// locks of a write, in the order in which it takes them:
//   - the row of jit_ledger: migrations, a new chain and [Ledger.Accept], which also lock all chains
//   - the rows of jit_chains, by name: whoever writes events of these chains, or grants of these owners. [jit.AllChain]
//     also guards policies, persons, jit_runs, the events about restores, and the rule that a requester has one
//     unsigned grant, of whatever owner
//   - the rows of jit_leases, by time and name: dedup keys, and the leases with the positions of notices
//   - the row of jit_mark_scopes: the claims of a scope, whose version decides
//   - the rows of jit_sweeps, by name
//
// SQLite has one writer at a time and needs none of them.
package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Config says which ledger to open.
type Config struct {
	// URL is what [CheckURL] accepts.
	URL string
	// Now is the clock for events without a time; nil means time.Now.
	Now func() time.Time
	// Actor is who reports that the ledger has gone back in time, and Run the run of Terraform of this process, if any.
	Actor jit.Actor
	Run   string
	// Copy is the folder for the copy of a ledger in a bucket, which is then made from every object of the logs; empty for
	// the user's cache directory. Other ledgers have no copy.
	Copy string
}

// Ledger is a [jit.Ledger] in a SQL database.
type Ledger struct {
	db engine
	dialect
	migrations [][]string // those of migrate.go
	now        func() time.Time
	actor      jit.Actor
	run        string
	known      atomic.Pointer[schemaCheck]
	lookups    *batch.Queue[jit.ID, found]
	prepared   prepared // used by the lookups, which run one at a time
	writes     *batch.Queue[[]jit.Entry, []error]
	memory     memory
	recalls    *batch.Queue[[]jit.Head, error]
}

var _ jit.Ledger = (*Ledger)(nil)

// Open returns the ledger at the URL. It makes no call: the first use reports an unreachable ledger.
func Open(_ context.Context, c Config) (*Ledger, error) {
	path, server, err := splitURL(c.URL)
	if err != nil {
		return nil, err
	}
	l := &Ledger{now: c.Now, actor: c.Actor, run: c.Run, migrations: migrations, dialect: sqliteDialect}
	switch {
	case server != nil:
		l.dialect = postgresDialect
		l.db, err = openPostgres(c.URL, server)
	case path == "":
		l.db, err = openBucket(c.URL, c.Copy, migrations)
	default:
		l.db, err = openSQLite(path)
	}
	if err != nil {
		return nil, err
	}
	if l.now == nil {
		l.now = time.Now
	}
	l.lookups = batch.NewQueue(l.lookup)
	l.writes = batch.NewGathering(l.record, func(entries []jit.Entry) int { return len(entries) })
	l.recalls = batch.NewQueue(l.recall)
	l.memory.last, l.memory.found = map[string]jit.Head{}, map[jit.Head]bool{}
	return l, nil
}

// Close releases the connections.
func (l *Ledger) Close() error {
	if err := l.db.close(); err != nil {
		return l.fail("close", err)
	}
	return nil
}

// ID returns the id of the ledger, which precedes its first event; empty if there is no ledger.
func (l *Ledger) ID(ctx context.Context) (string, error) {
	ctx = tolerant(ctx)
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return "", err
	}
	h, err := l.head(ctx, db, "")
	return h.id, l.fail("read", err)
}

// Policies returns all policies in the order of their names.
func (l *Ledger) Policies(ctx context.Context) ([]jit.Policy, error) {
	ctx = tolerant(ctx)
	all, err := list(ctx, l, scanNamed[jit.Policy]("policy"), "SELECT name, body FROM jit_policies")
	// The server's order depends on its collation.
	slices.SortFunc(all, func(a, b jit.Policy) int { return strings.Compare(a.Name, b.Name) })
	return all, err
}

// personsSchema is the schema version that brought persons; an older ledger has none.
const personsSchema = 11

// Persons returns all persons in the order of their names.
func (l *Ledger) Persons(ctx context.Context) ([]jit.Person, error) {
	ctx = tolerant(ctx)
	db, err := l.read(ctx)
	if err != nil || db == nil || l.known.Load().schema < personsSchema {
		return nil, err
	}
	all, err := list(ctx, l, scanNamed[jit.Person]("person"), "SELECT name, body FROM jit_persons")
	slices.SortFunc(all, func(a, b jit.Person) int { return strings.Compare(a.Name, b.Name) })
	return all, err
}

// scanNamed reads a row of a policy or person.
func scanNamed[T any](kind string) func(*sql.Rows) (T, error) {
	return func(rows *sql.Rows) (of T, err error) {
		var name, body string
		if err := rows.Scan(&name, &body); err != nil {
			return of, err
		}
		return parseNamed[T](kind, name, body)
	}
}

func parseNamed[T any](kind, name, body string) (of T, err error) {
	if err := json.Unmarshal([]byte(body), &of); err != nil {
		return of, fmt.Errorf("%s %q: %w", kind, name, err)
	}
	return of, nil
}

// head is the one row of jit_ledger. seq and hash are of the last event from before there were several chains.
type head struct {
	id     string
	schema int
	seq    int64
	hash   string
	// refused is why this program cannot write to a newer ledger that it can read.
	refused error
}

// headReader is a pool or a transaction.
type headReader interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// read returns connections for reading; nil if there is no ledger. A check that this program knows the schema is valid
// for checkValid: migrations are additive, and every write checks again. An older schema is checked each time, because
// any write migrates it.
func (l *Ledger) read(ctx context.Context) (*sql.DB, error) {
	db, err := l.db.reader(ctx)
	if err = cmp.Or(err, l.whole(ctx)); err != nil || db == nil {
		return nil, l.fail("read", err)
	}
	if k := l.known.Load(); k != nil && k.db == db && k.schema >= len(l.migrations) && time.Since(k.at) < checkValid {
		return db, nil
	}
	h, err := l.head(ctx, db, "")
	if errors.Is(err, errOutdated) {
		return nil, nil
	}
	if err != nil {
		return nil, l.fail("read", err)
	}
	l.known.Store(&schemaCheck{db, h.schema, h.layout(), h.refused, time.Now()})
	return db, nil
}

// checkValid is how long a check of the schema is valid for further reads.
const checkValid = time.Second

// schemaCheck is the result of a check of the schema.
type schemaCheck struct {
	db     *sql.DB
	schema int
	layout layout
	// refused is as in [head].
	refused error
	at      time.Time
}

// errOutdated says that the ledger does not exist or that its schema is older than this program's.
var errOutdated = errors.New("the ledger must be migrated")

// head reads the head, and locks it if suffix says so. The error is errOutdated if there is no ledger, and
// jit.ErrNewerLedger if this program cannot read it.
func (l *Ledger) head(ctx context.Context, q headReader, suffix string) (head, error) {
	var h head
	err := q.QueryRowContext(ctx, "SELECT id, schema_version, head_seq, head_hash FROM jit_ledger"+suffix).
		Scan(&h.id, &h.schema, &h.seq, &h.hash)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return head{}, l.headless(ctx, q)
	case err != nil && l.db.absent(err):
		return head{}, errOutdated
	case err != nil:
		return head{}, err
	}
	return h, l.checkSchema(ctx, q, &h)
}

// headless returns errOutdated if another process is creating the ledger, and an error if its head row was removed.
func (l *Ledger) headless(ctx context.Context, q headReader) error {
	var events int64
	for _, some := range []string{
		"SELECT 1 FROM jit_events LIMIT 1", "SELECT 1 FROM jit_chains WHERE head_seq > 0 LIMIT 1",
	} {
		err := q.QueryRowContext(ctx, "SELECT count(*) FROM ("+some+") AS any_event").Scan(&events)
		if err != nil && !l.db.absent(err) {
			return err
		}
		if err != nil || events > 0 {
			break
		}
	}
	if events == 0 {
		return errOutdated
	}
	return &jit.Error{
		Attribute: "ledger",
		Problem:   l.db.name() + " has events but no head: somebody removed the row of jit_ledger",
		Hint:      "restore the ledger from a backup",
	}
}
