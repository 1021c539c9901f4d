package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// eventColumns are those of jit_log.
var eventColumns = []string{
	"chain", "seq", "recorded_at", "kind", "grant_id", "policy", "actor", "change_ref", "source", "detail", "after_seq",
	"prev", "hash",
}

// selectFrom begins a query for events with eventColumns. Those from before there were several chains have no chain.
func selectFrom(table string) string {
	columns := strings.Join(eventColumns, ", ")
	if table == oldTable {
		columns = strings.Replace(strings.Replace(columns, "chain", "'' AS chain", 1), "after_seq", "0 AS after_seq", 1)
	}
	return "SELECT " + columns + " FROM " + table
}

// follow places the event in a chain after its tip, and moves the tip to it. after is the number of the last event of
// [jit.AllChain].
func (t *tip) follow(e jit.Event, chain string, after int64, now time.Time) jit.Event {
	if e.At.IsZero() {
		e.At = now
	}
	// The hash is over the values that will be read back.
	e.At = e.At.UTC().Truncate(time.Microsecond)
	e.Kind, e.Grant, e.Policy = jit.EventKind(text(string(e.Kind))), jit.ID(text(string(e.Grant))), text(e.Policy)
	e.Actor = jit.Actor{Name: text(e.Name), Change: text(e.Change), Source: jit.Source(text(string(e.Source)))}
	detail := make(map[string]string, len(e.Detail))
	for k, v := range e.Detail {
		detail[text(k)] = text(v)
	}
	e.Detail = detail
	e.Chain, e.Seq, e.After, e.Prev = chain, t.seq+1, after, t.hash
	e.Hash = e.Sum()
	t.seq, t.hash = e.Seq, e.Hash
	return e
}

// eventRow returns the values of eventColumns.
func eventRow(e jit.Event) []any {
	return []any{e.Chain, e.Seq, e.At.UnixMicro(), string(e.Kind), string(e.Grant), e.Policy,
		e.Name, e.Change, string(e.Source), detail(e.Detail), e.After, e.Prev, e.Hash}
}

// detail returns details as they are stored: JSON with sorted keys, or an empty text if there are none.
func detail(of map[string]string) string {
	if len(of) == 0 {
		return ""
	}
	text, err := json.Marshal(of)
	if err != nil {
		panic(err) // texts always marshal
	}
	return string(text)
}

// firstMicro and lastMicro are the first and the last microsecond that RFC 3339, and so the JSON of an event, can
// write.
var (
	firstMicro = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	lastMicro  = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() - 1
)

// unnumbered is the sequence number of a row without one: SQLite keeps whatever somebody writes into a column.
const unnumbered = math.MinInt64

// unreadable is the key for stored details that [detail] cannot have written. No event is recorded with it.
const unreadable = "unreadable"

// scanEvent reads a row of eventColumns. It drops a time that it cannot read, and returns such details as [unreadable]:
// the event then does not match its hash.
func scanEvent(rows *sql.Rows) (jit.Event, error) {
	var e jit.Event
	var seq, at, after any
	var stored string
	err := rows.Scan(&e.Chain, &seq, &at, &e.Kind, &e.Grant, &e.Policy, &e.Name, &e.Change, &e.Source, &stored, &after,
		&e.Prev, &e.Hash)
	e.Seq, e.After = unnumbered, unnumbered
	if n, ok := seq.(int64); ok {
		e.Seq = n
	}
	if n, ok := after.(int64); ok {
		e.After = n
	}
	if n, ok := at.(int64); ok && n >= firstMicro && n <= lastMicro {
		e.At = time.UnixMicro(n).UTC()
	}
	if stored != "" {
		if json.Unmarshal([]byte(stored), &e.Detail) != nil || detail(e.Detail) != stored {
			e.Detail = map[string]string{unreadable: stored}
		}
	}
	return e, err
}

// Events returns the events of a chain from sequence number first on, in order.
func (l *Ledger) Events(ctx context.Context, chain string, first int64) iter.Seq2[jit.Event, error] {
	return l.eventsFrom(ctx, chain, "", first)
}

// eventsAfter ends a query for events after a condition.
const eventsAfter = "seq >= $1 ORDER BY seq LIMIT $2"

// ofChain restricts a query of jit_log to the chain $3.
const ofChain = "chain = $3 AND "

// eventsFrom returns the events of a chain that a condition selects, from sequence number first on.
func (l *Ledger) eventsFrom(ctx context.Context, chain, condition string, first int64) iter.Seq2[jit.Event, error] {
	return func(yield func(jit.Event, error) bool) {
		ctx := tolerant(ctx)
		db, err := l.read(ctx)
		if err = cmp.Or(err, l.wholeFor(chain)); err != nil || db == nil {
			if err != nil {
				yield(jit.Event{}, err)
			}
			return
		}
		lay := l.known.Load().layout
		if chain == jit.AllChain && lay.old && first <= lay.last {
			for e, err := range l.eventPages(ctx, selectFrom(oldTable)+" WHERE "+condition+eventsAfter, first) {
				if !yield(e, err) || err != nil {
					return
				}
			}
		}
		if lay.log {
			l.eventPages(ctx, selectFrom(logTable)+" WHERE "+ofChain+condition+eventsAfter, first, chain)(yield)
		}
	}
}

// eventPages reads the events of a query that ends with eventsAfter; more are its parameters after those.
func (l *Ledger) eventPages(ctx context.Context, query string, first int64, more ...any) iter.Seq2[jit.Event, error] {
	return stream(func(last *jit.Event) ([]jit.Event, error) {
		if last != nil {
			first = last.Seq + 1
		}
		page, err := list(ctx, l, scanEvent, query, append([]any{first, int64(pageSize)}, more...)...)
		if slices.ContainsFunc(page,
			func(e jit.Event) bool { return e.Seq == unnumbered }) { // which is next is unknown
			err = l.fail("read", errors.New("an event has no sequence number; run jit audit verify"))
		}
		return page, err
	})
}

// eventsOf selects the events of some grants, by their index.
const eventsOf = "grant_id <> '' AND grant_id"

// ofOwner selects the events that are where those of their grant are. Whoever may write the chain of one owner only
// cannot add to the story of another owner's grant.
const ofOwner = " AND (chain = '" + jit.AllChain + "' OR NOT EXISTS (" +
	"SELECT 1 FROM jit_grants g WHERE g.id = jit_log.grant_id AND g.owner <> jit_log.chain))"

// EventsOf returns the events about these grants, those of one grant in order.
func (l *Ledger) EventsOf(ctx context.Context, ids []jit.ID) iter.Seq2[jit.Event, error] {
	return func(yield func(jit.Event, error) bool) {
		db, err := l.read(tolerant(ctx))
		more := db != nil
		visit := func(e jit.Event) bool {
			if broken := l.wholeFor(e.InChain()); broken != nil {
				yield(jit.Event{}, broken)
				more = false
			} else {
				more = yield(e, nil)
			}
			return more
		}
		for some := range slices.Chunk(ids, pageSize) {
			if err != nil || !more {
				break
			}
			err = l.visitOf(ctx, db, l.known.Load().layout, ofOwner, some, visit)
		}
		if err != nil {
			yield(jit.Event{}, l.fail("read", err))
		}
	}
}

// visitOf passes the events about some grants to visit, those of one grant in order, until visit returns false. in is a
// further condition for those of jit_log.
func (l *Ledger) visitOf(
	ctx context.Context, q queryer, lay layout, in string, ids []jit.ID, visit func(jit.Event) bool,
) error {
	query := lay.union(func(table string) string {
		where := " WHERE " + eventsOf + l.among("$1")
		if table == logTable {
			where += in
		}
		return selectFrom(table) + where
	})
	return each(ctx, q, scanEvent, visit, query+" ORDER BY grant_id, chain, seq", l.list(texts(ids)))
}
