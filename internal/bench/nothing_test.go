package bench_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
)

// nothing is a target that does nothing. It says that it holds what [fill] made, and its writes take a while where one
// is set.
type nothing struct {
	takes          time.Duration
	grants, spread int
	end            time.Time
	// unenforced: it ends nothing by itself.
	unenforced bool
}

func (nothing) Kind() string { return "nothing" }

func (n nothing) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	if n.unenforced {
		return b, jit.Traits{Enforcement: jit.Sweeper}, nil
	}
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
		o := jit.Observed{Marker: g.Marker(), Principal: g.Principal, Role: g.Role, End: g.End}
		if n.unenforced {
			o.End = time.Time{}
		}
		s.Ours = append(s.Ours, o)
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

// fill records n live grants on the target that does nothing, spread over scopes, each with the changes.
func fill(b *testing.B, l jit.Ledger, n, scopes int, end time.Time, changes ...func(*jit.Grant)) {
	const batch = 5000
	for first := 0; first < n; first += batch {
		entries := make([]jit.Entry, 0, batch)
		for i := first; i < min(n, first+batch); i++ {
			g := granted(i, scopes, end)
			for _, change := range changes {
				change(&g)
			}
			entries = append(entries, jit.Entry{Grant: &g})
		}
		for _, err := range l.Write(b.Context(), entries) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// expiries compares what it costs to send due grants through a watcher whose target does nothing and whose ledger
// records each end durably, with the UPDATEs and DELETEs that the same tables need for that. Other work on the machine distorts wall
// time, so this compares processor time.
func (t *table) expiries() {
	const due = 100_000
	open := func(name string) (*ledger.Ledger, string) {
		path := filepath.Join(t.b.TempDir(), name)
		l := openLedger(t.b, "sqlite://"+path)
		fill(t.b, l, due, 100, time.Now().Add(-time.Second).Truncate(time.Second))
		return l, path
	}
	_, path := open("bare.db")
	bare := t.bareChanges(path)
	l, _ := open("ledger.db")
	b := &broker.Broker{Ledger: l, Targets: map[string]jit.Platform{"nothing": nothing{}}, Owner: "jit",
		MaxTTL: 24 * time.Hour, Now: time.Now, Actor: jit.Actor{Name: "bench", Source: jit.FromSweeper}}
	durable := worked(syscall.RUSAGE_SELF, func() {
		o := &observed{}
		stop := watching(b, l.Leases(), "bench", o)
		waitFor(t.b, 10*time.Minute, "all grants are ended", func() bool { return o.done() >= due })
		stop()
	})
	t.ratio("100,000 expiries, each recorded durably in SQLite, beside the bare changes of these rows, processor time",
		durable, bare, 2)
}

// endBare makes the changes that the end of grants needs at least.
func endBare(ctx context.Context, tx *sql.Tx, ids []string) error {
	update, err := tx.PrepareContext(ctx, "UPDATE jit_grants SET ended_at = ? WHERE id = ?")
	if err != nil {
		return err
	}
	defer func() { _ = update.Close() }() // the commit has the errors
	remove, err := tx.PrepareContext(ctx, "DELETE FROM jit_due WHERE id = ?")
	if err != nil {
		return err
	}
	defer func() { _ = remove.Close() }()
	for _, id := range ids {
		if _, err := update.ExecContext(ctx, time.Now().UnixMicro(), id); err != nil {
			return err
		}
		if _, err := remove.ExecContext(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// bareChanges returns the processor time of a plain program that ends all grants of a ledger, scope by
// scope, in the batches and with the durability of the ledger.
func (t *table) bareChanges(path string) time.Duration {
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		t.b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	rows, err := db.QueryContext(t.b.Context(), "SELECT id FROM jit_grants ORDER BY scope, id")
	if err != nil {
		t.b.Fatal(err)
	}
	defer func() { _ = rows.Close() }() // after the last row it is closed already
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.b.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		t.b.Fatal(err)
	}
	const batch = 1000 // how many due grants a watcher claims at a time
	return worked(syscall.RUSAGE_SELF, func() {
		for ends := range slices.Chunk(ids, batch) {
			tx, err := db.BeginTx(t.b.Context(), nil)
			if err == nil {
				err = endBare(t.b.Context(), tx, ends)
			}
			if err == nil {
				err = tx.Commit()
			}
			if err != nil {
				t.b.Fatal(err)
			}
		}
	})
}
