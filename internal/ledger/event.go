package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

var eventColumns = []string{
	"seq", "recorded_at", "kind", "grant_id", "policy", "actor", "change_ref", "source", "detail", "prev", "hash",
}

var selectEvent = "SELECT " + strings.Join(eventColumns, ", ") + " FROM jit_events"

// follow gives the event its place after the head and moves the head to it.
func (h *head) follow(e jit.Event, now time.Time) jit.Event {
	if e.At.IsZero() {
		e.At = now
	}
	// What is hashed is what will be read back.
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
func eventRow(e jit.Event) ([]any, error) {
	detail := ""
	if len(e.Detail) > 0 {
		text, err := json.Marshal(e.Detail)
		if err != nil {
			return nil, fmt.Errorf("event %s: %w", e.Kind, err)
		}
		detail = string(text)
	}
	return []any{e.Seq, e.At.UnixMicro(), string(e.Kind), string(e.Grant), e.Policy,
		e.Name, e.Change, string(e.Source), detail, e.Prev, e.Hash}, nil
}

// scanEvent reads a row of eventColumns. Details that cannot be read are left out,
// which shows as an event that does not have its hash.
func scanEvent(rows *sql.Rows) (jit.Event, error) {
	var e jit.Event
	var at int64
	var detail string
	err := rows.Scan(&e.Seq, &at, &e.Kind, &e.Grant, &e.Policy, &e.Name, &e.Change, &e.Source, &detail, &e.Prev, &e.Hash)
	e.At = time.UnixMicro(at).UTC()
	if detail != "" && json.Unmarshal([]byte(detail), &e.Detail) != nil {
		e.Detail = nil
	}
	return e, err
}

// Events returns the events from sequence number first on, in order.
func (l *Ledger) Events(ctx context.Context, first int64) iter.Seq2[jit.Event, error] {
	return func(yield func(jit.Event, error) bool) {
		for {
			page, err := l.eventPage(ctx, first)
			if err != nil {
				yield(jit.Event{}, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
			}
			if len(page) < pageSize {
				return
			}
			first = page[len(page)-1].Seq + 1
		}
	}
}

func (l *Ledger) eventPage(ctx context.Context, first int64) ([]jit.Event, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, selectEvent+" WHERE seq >= $1 ORDER BY seq LIMIT $2", first, int64(pageSize))
	if err != nil {
		return nil, l.fail("read", err)
	}
	page, err := collect(rows, scanEvent)
	return page, l.fail("read", err)
}
