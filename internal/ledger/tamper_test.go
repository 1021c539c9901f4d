package ledger_test

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

// victim is a ledger that tests tamper with repeatedly. damaged restores it each time.
type victim struct {
	ledger *ledger.Ledger
	db     *sql.DB
	events []jit.Event // as recorded, event n at n-1
}

// victimOf makes a SQLite ledger with events of grants and policies.
func victimOf(t *testing.T, events int) victim {
	t.Helper()
	url := sqliteURL(t)
	l := open(t, url)
	entries := make([]jit.Entry, events)
	for n := range entries {
		e := ledgertest.Event(ledgertest.Grant(n).ID)
		switch n % 3 {
		case 1: // equals the event before, apart from its position
			e.Grant = ledgertest.Grant(n - 1).ID
		case 2:
			e = jit.Event{
				Kind:   jit.EventPolicyRemoved,
				Policy: fmt.Sprintf("oncall-%d", n),
				At:     ledgertest.Epoch,
				Actor:  e.Actor,
			}
		}
		entries[n] = jit.Entry{Events: []jit.Event{e}}
	}
	write(t, l, entries...)
	v := victim{ledger: l, db: raw(t, url)}
	v.db.SetMaxOpenConns(1)
	run(t, v.db, "PRAGMA synchronous = OFF", "CREATE TABLE kept AS SELECT * FROM jit_log")
	for e, err := range jit.AllEvents(t.Context(), l) {
		if err != nil {
			t.Fatal(err)
		}
		v.events = append(v.events, e)
	}
	if len(v.events) != events {
		t.Fatalf("%d events, want %d", len(v.events), events)
	}
	return v
}

// tester holds the common methods of a test and a rapid test.
type tester interface {
	rapid.TB
	Context() context.Context
}

// damaged runs the statements, verifies the ledger, and undoes them.
func (v victim) damaged(t tester, statements ...string) ledger.Report {
	t.Helper()
	atOnce := func(statements ...string) {
		all := "BEGIN; " + strings.Join(statements, "; ") + "; COMMIT"
		if _, err := v.db.ExecContext(t.Context(), all); err != nil {
			t.Fatalf("%s: %v", all, err)
		}
	}
	atOnce(statements...)
	r, err := v.ledger.Verify(t.Context())
	if err != nil {
		t.Fatalf("%q: %v", statements, err)
	}
	atOnce("DELETE FROM jit_log", "INSERT INTO jit_log SELECT * FROM kept")
	return r
}

// kinds lists the findings in short, such as "removed 4-6".
func kinds(r ledger.Report) string {
	var all []string
	for _, d := range r.Damage {
		s := fmt.Sprintf("%s %d", d.Kind, d.First)
		if d.Last != d.First {
			s += fmt.Sprintf("-%d", d.Last)
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}

// edits are the ways to change one event: each column to another value and to a value of the wrong type.
var edits = []string{
	"after_seq = 7", "after_seq = 'x'",
	"recorded_at = recorded_at + 1", "recorded_at = 9000000000000000000", "recorded_at = -9000000000000000000",
	"recorded_at = 'noon'", "recorded_at = 0.5",
	"kind = kind || 'x'", "kind = ''", "grant_id = grant_id || 'x'", "policy = policy || ' '", "actor = 'mallory'", "actor = x'ff'", "change_ref = ''",
	"source = 'sweeper'", `detail = '{"reason":"another"}'`, "detail = '{'", "detail = detail || ' '", "prev = ''", "prev = hash", "hash = prev", "hash = upper(hash)", "hash = ''",
}

// Promise 11: every single change of a record is found and named, at any position.
func TestVerifyNamesEverySingleChange(t *testing.T) {
	const n = 200
	v := victimOf(t, n)
	check := func(want string, statements ...string) {
		t.Helper()
		r := v.damaged(t, statements...)
		if got := kinds(r); got != want {
			t.Errorf("%q: found %q, want %q", statements, got, want)
		}
	}
	check("")
	ways := []func(at int){
		func(at int) {
			check(fmt.Sprintf("edited %d", at),
				fmt.Sprintf("UPDATE jit_log SET %s WHERE seq = %d", edits[at/6%len(edits)], at))
		},
		func(at int) {
			check(fmt.Sprintf("removed %d", at), fmt.Sprintf("DELETE FROM jit_log WHERE seq = %d", at))
		},
		func(at int) { check(fmt.Sprintf("inserted %d", n+at), copyOf(n+at, at)) },
		func(at int) { // in the middle
			moved := ""
			for seq := at + 1; seq <= n; seq++ {
				moved += fmt.Sprintf(", reordered %d", seq+1)
			}
			from := at + 3 // moved as well, so that only the event before it shows which of the two is the copy
			if from > n+1 {
				from = at / 2
			}
			check(fmt.Sprintf("inserted %d", at+1)+moved, append(shift(at+1, 1), copyOf(at+1, from))...)
		},
		func(at int) { // with the next event
			check(fmt.Sprintf("reordered %d, reordered %d", min(at, at%n+1), max(at, at%n+1)), swap(at, at%n+1)...)
		},
		func(at int) { // with a distant event
			with := (at+n/2-1)%n + 1
			check(fmt.Sprintf("reordered %d, reordered %d", min(at, with), max(at, with)), swap(at, with)...)
		},
	}
	for at := 1; at <= n; at++ {
		if at > 2 && at < n {
			ways[at%len(ways)](at)
			continue
		}
		for _, way := range ways {
			way(at)
		}
	}
	for i, edit := range edits {
		at := []int{1, n / 2, n}[i%3]
		check(fmt.Sprintf("edited %d", at), fmt.Sprintf("UPDATE jit_log SET %s WHERE seq = %d", edit, at))
	}
	moved := ""
	for seq := 1; seq <= n; seq++ {
		moved += fmt.Sprintf(", reordered %d", seq+1)
	}
	check("inserted 1"+moved, append(shift(1, 1), copyOf(1, n))...)
}

// A row without a valid number is named, and reading the events fails.
func TestVerifyNamesWhatHasNoNumber(t *testing.T) {
	v := victimOf(t, 20)
	for _, number := range []string{"'x'", "5.5", "x'00'"} {
		r := v.damaged(t, "UPDATE jit_log SET seq = "+number+" WHERE seq = 5")
		if len(r.Damage) != 1 ||
			r.Damage[0].String() != "an event without a number in chain _all was reordered: it was recorded as event 5" {
			t.Errorf("seq = %s: %v", number, r.Damage)
		}
		r = v.damaged(t, strings.Replace(copyOf(21, 5), "SELECT chain, 21,", "SELECT chain, "+number+",", 1),
			"UPDATE jit_log SET hash = 'x' WHERE typeof(seq) <> 'integer'")
		if len(r.Damage) != 1 ||
			r.Damage[0].String() != "an event without a number in chain _all was inserted: events are numbered from 1" {
			t.Errorf("a new row with seq = %s: %v", number, r.Damage)
		}
	}
	run(t, v.db, "UPDATE jit_log SET seq = 'x' WHERE seq = 5")
	var last error
	for _, err := range jit.AllEvents(t.Context(), v.ledger) {
		last = err
	}
	if last == nil || !strings.Contains(last.Error(), "jit audit verify") {
		t.Errorf("reading the events returned %v, want an error that names jit audit verify", last)
	}
}

// stored is one row in a generated history of tampering.
type stored struct {
	event jit.Event
	// was is the row's recorded number; 0 if its content differs from the record.
	was int64
	// from is the number of the recorded event that supplies its other columns.
	from int64
}

// Promise 11 under any sequence of changes, with or without recomputed hashes: every changed event is named, unless it
// lies before the events that the head vouches for. Unchanged events are not named.
func TestVerifyNamesWhateverIsDone(t *testing.T) {
	const n = 40
	v := victimOf(t, n)
	rapid.Check(t, func(rt *rapid.T) {
		rows := make([]stored, n)
		for i, e := range v.events {
			rows[i] = stored{e, e.Seq, e.Seq}
		}
		gone := map[int64]bool{} // skipped numbers
		for range rapid.IntRange(1, 5).Draw(rt, "steps") {
			at := rapid.IntRange(0, len(rows)-1).Draw(rt, "at")
			switch rapid.SampledFrom([]string{"edit", "rewrite", "remove", "close up", "insert", "swap"}).Draw(rt, "what") {
			case "edit":
				rows[at].was = 0
				rows[at].event.Name += "x"
			case "rewrite": // consecutive events, with recomputed hashes and previous hashes
				for i := at; i < min(at+rapid.IntRange(1, 20).Draw(rt, "run"), len(rows)); i++ {
					e := rows[i].event
					e.Name, e.Seq = e.Name+"y", int64(i+1)
					if i > 0 {
						e.Prev = rows[i-1].event.Hash
					}
					e.Hash = e.Sum()
					rows[i] = stored{event: e, from: rows[i].from}
				}
			case "remove":
				gone[int64(at+1)] = true
			case "close up":
				if len(rows) > 1 {
					rows = slices.Delete(rows, at, at+1)
				}
			case "insert":
				e := rows[rapid.IntRange(0, len(rows)-1).Draw(rt, "copy of")]
				rows = slices.Insert(rows, at, e)
			case "swap":
				with := rapid.IntRange(0, len(rows)-1).Draw(rt, "with")
				rows[at], rows[with] = rows[with], rows[at]
			}
		}
		statements := []string{"DELETE FROM jit_log"}
		tampered := map[int64]bool{} // rows that differ from the event recorded under their number
		present := map[int64]bool{}  // recorded events that are present at any position
		for i, row := range rows {
			seq := int64(i + 1)
			if gone[seq] {
				continue
			}
			statements = append(statements, insertion(seq, row))
			tampered[seq] = row.was != seq
			present[row.was] = true
		}
		r := v.damaged(rt, statements...)

		named, removed := map[int64]bool{}, map[int64]bool{}
		for _, d := range r.Damage {
			for seq := d.First; seq <= d.Last; seq++ {
				if d.Kind == ledger.Removed {
					removed[seq] = true
				} else {
					named[seq] = true
				}
			}
		}
		for _, seq := range slices.Sorted(maps.Keys(tampered)) {
			if tampered[seq] && !named[seq] && seq >= r.Chains[0].VouchedFrom {
				rt.Errorf("event %d differs from the record and is not named, though the head vouches from %d: %s",
					seq, r.Chains[0].VouchedFrom, kinds(r))
			}
		}
		for seq := int64(1); seq <= n; seq++ {
			_, there := tampered[seq]
			if !present[seq] && !there && !removed[seq] && seq >= r.Chains[0].VouchedFrom {
				rt.Errorf("event %d is missing and is not named: %s", seq, kinds(r))
			}
			if present[seq] && removed[seq] && seq >= r.Chains[0].VouchedFrom ||
				there && !tampered[seq] && named[seq] && seq >= r.Chains[0].VouchedFrom {
				rt.Errorf("event %d is unchanged and is named, though the head vouches from %d: %s", seq, r.Chains[0].VouchedFrom,
					kinds(r))
			}
		}
		whole := len(rows) == n && !slices.Contains(slices.Collect(maps.Values(tampered)), true) && len(tampered) == n
		if r.OK() != whole || whole != (r.Chains[0].VouchedFrom == 1 && r.OK()) {
			rt.Errorf("OK is %v, from %d; the record is whole: %v", r.OK(), r.Chains[0].VouchedFrom, whole)
		}
	})
}

// logColumns are those of jit_log.
const logColumns = "chain, seq, recorded_at, kind, grant_id, policy, actor, change_ref, source, detail, after_seq, " +
	"prev, hash"

// insertion returns a statement that inserts a row with a number.
func insertion(seq int64, row stored) string {
	e := row.event
	return fmt.Sprintf("INSERT INTO jit_log ("+logColumns+") SELECT chain, %d, recorded_at, kind, grant_id, policy, '%s', "+
		"change_ref, source, detail, after_seq, '%s', '%s' FROM kept WHERE seq = %d", seq, e.Name, e.Prev, e.Hash, row.from)
}
