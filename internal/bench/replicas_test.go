package bench_test

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// million starts a watcher on a ledger with a million live grants.
func (t *table) million() {
	url := "sqlite://" + filepath.Join(t.b.TempDir(), "ledger.db")
	task := watcherTask{Ledger: url, Grants: 1_000_000, Scopes: 1000,
		End: time.Now().Add(time.Hour).Truncate(time.Second)}
	fill(t.b, openLedger(t.b, url), task.Grants, task.Scopes, task.End)
	floor := t.selectAll(strings.TrimPrefix(url, "sqlite://"))
	began := time.Now()
	w := startWatcher(t.b, task)
	w.says("due")
	first := time.Since(began)
	w.says("drift")
	drift := time.Since(began)
	peak := w.peak()
	w.end()
	floor = (floor + t.selectAll(strings.TrimPrefix(url, "sqlite://"))) / 2
	t.ratio("1,000,000 live grants: start to first pass, due work, beside a SELECT of them", first, floor, 3)
	t.ratio("1,000,000 live grants: start to first pass, every scope compared, beside a SELECT of them", drift, floor, 3)
	t.add("1,000,000 live grants: memory, with both passes", fmt.Sprintf("%.0f MB", peak), "300 MB", peak <= 300)
}

// selectAll times a SELECT of every grant in a ledger by the same driver, into values of any type.
func (t *table) selectAll(path string) time.Duration {
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		t.b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	return lasts(func() {
		rows, err := db.QueryContext(t.b.Context(), "SELECT * FROM jit_grants")
		if err != nil {
			t.b.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		columns, err := rows.Columns()
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		for err == nil && rows.Next() {
			err = rows.Scan(values...)
		}
		if err := errors.Join(err, rows.Err()); err != nil {
			t.b.Fatal(err)
		}
	})
}

// replicas times 10,000 grants that end together on one PostgreSQL ledger, 200 ms a call, with one watcher, with two,
// and with three of which one is killed at work.
func (t *table) replicas() {
	const due = 10_000
	run := func(watchers int, kill bool) (took time.Duration, once bool) {
		url := testenv.Postgres(t.b).Database(t.b)
		l := openLedger(t.b, url)
		all := make([]*watcher, watchers)
		for i := range all {
			all[i] = startWatcher(t.b, watcherTask{Ledger: url, Takes: 200 * time.Millisecond})
		}
		end := time.Now().Add(15 * time.Second).Truncate(time.Second)
		fill(t.b, l, due, 100, end)
		if time.Until(end) < time.Second {
			t.b.Fatal("it took too long to make the grants")
		}
		time.Sleep(time.Until(end))
		if kill {
			waitFor(t.b, time.Minute, "some grants are ended", func() bool { return len(ends(t.b, l)) > 0 })
			if err := all[0].cmd.Process.Kill(); err != nil {
				t.b.Fatal(err)
			}
			_ = all[0].cmd.Wait() // it was killed
			all = all[1:]
		}
		waitFor(t.b, 5*time.Minute, "all grants are ended", func() bool { return !anyDue(t.b, l) })
		took = time.Since(end)
		for _, w := range all {
			w.end()
		}
		told := ends(t.b, l)
		once = len(told) == due
		for _, n := range told {
			once = once && n == 1
		}
		return took, once
	}
	one, two, first, second := time.Hour, time.Hour, true, true
	for range 5 {
		took, once := run(1, false)
		one, first = min(one, took), first && once
		took, once = run(2, false)
		two, second = min(two, took), second && once
	}
	t.ratio("10,000 ends at once, 200 ms a call, two replicas beside one, least of 5 each", two, one, 1)
	three, third := run(3, true)
	t.add("10,000 ends at once, three replicas, one killed: every end recorded once",
		fmt.Sprintf("%v, %v, %v (%.1fs)", first, second, third, three.Seconds()),
		"true", first && second && third)
}

// anyDue reports whether any grant is due.
func anyDue(b *testing.B, l *ledger.Ledger) bool {
	for _, err := range l.Grants(b.Context(), jit.Filter{Owner: "jit", DueBy: time.Now()}) {
		if err != nil {
			b.Fatal(err)
		}
		return true
	}
	return false
}

// ends counts the events that tell of the end of each grant.
func ends(b *testing.B, l *ledger.Ledger) map[jit.ID]int {
	told := map[jit.ID]int{}
	for e, err := range jit.AllEvents(b.Context(), l) {
		if err != nil {
			b.Fatal(err)
		}
		if e.Kind == jit.EventExpired {
			told[e.Grant]++
		}
	}
	return told
}
