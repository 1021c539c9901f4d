package bench_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// nothing is a target that does nothing. It says that it holds what [fill] made, and its writes take a while where one
// is set.
type nothing struct {
	takes          time.Duration
	grants, spread int
	end            time.Time
}

func (nothing) Kind() string { return "nothing" }

func (nothing) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	return b, jit.Traits{Enforcement: jit.Native}, nil
}

func (nothing) Given(_ context.Context, b jit.Binding, _ bool) (jit.Given, error) {
	return jit.AsWritten(b), nil
}

func (nothing) Scopes(context.Context) ([]string, error) { return nil, nil }

func (n nothing) Read(_ context.Context, scope string) (s jit.Snapshot, err error) {
	first, err := strconv.Atoi(strings.TrimPrefix(scope, projects))
	for i := first; i < n.grants; i += n.spread {
		g := granted(i, n.spread, n.end)
		s.Ours = append(s.Ours, jit.Observed{Marker: g.Marker(), Principal: g.Principal, Role: g.Role, End: g.End})
	}
	return s, err
}

func (n nothing) Apply(_ context.Context, _ string, changes []jit.Change) []error {
	time.Sleep(n.takes)
	return make([]error, len(changes))
}

// projects begins the scopes of the target that does nothing.
const projects = "projects/p"

// granted is the i-th grant on the target that does nothing.
func granted(i, scopes int, end time.Time) jit.Grant {
	binding := jit.Binding{Target: "nothing", Principal: "user:alice@example.com", Role: "roles/cloudsql.client",
		Scope: fmt.Sprint(projects, i%scopes)}
	reason := fmt.Sprintf("INC-%d: measure", i)
	return jit.Grant{ID: jit.NewID("jit", binding, reason, 1), Owner: "jit", Binding: binding, Reason: reason,
		Renewal: 1, TTL: jit.RecordedTTL("2h"),
		Window: jit.Window{Start: end.Add(-2 * time.Hour), End: end}, Enforcement: jit.Native,
		RequestedAt: end.Add(-2 * time.Hour), GrantedAt: end.Add(-2 * time.Hour), Holder: 1}
}

// fill records n live grants on the target that does nothing, spread over scopes, and returns the last end.
func fill(b *testing.B, l jit.Ledger, n, scopes int, end time.Time) {
	const batch = 5000
	for first := 0; first < n; first += batch {
		entries := make([]jit.Entry, 0, batch)
		for i := first; i < min(n, first+batch); i++ {
			g := granted(i, scopes, end)
			entries = append(entries, jit.Entry{Grant: &g})
		}
		for _, err := range l.Write(b.Context(), entries) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// expiries times how fast due grants go through a watcher whose target does nothing and whose ledger records each end
// durably, beside UPDATEs of as many rows.
func (t *table) expiries() {
	const due = 100_000
	dir := t.b.TempDir()
	l := openLedger(t.b, "sqlite://"+filepath.Join(dir, "ledger.db"))
	fill(t.b, l, due, 100, time.Now().Add(-time.Second).Truncate(time.Second))
	b := &broker.Broker{Ledger: l, Targets: map[string]jit.Platform{"nothing": nothing{}}, Owner: "jit",
		MaxTTL: 24 * time.Hour, Now: time.Now, Actor: jit.Actor{Name: "bench", Source: jit.FromSweeper}}
	bare := t.bareUpdates(filepath.Join(dir, "before.db"), due)
	durable := lasts(func() {
		o := &observed{}
		stop := watching(b, l.Leases(), "bench", o)
		waitFor(t.b, 5*time.Minute, "all grants are ended", func() bool { return o.done() >= due })
		stop()
	})
	bare = (bare + t.bareUpdates(filepath.Join(dir, "after.db"), due)) / 2
	t.ratio("100,000 expiries, each recorded durably in SQLite, beside bare UPDATEs on that disk", durable, bare, 2)
}

// bareUpdates times UPDATEs of rows in SQLite by a plain program, in the batches and with the durability of the ledger.
func (t *table) bareUpdates(path string, rows int) time.Duration {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		t.b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	do := func(statement string, args ...any) {
		if _, err := db.ExecContext(t.b.Context(), statement, args...); err != nil {
			t.b.Fatal(err)
		}
	}
	do(`CREATE TABLE bare (id INTEGER PRIMARY KEY, ended_at INTEGER, reason TEXT)`)
	do(`WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1)
		INSERT INTO bare SELECT i, 0, 'INC-' || i || ': measure' FROM n`, rows)
	const batch = 1000 // how many due grants a watcher claims at a time
	return lasts(func() {
		for first := 0; first < rows; first += batch {
			do("BEGIN IMMEDIATE")
			for i := first; i < first+batch; i++ {
				do(`UPDATE bare SET ended_at = ? WHERE id = ?`, time.Now().Unix(), i)
			}
			do("COMMIT")
		}
	})
}
