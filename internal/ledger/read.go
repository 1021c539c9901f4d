package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// pageSize is how many records one query of a stream returns.
const pageSize = 1000

// found is the answer to one lookup.
type found struct {
	grant jit.Grant
	ok    bool
	err   error
}

// Lookup returns the record of id; ok is false when there is none.
func (l *Ledger) Lookup(ctx context.Context, id jit.ID) (g jit.Grant, ok bool, err error) {
	f, err := l.lookups.Do(ctx, id)
	if err != nil {
		return jit.Grant{}, false, l.fail("read", err)
	}
	return f.grant, f.ok, f.err
}

// lookup answers a group of lookups with one query. Groups run one at a time.
func (l *Ledger) lookup(ctx context.Context, ids []jit.ID) []found {
	answers := make([]found, len(ids))
	grants, err := l.byID(ctx, ids)
	known := make(map[jit.ID]jit.Grant, len(grants))
	for _, g := range grants {
		known[g.ID] = g
	}
	for i, id := range ids {
		g, ok := known[id]
		answers[i] = found{g, ok, err}
	}
	return answers
}

// byID returns the recorded grants among ids, in no order. A plan of many grants asks for few at a time and often, so the
// statement stays prepared if the dialect permits that.
func (l *Ledger) byID(ctx context.Context, ids []jit.ID) ([]jit.Grant, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return nil, err
	}
	query := l.selectGrant() + " WHERE id" + l.among("$1")
	if !l.prepares {
		all, err := queryGrants(ctx, db, query, []any{l.list(texts(ids))})
		return all, l.fail("read", err)
	}
	if l.kept.db != db || l.kept.query != query {
		stmt, err := db.PrepareContext(ctx, query)
		if err != nil {
			return nil, l.fail("read", err)
		}
		if l.kept.stmt != nil {
			_ = l.kept.stmt.Close() // its answers have been read
		}
		l.kept = kept{db, query, stmt}
	}
	rows, err := l.kept.stmt.QueryContext(ctx, l.list(texts(ids)))
	if err != nil {
		return nil, l.fail("read", err)
	}
	all, err := collect(rows, readGrant)
	return all, l.fail("read", err)
}

func texts(ids []jit.ID) []string {
	all := make([]string, len(ids))
	for i, id := range ids {
		all[i] = string(id)
	}
	return all
}

// kept is a statement prepared on db.
type kept struct {
	db    *sql.DB
	query string
	stmt  *sql.Stmt
}

// Grants returns the records that the filter selects, ordered by end and id, due ones in the order of AcquireDue. It reads
// pages: a grant whose end changes meanwhile may show at either place.
func (l *Ledger) Grants(ctx context.Context, f jit.Filter) iter.Seq2[jit.Grant, error] {
	return func(yield func(jit.Grant, error) bool) {
		next := l.pages(ctx, f)
		if !f.DueBy.IsZero() {
			next = l.duePages(ctx, f)
		}
		for {
			page, more, err := next()
			if err != nil {
				yield(jit.Grant{}, err)
				return
			}
			for _, g := range page {
				if !yield(g, nil) {
					return
				}
			}
			if !more {
				return
			}
		}
	}
}

// pages returns a function that reads the next page of a filter's grants. Grants selected by id come in one page.
func (l *Ledger) pages(ctx context.Context, f jit.Filter) func() (page []jit.Grant, more bool, err error) {
	var last *jit.Grant
	return func() ([]jit.Grant, bool, error) {
		db, err := l.read(ctx)
		if err != nil || db == nil {
			return nil, false, err
		}
		where, args := l.where(f, last)
		if len(f.IDs) > 0 || f.IDPrefix != "" {
			all, err := queryGrants(ctx, db, l.selectGrant()+where, args)
			slices.SortFunc(all, byEnd)
			return all, false, l.fail("read", err)
		}
		args = append(args, int64(pageSize))
		page, err := queryGrants(ctx, db, l.selectGrant()+where+" ORDER BY expires_at, id LIMIT "+l.mark(len(args)), args)
		if err != nil {
			return nil, false, l.fail("read", err)
		}
		if len(page) > 0 {
			last = &page[len(page)-1]
		}
		return page, len(page) == pageSize, nil
	}
}

// duePages is [Ledger.pages] for due grants: it follows the index of AcquireDue, owner by owner.
func (l *Ledger) duePages(ctx context.Context, f jit.Filter) func() (page []jit.Grant, more bool, err error) {
	var owners []string
	var last *jit.Grant
	begun := false
	return func() ([]jit.Grant, bool, error) {
		db, err := l.read(ctx)
		if err != nil || db == nil {
			return nil, false, err
		}
		if !begun {
			whose := jit.Owners(nil)
			if f.Owner != "" {
				whose = jit.Owners{f.Owner}
			}
			if owners, err = l.dueOwners(ctx, db, whose, f.DueBy); err != nil {
				return nil, false, l.fail("read", err)
			}
			begun = true
		}
		if len(owners) == 0 {
			return nil, false, nil
		}
		of := f
		of.Owner = owners[0]
		where, args := l.where(of, nil)
		from := first()
		if last != nil {
			from = after(last)
		}
		args = append(append(args, from...), int64(pageSize))
		where += " AND (due_at, target, scope, id) > (" + l.marks(len(args)-4, len(args)-1) + ")"
		page, err := queryGrants(ctx, db, l.selectGrant()+where+dueOrder+l.mark(len(args)), args)
		if err != nil {
			return nil, false, l.fail("read", err)
		}
		if len(page) == pageSize {
			last = &page[len(page)-1]
		} else {
			owners, last = owners[1:], nil
		}
		return page, len(owners) > 0, nil
	}
}

func byEnd(a, b jit.Grant) int {
	return cmp.Or(a.End.Compare(b.End), cmp.Compare(a.ID, b.ID))
}

// wholeID fills up the beginning of an id with a digit.
func wholeID(prefix, digit string) string {
	const shape = "00000000-0000-0000-0000-000000000000"
	return prefix + strings.ReplaceAll(shape[min(len(prefix), len(shape)):], "0", digit)
}

// notFailed selects the grants that are not [jit.Grant.Failed].
const notFailed = "(failed_at IS NULL OR granted_at IS NOT NULL OR revoked_at IS NOT NULL)"

// where turns a filter into SQL; last is the last record of the previous page, nil for the first page.
func (l *Ledger) where(f jit.Filter, last *jit.Grant) (clause string, args []any) {
	var conditions []string
	equal := func(column, value string) {
		if value != "" {
			args = append(args, value)
			conditions = append(conditions, column+" = "+l.mark(len(args)))
		}
	}
	equal("owner", f.Owner)
	equal("target", f.Target)
	equal("scope", f.Scope)
	equal("principal", f.Principal)
	if !f.LiveAt.IsZero() {
		conditions = append(conditions, "revoked_at IS NULL", notFailed)
	}
	from := f.EndFrom
	if !f.LiveAt.IsZero() && f.LiveAt.Add(time.Microsecond).After(from) {
		from = f.LiveAt.Add(time.Microsecond) // an end at that time is over
	}
	switch { // only one lower bound, or the index may be entered at the wrong one
	case last != nil:
		args = append(args, last.End.UnixMicro(), string(last.ID))
		conditions = append(conditions, "(expires_at, id) > ("+l.marks(len(args)-1, len(args))+")")
	case !from.IsZero():
		args = append(args, from.UnixMicro())
		conditions = append(conditions, "expires_at >= "+l.mark(len(args)))
	}
	if !f.DueBy.IsZero() {
		args = append(args, f.DueBy.UnixMicro())
		conditions = append(conditions, "due_at <= "+l.mark(len(args)))
	}
	if f.Open {
		conditions = append(conditions, "due_at IS NOT NULL")
	}
	if len(f.IDs) > 0 {
		args = append(args, l.list(texts(f.IDs)))
		conditions = append(conditions, "id"+l.among(l.mark(len(args))))
	}
	if f.IDPrefix != "" { // a range of whole ids has the same order in every collation
		args = append(args, wholeID(f.IDPrefix, "0"), wholeID(f.IDPrefix, "f"), f.IDPrefix)
		n := len(args)
		conditions = append(conditions, fmt.Sprintf("id BETWEEN %s AND %s AND substr(id, 1, %d) = %s",
			l.mark(n-2), l.mark(n-1), len(f.IDPrefix), l.mark(n)))
	}
	if len(conditions) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(conditions, " AND "), args
}

// selectGrant begins a query for grants with the columns of the schema that [Ledger.read] has checked.
func (l *Ledger) selectGrant() string {
	return "SELECT " + columnsOf(l.known.Load().schema) + " FROM jit_grants"
}

func queryGrants(ctx context.Context, q queryer, query string, args []any) ([]jit.Grant, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return collect(rows, readGrant)
}

// collect reads all rows and closes them.
func collect[T any](rows *sql.Rows, scan func(*sql.Rows) (T, error)) ([]T, error) {
	var all []T
	err := each(rows, scan, func(one T) bool {
		all = append(all, one)
		return true
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
