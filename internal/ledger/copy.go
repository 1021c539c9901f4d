package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Copied is what [Ledger.CopyTo] has written.
type Copied struct {
	ID     string `json:"id"`
	From   string `json:"from"`
	To     string `json:"to"`
	Grants int64  `json:"grants"`
	Events int64  `json:"events"`
	// Root binds the chains; see [jit.Root].
	Root string `json:"root"`
	// Mismatches counts the rows, in both ledgers, that differ from their events.
	Mismatches int64 `json:"mismatches"`
	// LeftOut counts the due work without a grant of its owner: somebody has removed the grant from the original.
	LeftOut int64 `json:"left_out,omitempty"`
}

// CopyTo copies the record into an empty ledger: grants, policies, persons, claims, every event with its chain, and the
// positions of notices. The copy has the same id and the same heads. Dedup keys, other leases, those of due work and
// passes of sweepers are no part of the record and stay behind, as does due work without a grant. wrote is called with
// the number of rows written so far.
//
// A file or a database has all of it or nothing afterwards. A bucket with half a copy is refused by whoever reads it.
func (l *Ledger) CopyTo(ctx context.Context, to *Ledger, wrote func(rows int64)) (c Copied, err error) {
	c.From, c.To = l.db.name(), to.db.name()
	if err := to.checkEmpty(ctx); err != nil {
		return c, err
	}
	switch id, err := l.ID(ctx); {
	case err != nil:
		return c, err
	case id == "":
		return c, jit.Errorf(jit.ErrUnknown, "ledger", "correct the URL", "there is no ledger in %s", c.From)
	}
	err = l.inSnapshot(ctx, func(tx *sql.Tx) error {
		s, err := l.state(ctx, tx)
		if err != nil {
			return err
		}
		if s.schema > len(l.migrations) {
			return l.newer(s.schema, ", so it can read this one but not copy it")
		}
		if s.schema < len(l.migrations) {
			return jit.Errorf(nil, "ledger", "run `jit ledger migrate` on it first",
				"%s has tables of schema version %d, and this program copies version %d",
				c.From, s.schema, len(l.migrations))
		}
		from := &source{state: s, tx: tx, fail: l.fail, wrote: wrote}
		if b, ok := to.db.(*inBucket); ok {
			err = b.fill(ctx, from, c.From)
		} else {
			err = to.fill(ctx, from)
		}
		c.ID, c.Grants, c.Events, c.Root = s.id, from.grants, from.events, jit.Root(s.id, s.list())
		if err != nil {
			return to.fail("write", err)
		}
		return l.fail("read", tx.QueryRowContext(ctx, "SELECT count(*) FROM jit_due WHERE NOT "+ofGrant).Scan(&c.LeftOut))
	})
	if err != nil {
		return c, err
	}
	return to.checkCopy(ctx, c)
}

// checkEmpty refuses a ledger that has a record. One that was created and never written to is empty, except in a
// bucket.
func (l *Ledger) checkEmpty(ctx context.Context) error {
	_, inBucket := l.db.(committer)
	i, err := l.Info(ctx)
	if inBucket && errors.Is(err, jit.ErrAltered) {
		return &jit.Error{Attribute: "ledger", Err: err, Problem: fmt.Sprintf("%s has objects that are no whole ledger: "+
			"a copy that was interrupted, or a ledger that is damaged", l.db.name()),
			Hint: "copy to another prefix; if only a copy was interrupted, the objects below this one can be removed"}
	}
	if err != nil || i.ID == "" {
		return err
	}
	var found int64
	grants, err := l.row(ctx, "SELECT 1 FROM jit_grants LIMIT 1", nil, &found)
	if err != nil {
		return err
	}
	if inBucket || grants || i.Events > 0 {
		return occupied(l.db.name(), i.ID)
	}
	return nil
}

func occupied(name, id string) error {
	return jit.Errorf(jit.ErrInvalid, "ledger", "name one that does not exist yet: a copy adds nothing to a record",
		"%s is not empty: it has the ledger %s", name, id)
}

// checkCopy verifies a copy.
func (l *Ledger) checkCopy(ctx context.Context, c Copied) (Copied, error) {
	r, err := l.Verify(ctx)
	c.Mismatches = r.MismatchCount
	switch {
	case err != nil:
		return c, err
	case len(r.Damage) > 0:
		return c, jit.Errorf(jit.ErrAltered, "ledger", "restore "+c.From+" first, if `jit audit verify` finds the same",
			"the copy in %s is damaged: %s", c.To, r.Damage[0])
	case r.Root != c.Root:
		return c, jit.Errorf(jit.ErrAltered, "ledger", "stop everybody who writes to either, remove the copy and try again",
			"the copy in %s has the root %s, and %s had %s", c.To, r.Root, c.From, c.Root)
	}
	return c, nil
}

// source is a ledger that is copied, as one transaction sees it.
type source struct {
	*state
	tx             *sql.Tx
	fail           func(doing string, err error) error
	wrote          func(rows int64)
	rows           int64
	grants, events int64
}

// read passes the rows of a query to write, up to pageSize at a time.
func (s *source) read(
	ctx context.Context, query string, args []any, write func(columns []string, rows [][]any) error,
) error {
	rows, err := s.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return s.fail("read", err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return s.fail("read", err)
	}
	var page [][]any
	flush := func() error {
		if len(page) == 0 {
			return nil
		}
		err := write(columns, page)
		s.rows += int64(len(page))
		s.wrote(s.rows)
		page = nil
		return err
	}
	for rows.Next() {
		row, err := scanRow(rows, len(columns))
		if err != nil {
			return s.fail("read", err)
		}
		if page = append(page, row); len(page) == pageSize {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := rows.Err(); err != nil {
		return s.fail("read", err)
	}
	return flush()
}

// scanRow reads all columns of a row.
func scanRow(rows *sql.Rows, columns int) ([]any, error) {
	row, pointers := make([]any, columns), make([]any, columns)
	for i := range row {
		pointers[i] = &row[i]
	}
	err := rows.Scan(pointers...)
	for i, value := range row {
		if text, ok := value.([]byte); ok {
			row[i] = string(text)
		}
	}
	return row, err
}

// count counts the rows of a table that were copied.
func (s *source) count(table string, rows int) {
	switch table {
	case "jit_grants":
		s.grants += int64(rows)
	case logTable, oldTable:
		s.events += int64(rows)
	}
}

// copied are the tables of the record, in the order in which they are copied.
var copied = []string{"jit_ledger", chainTable, "jit_policies", "jit_persons", "jit_runs", "jit_mark_scopes",
	"jit_marks", oldTable, logTable, "jit_grants", "jit_due", "jit_leases"}

// positions selects the leases with the positions of notices.
const positions = " WHERE position > 0 AND holder <> ''"

// ofGrant selects the due work of grants. Readers of a bucket refuse any other, and verifying finds what is missing.
const ofGrant = "EXISTS (SELECT 1 FROM jit_grants g WHERE g.id = jit_due.id AND g.owner = jit_due.owner)"

// selectCopied begins the query for the rows of a table that is copied.
func selectCopied(table string) string {
	columns := "*"
	if table == "jit_due" { // without leases
		columns = strings.Join(dueColumns, ", ")
	}
	return "SELECT " + columns + " FROM " + table
}

// fill writes a copy into a database, in one transaction.
func (l *Ledger) fill(ctx context.Context, s *source) error {
	db, err := l.db.writer(ctx)
	if err != nil {
		return err
	}
	if err := l.migrate(ctx, db, func(int) {}); err != nil {
		return err
	}
	return inTx(ctx, db, &l.write, func(tx *sql.Tx) error {
		now, err := l.lockAll(ctx, tx)
		if err != nil {
			return err
		}
		if len(now.list()) > 0 {
			return occupied(l.db.name(), now.id)
		}
		for _, table := range []string{chainTable, "jit_ledger"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+table); err != nil {
				return err
			}
		}
		for _, table := range copied {
			where := ""
			switch table {
			case "jit_leases":
				where = positions
			case "jit_due":
				where = " WHERE " + ofGrant
			}
			err := s.read(ctx, selectCopied(table)+where, nil, func(columns []string, rows [][]any) error {
				s.count(table, len(rows))
				return l.insert(ctx, tx, table, columns, rows, "")
			})
			if err != nil {
				return fmt.Errorf("copy %s: %w", table, err)
			}
		}
		return nil
	})
}

// owners returns the owners that have a chain.
func (s *source) owners() []string {
	var names []string
	for chain := range s.tips {
		if chain != jit.AllChain {
			names = append(names, chain)
		}
	}
	slices.Sort(names)
	return names
}
