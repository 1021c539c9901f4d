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

// engine is what differs between the databases in finding and opening the ledger
// and in reading their errors. It is safe for concurrent use.
type engine interface {
	// name names the ledger in messages, without a password.
	name() string
	// reader returns connections that only read; nil when there is no ledger.
	reader(ctx context.Context) (*sql.DB, error)
	// writer returns connections that may write, and makes what can hold a ledger.
	writer(ctx context.Context) (*sql.DB, error)
	// absent: the tables of the ledger have not been made.
	absent(err error) bool
	// conflict: nothing was done because somebody else was at work; do it again.
	conflict(err error) bool
	// exists: somebody else has just made what was to be made.
	exists(err error) bool
	// explain says what is wrong and what to do about it.
	explain(err error) (problem, hint string)
	close() error
}

// dialect is what differs between the databases in SQL.
type dialect struct {
	// mark writes the n-th parameter of a statement that has very many.
	mark func(n int) string
	// among writes that a column is among the values of one parameter, which list makes: the text is the same for any number of them.
	among func(mark string) string
	list  func(values []string) any
	// prepares: a statement may be kept for its next use; behind a pooler that would go wrong.
	prepares              bool
	forUpdate, skipLocked string
	write, snapshot       sql.TxOptions
	// clock asks for the time of the server, in seconds since 1970; it is empty where there is no server.
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

// patience bounds how long conflicts with other writers are borne with, whatever the context allows.
const patience = time.Minute

// transact runs do in a transaction that holds the head of the ledger, which is made or
// migrated first where need be, and commits. It begins anew, after a random pause, for as long
// as other writers are in the way; do must not keep anything from a run before.
func (l *Ledger) transact(ctx context.Context, do func(context.Context, *sql.Tx, head) error) error {
	return l.persist(ctx, func(ctx context.Context) error {
		db, err := l.db.writer(ctx)
		if err != nil {
			return err
		}
		err = l.inTx(ctx, db, do)
		if errors.Is(err, errOutdated) {
			if err := l.migrate(ctx, db); err != nil {
				return err
			}
			err = l.inTx(ctx, db, do)
		}
		return err
	})
}

func (l *Ledger) inTx(ctx context.Context, db *sql.DB, do func(context.Context, *sql.Tx, head) error) error {
	tx, err := db.BeginTx(ctx, &l.write)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	h, err := l.head(ctx, tx, l.forUpdate)
	if err != nil {
		return err
	}
	if h.schema < len(l.migrations) {
		return errOutdated
	}
	if err := do(ctx, tx, h); err != nil {
		return err
	}
	return tx.Commit()
}

// errAgain: somebody else did the same at the same time; look again.
var errAgain = errors.New("another process is making the ledger")

// persist runs try until it does something else than to conflict with another writer.
func (l *Ledger) persist(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
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

// fail turns an error of the database into one for a person; doing is "read", "write".
func (l *Ledger) fail(doing string, err error) error {
	var told *jit.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &told):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s the ledger %s: %w", doing, l.db.name(), err)
	}
	problem, hint := l.db.explain(err)
	return &jit.Error{
		Attribute: "ledger",
		Problem:   fmt.Sprintf("cannot %s %s: %s", doing, l.db.name(), problem),
		Hint:      hint,
		Err:       err,
	}
}
