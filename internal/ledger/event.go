package ledger

import (
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

var eventColumns = []string{
	"seq", "recorded_at", "kind", "grant_id", "policy", "actor", "change_ref", "source", "detail", "prev", "hash",
}

var selectEvent = "SELECT " + strings.Join(eventColumns, ", ") + " FROM jit_events"

// follow places the event after the head and moves the head to it.
func (h *head) follow(e jit.Event, now time.Time) jit.Event {
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
	e.Seq, e.Prev = h.seq+1, h.hash
	e.Hash = e.Sum()
	h.seq, h.hash = e.Seq, e.Hash
	return e
}

// eventRow returns the values of eventColumns.
func eventRow(e jit.Event) []any {
	return []any{e.Seq, e.At.UnixMicro(), string(e.Kind), string(e.Grant), e.Policy,
		e.Name, e.Change, string(e.Source), detail(e.Detail), e.Prev, e.Hash}
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
	var seq, at any
	var stored string
	err := rows.Scan(&seq, &at, &e.Kind, &e.Grant, &e.Policy, &e.Name, &e.Change, &e.Source, &stored, &e.Prev, &e.Hash)
	e.Seq = unnumbered
	if n, ok := seq.(int64); ok {
		e.Seq = n
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

// Events returns the events from sequence number first on, in order.
func (l *Ledger) Events(ctx context.Context, first int64) iter.Seq2[jit.Event, error] {
	return l.eventsFrom(ctx, "", first)
}

// eventsAfter ends a query for events after a condition.
const eventsAfter = "seq >= $1 ORDER BY seq LIMIT $2"

// eventsFrom returns the events that a condition selects, from sequence number first on.
func (l *Ledger) eventsFrom(ctx context.Context, condition string, first int64) iter.Seq2[jit.Event, error] {
	return stream(func(last *jit.Event) ([]jit.Event, error) {
		if last != nil {
			first = last.Seq + 1
		}
		page, err := list(ctx, l, scanEvent, selectEvent+" WHERE "+condition+eventsAfter, first, int64(pageSize))
		if slices.ContainsFunc(page,
			func(e jit.Event) bool { return e.Seq == unnumbered }) { // which is next is unknown
			err = l.fail("read", errors.New("an event has no sequence number; run jit audit verify"))
		}
		return page, err
	})
}

// eventsOf selects the events of some grants, by their index.
const eventsOf = " WHERE grant_id <> '' AND grant_id"

// EventsOf returns the events about these grants, those of one grant in order.
func (l *Ledger) EventsOf(ctx context.Context, ids []jit.ID) iter.Seq2[jit.Event, error] {
	return func(yield func(jit.Event, error) bool) {
		db, err := l.read(ctx)
		more := db != nil
		visit := func(e jit.Event) bool {
			more = yield(e, nil)
			return more
		}
		for some := range slices.Chunk(ids, pageSize) {
			if err != nil || !more {
				break
			}
			err = l.visitOf(ctx, db, some, visit)
		}
		if err != nil {
			yield(jit.Event{}, l.fail("read", err))
		}
	}
}

// visitOf passes the events about some grants to visit, those of one grant in order, until visit returns false.
func (l *Ledger) visitOf(ctx context.Context, q queryer, ids []jit.ID, visit func(jit.Event) bool) error {
	return each(ctx, q, scanEvent, visit, selectEvent+eventsOf+l.among("$1")+" ORDER BY grant_id, seq",
		l.list(texts(ids)))
}
