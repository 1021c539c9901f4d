package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// maxParameters caps the parameters of one statement. SQLite takes 32,766, PostgreSQL 65,535.
const maxParameters = 8000

// Write records entries and their events, in one transaction with those of other waiting calls. It does not change the
// grants of the entries: the recorded version is one higher than theirs.
func (l *Ledger) Write(ctx context.Context, entries []jit.Entry) []error {
	if len(entries) == 0 {
		return nil
	}
	errs, err := l.writes.Do(ctx, detached(entries))
	if err != nil {
		errs = make([]error, len(entries))
		fill(errs, l.fail("write", err))
	}
	return errs
}

// detached copies entries: a caller whose context ends may change them while the write goes on.
func detached(entries []jit.Entry) []jit.Entry {
	entries = slices.Clone(entries)
	for i, e := range entries {
		if e.Grant != nil {
			g := *e.Grant
			entries[i].Grant = &g
		}
		if e.Policy != nil {
			p := *e.Policy
			entries[i].Policy = &p
		}
		entries[i].Events = slices.Clone(e.Events)
	}
	return entries
}

// record writes the entries of several calls in one transaction.
func (l *Ledger) record(ctx context.Context, calls [][]jit.Entry) [][]error {
	all := slices.Concat(calls...)
	errs := make([]error, len(all))
	err := l.transact(ctx, func(ctx context.Context, tx *sql.Tx, h head) error {
		clear(errs)
		return l.put(ctx, tx, h, all, errs)
	})
	if err != nil {
		fill(errs, l.fail("write", err))
	}
	answers := make([][]error, len(calls))
	for i, call := range calls {
		answers[i], errs = errs[:len(call):len(call)], errs[len(call):]
	}
	return answers
}

func fill(errs []error, err error) {
	for i := range errs {
		errs[i] = err
	}
}

// put writes all entries behind the locked head h. A refused entry gets its own error and leaves nothing.
func (l *Ledger) put(ctx context.Context, tx *sql.Tx, h head, entries []jit.Entry, errs []error) error {
	recorded, err := l.recorded(ctx, tx, entries)
	if err != nil {
		return err
	}
	before, now := h.seq, l.now()
	var events [][]any
	grants := newKeyed()
	policies := newKeyed()
	dropped := map[string]bool{}
	if err := l.dedup(ctx, tx, entries, errs); err != nil {
		return err
	}
	if err := l.refuseRemoved(ctx, tx, entries, recorded, errs); err != nil {
		return err
	}
	for i, e := range entries {
		if errs[i] == nil {
			errs[i] = admit(e, recorded)
		}
		if errs[i] != nil {
			continue
		}
		switch {
		case e.Grant != nil:
			g := *e.Grant
			g.Version++
			was := recorded[g.ID]
			recorded[g.ID] = stored{g.Version, indexedOf(&g), was.moved || was.version == 0 || was.indexed != indexedOf(&g)}
			grants.set(string(g.ID), grantRow(&g))
		case e.Policy != nil:
			body, err := json.Marshal(e.Policy)
			if err != nil {
				return fmt.Errorf("policy %q: %w", e.Policy.Name, err)
			}
			policies.set(e.Policy.Name, []any{e.Policy.Name, string(body)})
			delete(dropped, e.Policy.Name)
		case e.DropPolicy != "":
			policies.drop(e.DropPolicy)
			dropped[e.DropPolicy] = true
		}
		for _, event := range e.Events {
			events = append(events, eventRow(h.follow(event, now)))
		}
	}
	for name := range dropped {
		if _, err := tx.ExecContext(ctx, "DELETE FROM jit_policies WHERE name = $1", name); err != nil {
			return err
		}
	}
	err = l.insert(ctx, tx, "jit_policies", []string{"name", "body"}, policies.all(),
		" ON CONFLICT (name) DO UPDATE SET body = excluded.body")
	if err != nil {
		return err
	}
	var moved, facts [][]any
	for _, row := range grants.all() {
		if recorded[jit.ID(row[0].(string))].moved {
			moved = append(moved, row)
		} else {
			facts = append(facts, row)
		}
	}
	if err := l.insert(ctx, tx, "jit_grants", storedColumns, moved, replaceGrant); err != nil {
		return err
	}
	if err := l.insert(ctx, tx, "jit_grants", storedColumns, facts, replaceFacts); err != nil {
		return err
	}
	if err := l.insert(ctx, tx, "jit_events", eventColumns, events, ""); err != nil {
		return err
	}
	if h.seq == before {
		return nil
	}
	_, err = tx.ExecContext(ctx, "UPDATE jit_ledger SET head_seq = $1, head_hash = $2", h.seq, h.hash)
	return err
}

// subjects counts what an entry writes besides its events.
func subjects(e jit.Entry) (n int) {
	for _, set := range []bool{e.Grant != nil, e.Policy != nil, e.DropPolicy != ""} {
		if set {
			n++
		}
	}
	return n
}

// admit refuses an entry that is stale or has more than one subject.
func admit(e jit.Entry, recorded map[jit.ID]stored) error {
	if n := subjects(e); n > 1 {
		return fmt.Errorf("write the ledger: an entry holds %d of a grant, a policy and a policy to remove, and may hold one: %w",
			n, jit.ErrInvalid)
	}
	if e.Grant != nil && recorded[e.Grant.ID].version != e.Grant.Version {
		return fmt.Errorf("write grant %s: version %d is recorded, %d was read: %w",
			e.Grant.ID, recorded[e.Grant.ID].version, e.Grant.Version, jit.ErrStale)
	}
	return nil
}

// refuseRemoved refuses to recreate records that somebody removed from the ledger: their events still say how they ended.
func (l *Ledger) refuseRemoved(ctx context.Context, tx *sql.Tx, entries []jit.Entry, recorded map[jit.ID]stored, errs []error) error {
	made := map[jit.ID][]int{}
	var ids []string
	for i, e := range entries {
		if e.Grant != nil && e.Grant.Version == 0 && recorded[e.Grant.ID].version == 0 {
			made[e.Grant.ID] = append(made[e.Grant.ID], i)
			ids = append(ids, string(e.Grant.ID))
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := tx.QueryContext(ctx, "SELECT DISTINCT grant_id FROM jit_events"+eventsOf+l.among("$1")+
		" AND kind IN ('requested', 'adopted')", l.list(ids))
	if err != nil {
		return err
	}
	return each(rows, func(rows *sql.Rows) (id jit.ID, err error) { return id, rows.Scan(&id) }, func(id jit.ID) bool {
		for _, i := range made[id] {
			errs[i] = &jit.Error{
				Problem: fmt.Sprintf("the record of grant %s was removed from %s, and its events are still there", id, l.db.name()),
				Hint:    "run `jit audit verify`, and restore the ledger from a backup",
				Err:     jit.ErrAltered,
			}
		}
		return true
	})
}

// stored is what a write must know of a recorded grant; the zero value means that there is no record.
type stored struct {
	version int64
	indexed
	// moved: entries of this write change indexed columns.
	moved bool
}

// recorded returns the stored facts of every grant in entries.
func (l *Ledger) recorded(ctx context.Context, tx *sql.Tx, entries []jit.Entry) (map[jit.ID]stored, error) {
	all := map[jit.ID]stored{}
	var ids []string
	for _, e := range entries {
		if e.Grant != nil {
			ids = append(ids, string(e.Grant.ID))
		}
	}
	if len(ids) == 0 {
		return all, nil
	}
	rows, err := tx.QueryContext(ctx, "SELECT id, version, owner, target, principal, scope, expires_at FROM jit_grants WHERE id"+
		l.among("$1"), l.list(ids))
	if err != nil {
		return nil, err
	}
	_, err = collect(rows, func(rows *sql.Rows) (none struct{}, err error) {
		var id jit.ID
		var s stored
		err = rows.Scan(&id, &s.version, &s.owner, &s.target, &s.principal, &s.scope, &s.end)
		all[id] = s
		return none, err
	})
	return all, err
}

// insert inserts rows, as many as fit into a statement at a time.
func (l *Ledger) insert(ctx context.Context, tx *sql.Tx, table string, columns []string, rows [][]any, onConflict string) error {
	width := len(columns)
	for chunk := range slices.Chunk(rows, maxParameters/width) {
		var b strings.Builder
		fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES ", table, strings.Join(columns, ", "))
		for i := range chunk {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteByte('(')
			b.WriteString(l.marks(i*width+1, (i+1)*width))
			b.WriteByte(')')
		}
		b.WriteString(onConflict)
		if _, err := tx.ExecContext(ctx, b.String(), slices.Concat(chunk...)...); err != nil {
			return err
		}
	}
	return nil
}

// keyed holds the last row of each key.
type keyed struct {
	keys   []string
	values map[string][]any
}

func newKeyed() *keyed { return &keyed{values: map[string][]any{}} }

func (r *keyed) set(key string, row []any) {
	if _, ok := r.values[key]; !ok {
		r.keys = append(r.keys, key)
	}
	r.values[key] = row
}

func (r *keyed) drop(key string) {
	delete(r.values, key)
	r.keys = slices.DeleteFunc(r.keys, func(k string) bool { return k == key })
}

func (r *keyed) all() [][]any {
	all := make([][]any, len(r.keys))
	for i, key := range r.keys {
		all[i] = r.values[key]
	}
	return all
}
