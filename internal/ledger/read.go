package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// found is the answer to one lookup.
type found struct {
	grant jit.Grant
	ok    bool
	err   error
}

// Lookup returns the record of id; ok is false if there is none. The error is a [jit.PartialError] if it may be among
// those that cannot be read.
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
	grants, err := l.byID(tolerant(ctx), ids)
	known := make(map[jit.ID]jit.Grant, len(grants))
	for _, g := range grants {
		known[g.ID] = g
	}
	for i, id := range ids {
		g, ok := known[id]
		broken := l.wholeFor(g.Owner)
		if !ok { // it may be in a part that cannot be read
			broken = partial(l.broken())
		}
		if answers[i] = (found{g, ok, err}); err == nil && broken != nil {
			answers[i] = found{err: broken}
		}
	}
	return answers
}

// byID returns the recorded grants among ids, in no order. A plan of many grants asks often and for few at a time, so
// the statement stays prepared if the dialect permits that.
func (l *Ledger) byID(ctx context.Context, ids []jit.ID) ([]jit.Grant, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return nil, err
	}
	query, q := l.selectGrant()+" WHERE id"+l.among("$1"), queryer(db)
	if l.prepares {
		if err := l.prepared.prepare(ctx, db, query); err != nil {
			return nil, l.fail("read", err)
		}
		q = &l.prepared
	}
	all, err := collect(ctx, q, readGrant, query, l.list(texts(ids)))
	return all, l.fail("read", err)
}

func texts(ids []jit.ID) []string {
	all := make([]string, len(ids))
	for i, id := range ids {
		all[i] = string(id)
	}
	return all
}

// prepared is the last statement that was prepared, on db. It is for one goroutine.
type prepared struct {
	db    *sql.DB
	query string
	stmt  *sql.Stmt
}

func (p *prepared) prepare(ctx context.Context, db *sql.DB, query string) error {
	if p.db == db && p.query == query {
		return nil
	}
	stmt, err := db.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	if p.stmt != nil {
		_ = p.stmt.Close() // its answers have been read
	}
	*p = prepared{db, query, stmt}
	return nil
}

// QueryContext runs the prepared statement, which must be that of query.
func (p *prepared) QueryContext(ctx context.Context, _ string, args ...any) (*sql.Rows, error) {
	return p.stmt.QueryContext(ctx, args...)
}

// Grants returns the records that the filter selects, ordered by end and id, due ones in the order of AcquireDue. It
// reads pages: a grant whose end changes meanwhile may appear twice or not at all.
//
// Of owners whose records cannot be read it yields none, and a [jit.PartialError] at the end.
func (l *Ledger) Grants(ctx context.Context, f jit.Filter) iter.Seq2[jit.Grant, error] {
	return func(yield func(jit.Grant, error) bool) {
		found := 0
		for g, err := range l.allGrants(tolerant(ctx), f) {
			if err == nil && l.wholeFor(g.Owner) != nil {
				continue
			}
			if found++; !yield(g, err) || err != nil {
				return
			}
		}
		broken := l.broken()
		if found > 0 && (found == len(f.IDs) || f.IDPrefix == wholeID(f.IDPrefix, "0")) {
			broken = nil // none is missing
		}
		if f.Owner != "" {
			maps.DeleteFunc(broken, func(owner string, _ error) bool { return owner != f.Owner })
		}
		if err := partial(broken); err != nil {
			yield(jit.Grant{}, err)
		}
	}
}

// allGrants is Grants with those of owners whose records end before their log does.
func (l *Ledger) allGrants(ctx context.Context, f jit.Filter) iter.Seq2[jit.Grant, error] {
	switch {
	case !f.DueBy.IsZero():
		return l.dueGrants(ctx, f)
	case len(f.IDs) > 0 || f.IDPrefix != "":
		return l.grantsByID(ctx, f)
	}
	return stream(func(last *jit.Grant) ([]jit.Grant, error) {
		if db, err := l.read(ctx); err != nil || db == nil { // the filter depends on the schema
			return nil, err
		}
		where, args := l.where(f, last)
		args = append(args, int64(pageSize))
		return l.grants(ctx, l.selectFor(f)+where+" ORDER BY expires_at, id LIMIT "+l.mark(len(args)), args)
	})
}

// grants reads the grants that a query selects.
func (l *Ledger) grants(ctx context.Context, query string, args []any) ([]jit.Grant, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return nil, err
	}
	all, err := collect(ctx, db, readGrant, query, args...)
	return all, l.fail("read", err)
}

// grantsByID reads the grants of a filter with ids in one query.
func (l *Ledger) grantsByID(ctx context.Context, f jit.Filter) iter.Seq2[jit.Grant, error] {
	return func(yield func(jit.Grant, error) bool) {
		if db, err := l.read(ctx); err != nil || db == nil { // the query depends on the schema
			if err != nil {
				yield(jit.Grant{}, err)
			}
			return
		}
		where, args := l.where(f, nil)
		all, err := l.grants(ctx, l.selectFor(f)+where, args)
		if err != nil {
			yield(jit.Grant{}, err)
			return
		}
		slices.SortFunc(all, func(a, b jit.Grant) int { return cmp.Or(a.End.Compare(b.End), cmp.Compare(a.ID, b.ID)) })
		for _, g := range all {
			if !yield(g, nil) {
				return
			}
		}
	}
}

// dueGrants reads due grants owner by owner, by the index of AcquireDue.
func (l *Ledger) dueGrants(ctx context.Context, f jit.Filter) iter.Seq2[jit.Grant, error] {
	return func(yield func(jit.Grant, error) bool) {
		owners, err := l.ownersDue(ctx, f)
		if err != nil {
			yield(jit.Grant{}, err)
			return
		}
		for _, owner := range owners {
			of := f
			of.Owner = owner
			for d, err := range stream(func(last *dueGrant) ([]dueGrant, error) { return l.duePage(ctx, of, last) }) {
				if !yield(d.Grant, err) || err != nil {
					return
				}
			}
		}
	}
}

// ownersDue lists the owners with due grants, among them f.Owner alone if it is set.
func (l *Ledger) ownersDue(ctx context.Context, f jit.Filter) ([]string, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return nil, err
	}
	var owners jit.Owners
	if f.Owner != "" {
		owners = jit.Owners{f.Owner}
	}
	due, err := l.dueOwners(ctx, db, owners, f.DueBy)
	return due, l.fail("read", err)
}

// dueGrant is a grant with the time at which its due work is recorded. Somebody who wrote to the ledger may have made it
// another than that of the grant.
type dueGrant struct {
	jit.Grant
	at int64
}

// duePage reads the due grants of f.Owner that follow last.
func (l *Ledger) duePage(ctx context.Context, f jit.Filter, last *dueGrant) ([]dueGrant, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return nil, err
	}
	from := first()
	if last != nil {
		from = []any{last.at, last.Target, last.Scope, string(last.ID)}
	}
	where, args := l.where(f, nil)
	args = append(append(args, from...), int64(pageSize))
	n := len(args)
	all, err := collect(ctx, db, func(rows *sql.Rows) (d dueGrant, err error) {
		d.Grant, err = scanGrant(rows, &d.at)
		return d, err
	}, "SELECT due_at, "+columnsOf(l.known.Load().schema)+" FROM "+l.openGrants()+where+
		" AND (due_at, target, scope, id) > ("+l.marks(n-4, n-1)+")"+dueOrder+l.mark(n), args...)
	return all, l.fail("read", err)
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
	add := func(condition string, values ...any) {
		args = append(args, values...)
		conditions = append(conditions, condition)
	}
	target := "target"
	if f.Open { // a list in the order of its ends: by an index on the target, each page would be sorted anew
		target = "target || ''"
	}
	mark := func() string { return l.mark(len(args) + 1) } // the next parameter
	for _, c := range [][2]string{
		{"owner", f.Owner}, {target, f.Target}, {"scope", f.Scope}, {"principal", f.Principal},
	} {
		if c[1] != "" {
			add(c[0]+" = "+mark(), c[1])
		}
	}
	from := f.EndFrom
	if !f.LiveAt.IsZero() {
		add("revoked_at IS NULL AND " + notFailed)
		if after := f.LiveAt.Add(time.Microsecond); after.After(from) { // a grant that ends at LiveAt is over
			from = after
		}
	}
	switch { // with two lower bounds, the database might enter the index at the wrong one
	case last != nil:
		add("(expires_at, id) > ("+l.marks(len(args)+1, len(args)+2)+")", last.End.UnixMicro(), string(last.ID))
	case !from.IsZero():
		add("expires_at >= "+mark(), from.UnixMicro())
	}
	if !f.DueBy.IsZero() {
		add("due_at <= "+mark(), f.DueBy.UnixMicro())
	}
	switch {
	case f.Unsigned && l.known.Load().schema < personsSchema:
		add("1 = 0")
	case f.Unsigned:
		add(unsignedGrants)
	}
	switch {
	case f.Waiting && l.known.Load().schema < personsSchema:
		add("1 = 0")
	case f.Waiting:
		add("awaits <> '' AND failed_at IS NOT NULL AND granted_at IS NULL AND revoked_at IS NULL")
	}
	if f.Open {
		add("due_at IS NOT NULL")
	}
	if len(f.IDs) > 0 {
		add("id"+l.among(mark()), l.list(texts(f.IDs)))
	}
	if f.IDPrefix != "" { // a range of whole ids has the same order in every collation
		n := len(args)
		add(fmt.Sprintf("id BETWEEN %s AND %s AND substr(id, 1, %d) = %s",
			l.mark(n+1), l.mark(n+2), len(f.IDPrefix), l.mark(n+3)),
			wholeID(f.IDPrefix, "0"), wholeID(f.IDPrefix, "f"), f.IDPrefix)
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

// selectFor begins the query of a filter. What is open is read by the index of due work.
func (l *Ledger) selectFor(f jit.Filter) string {
	if !f.Open {
		return l.selectGrant()
	}
	return "SELECT " + columnsOf(l.known.Load().schema) + " FROM " + l.openGrants()
}
