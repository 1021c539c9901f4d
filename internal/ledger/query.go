package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"iter"
	"maps"
	"slices"
)

// pageSize is how many records one query of a stream returns.
const pageSize = 1000

// queryer is a pool, a transaction or a prepared statement.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// each runs a query and passes its rows to visit, until visit returns false.
func each[T any](ctx context.Context, q queryer, scan func(*sql.Rows) (T, error), visit func(T) bool,
	query string, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return err
		}
		if !visit(one) {
			break
		}
	}
	return rows.Err()
}

// collect runs a query and returns its rows.
func collect[T any](ctx context.Context, q queryer, scan func(*sql.Rows) (T, error), query string,
	args ...any) ([]T, error) {
	var all []T
	err := each(ctx, q, scan, func(one T) bool {
		all = append(all, one)
		return true
	}, query, args...)
	if err != nil {
		return nil, err
	}
	return all, nil
}

// scanOne reads a row of one column.
func scanOne[T any](rows *sql.Rows) (value T, err error) { return value, rows.Scan(&value) }

// list runs a query on a ledger and returns its rows. A ledger that does not exist has none.
func list[T any](ctx context.Context, l *Ledger, scan func(*sql.Rows) (T, error), query string,
	args ...any) ([]T, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return nil, err
	}
	all, err := collect(ctx, db, scan, query, args...)
	return all, l.fail("read", err)
}

// row reads the one row of a query. ok is false if there is no row or no ledger.
func (l *Ledger) row(ctx context.Context, query string, args []any, into ...any) (ok bool, err error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return false, err
	}
	err = db.QueryRowContext(ctx, query, args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, l.fail("read", err)
}

// inSnapshot runs do in a transaction that sees one state of the ledger. If there is no ledger, do is not called.
func (l *Ledger) inSnapshot(ctx context.Context, do func(*sql.Tx) error) error {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return err
	}
	return l.fail("read", inTx(ctx, db, &l.snapshot, do))
}

// stream yields the records of pages. read returns the page that follows the last record of the previous page, which is
// nil for the first page. A page shorter than pageSize is the last one.
func stream[T any](read func(last *T) ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var last *T
		for {
			page, err := read(last)
			if err != nil {
				yield(*new(T), err)
				return
			}
			for _, one := range page {
				if !yield(one, nil) {
					return
				}
			}
			if len(page) < pageSize {
				return
			}
			last = &page[len(page)-1]
		}
	}
}

// sorted yields a map in the order of its keys.
func sorted[K cmp.Ordered, V any](m map[K]V) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
