package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// engine opens the ledger in one kind of database and interprets its errors. It is safe for concurrent use.
type engine interface {
	// name names the ledger in messages, without a password.
	name() string
	// reader returns read-only connections; nil if there is no ledger.
	reader(ctx context.Context) (*sql.DB, error)
	// writer returns connections that may write. It creates the file if there is none.
	writer(ctx context.Context) (*sql.DB, error)
	// absent reports whether an error says that the ledger's tables do not exist.
	absent(err error) bool
	// conflict reports whether another writer is the reason that nothing was done: try again.
	conflict(err error) bool
	// exists reports whether an error says that another process has just created the same object.
	exists(err error) bool
	// explain returns the problem behind an error, and how to solve it.
	explain(err error) (problem, hint string)
	// exposed returns an error if everybody may change the ledger past jit; nothing is granted by it then.
	exposed() error
	close() error
}

// dialect holds the differences between the databases in SQL.
type dialect struct {
	// mark writes the n-th parameter of a statement with very many.
	mark func(n int) string
	// among writes the condition that a column has one of the values of one parameter, made by list. The text is the
	// same for any number of values.
	among func(mark string) string
	list  func(values []string) any
	// insert runs an INSERT for rows; its text begins with into and ends with onConflict.
	insert func(ctx context.Context, tx *sql.Tx, into string, rows [][]any, onConflict string) error
	// update sets the factColumns of grants and returns how many grants it found.
	update func(ctx context.Context, tx *sql.Tx, rows [][]any) (int64, error)
	// prepares: statements may be prepared for later use. Behind a pooler that would fail.
	prepares              bool
	forUpdate, skipLocked string
	write, snapshot       sql.TxOptions
	// tune are statements by the schema version that they follow. They make only this database faster, and servers that
	// speak its protocol may refuse them.
	tune map[int][]string
	// giveWay limits how long the statements of a migration wait for whoever reads: everybody else waits behind them.
	giveWay string
	// size reads the size of the ledger in bytes.
	size string
	// clock reads the server's time in seconds since 1970; empty if there is no server.
	clock string
}

func numbered(n int) string { return "$" + strconv.Itoa(n) }

// marks lists the parameters from first to last.
func (d dialect) marks(first, last int) string {
	var b strings.Builder
	for n := first; n <= last; n++ {
		if n > first {
			b.WriteByte(',')
		}
		b.WriteString(d.mark(n))
	}
	return b.String()
}

// maxParameters caps the parameters of one statement. SQLite takes 32,766, PostgreSQL 65,535.
const maxParameters = 8000

// patience is the longest time to retry after conflicts with other writers, whatever the context allows.
const patience = time.Minute

// bucketPatience is that of a bucket, where a writer may lose to many others in turn.
const bucketPatience = 5 * time.Minute

// transact runs do in a transaction that locks the chains, and commits. It first creates or migrates the ledger, or
// creates the chains, if necessary. After a conflict with another writer it pauses and starts again, so do must keep
// nothing from an earlier run.
func (l *Ledger) transact(ctx context.Context, chains []string, do func(context.Context, *sql.Tx, *state) error) error {
	return l.transactBy(ctx, func(ctx context.Context, tx *sql.Tx) (*state, error) { return l.lock(ctx, tx, chains) },
		chains, do)
}

// transactBy is transact with another way to lock.
func (l *Ledger) transactBy(ctx context.Context, lock func(context.Context, *sql.Tx) (*state, error),
	chains []string, do func(context.Context, *sql.Tx, *state) error) error {
	return l.persist(ctx, func(ctx context.Context) error {
		db, err := l.db.writer(ctx)
		if err != nil {
			return err
		}
		try := func() error {
			return l.inWrite(ctx, db, logOf(chains), func(tx *sql.Tx) error {
				s, err := lock(ctx, tx)
				if err != nil {
					return err
				}
				return do(ctx, tx, s)
			})
		}
		err = try()
		if errors.Is(err, errOutdated) {
			if err := l.migrateInWrite(ctx, db); err != nil {
				return err
			}
			err = try()
		}
		if errors.Is(err, errNoChain) {
			if err := l.createChains(ctx, db, chains); err != nil {
				return err
			}
			err = try()
		}
		return err
	})
}

// inWrite runs do in a transaction that writes, and commits unless do fails. log is the log in a bucket of those rows
// that belong to no other; a bucket may run do several times.
func (l *Ledger) inWrite(ctx context.Context, db *sql.DB, log string, do func(*sql.Tx) error) error {
	if c, ok := l.db.(committer); ok {
		return c.commit(ctx, log, do)
	}
	return inTx(ctx, db, &l.write, do)
}

// inTx runs do in a transaction, and commits unless do fails.
func inTx(ctx context.Context, db *sql.DB, o *sql.TxOptions, do func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// errAgain: another process did the same at the same time; try again.
var errAgain = errors.New("another process is creating the ledger")

// persist repeats try as long as it conflicts with other writers.
func (l *Ledger) persist(ctx context.Context, try func(context.Context) error) error {
	longest := patience
	if _, ok := l.db.(committer); ok {
		longest = bucketPatience
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	for n := 0; ; n++ {
		err := try(ctx)
		if err == nil || !errors.Is(err, errAgain) && !l.db.conflict(err) {
			return err
		}
		if backoff.Wait(ctx, n, 4*time.Millisecond, time.Second) != nil {
			return err
		}
	}
}

// fail turns a database error into one for the user; doing is "read" or "write".
func (l *Ledger) fail(doing string, err error) error {
	var explained *jit.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &explained):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s the ledger %s: %w", doing, l.db.name(), err)
	}
	problem, hint := l.db.explain(err)
	return &jit.Error{
		Attribute: "ledger",
		Problem:   fmt.Sprintf("cannot %s %s: %s", doing, l.db.name(), jit.Said(problem)),
		Hint:      hint,
		Err:       err,
	}
}
