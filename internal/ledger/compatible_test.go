package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// onDatabases runs a test on each database.
func onDatabases(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite://"+t.TempDir()+"/ledger.db") })
	t.Run("postgres", func(t *testing.T) { test(t, testenv.Postgres(t).Database(t)) })
}

// later returns the migrations of a later program: one version more, which only adds an index.
func later() [][]string {
	return append(slices.Clone(migrations), []string{"CREATE INDEX jit_grants_later ON jit_grants (reason)"})
}

// An older program goes on as far as the newer one that migrated its ledger says.
func TestOlderProgramOnANewerLedger(t *testing.T) {
	mine, newer := len(migrations), len(migrations)+1
	for name, tc := range map[string]struct {
		since       since
		reads, puts bool
	}{
		"reads and writes": {since{mine, mine}, true, true},
		"reads":            {since{mine, newer}, true, false},
		"does neither":     {since{newer, newer}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			onDatabases(t, func(t *testing.T, url string) {
				compatible[newer] = tc.since
				t.Cleanup(func() { delete(compatible, newer) })
				old := opened(t, url)
				g := due1(t)
				must(t, put1(t, old, g))

				new := opened(t, url)
				new.migrations = later()
				must(t, new.Migrate(t.Context(), func(int) {}))

				g.Version, g.GrantedAt = 1, g.Start
				now := g.End
				for program, l := range map[string]*Ledger{"running": old, "started later": opened(t, url)} {
					l.known.Store(nil) // a check is valid for a second
					got, ok, err := l.Lookup(t.Context(), g.ID)
					if tc.reads != (err == nil && ok && got.Reason == g.Reason) || !tc.reads && !errors.Is(err, jit.ErrNewerLedger) {
						t.Errorf("%s: it read %t, %v", program, ok, err)
					}
					acquired, err := l.AcquireDue(t.Context(), jit.DueQuery{Owners: jit.Owners{g.Owner}, Now: now,
						Holder: program, Lease: time.Second, Limit: 1})
					now = now.Add(time.Minute)
					if tc.puts != (err == nil && len(acquired) == 1) || !tc.puts && !errors.Is(err, jit.ErrNewerLedger) {
						t.Errorf("%s: it acquired %d, %v", program, len(acquired), err)
					}
					err = put1(t, l, g)
					if tc.puts != (err == nil) || !tc.puts && !errors.Is(err, jit.ErrNewerLedger) {
						t.Errorf("%s: it wrote: %v", program, err)
					}
					if tc.puts {
						g.Version++
					}
					if tc.reads && !tc.puts && (err == nil || !strings.Contains(err.Error(), "can read this one but not write to it")) {
						t.Errorf("%s: %v", program, err)
					}
					if _, err := l.Accept(t.Context(), carol, "OPS-1", ""); tc.puts != (err == nil) {
						t.Errorf("%s: it accepted: %v", program, err)
					}
				}
				// The newer program goes on with what the older one wrote.
				if r, err := new.Verify(t.Context()); err != nil || !r.OK() {
					t.Errorf("afterwards %+v, %v", r, err)
				}
			})
		})
	}
}

// What a newer ledger permits is what it says, not what this program would say of its own.
func TestMigrationOfANewerLedger(t *testing.T) {
	onDatabases(t, func(t *testing.T, url string) {
		mine, newer := len(migrations), len(migrations)+1
		compatible[newer] = since{mine - 2, mine - 1}
		t.Cleanup(func() { delete(compatible, newer) })
		must(t, put1(t, opened(t, url), due1(t)))
		new := opened(t, url)
		new.migrations = later()
		must(t, new.Migrate(t.Context(), func(int) {}))
		m, err := opened(t, url).Migration(t.Context())
		if err != nil || m.From != newer || m.To != newer || m.ReadableSince != mine-2 || m.WritableSince != mine-1 {
			t.Errorf("%+v, %v", m, err)
		}
		db, err := new.db.writer(t.Context())
		must(t, err)
		_, err = db.ExecContext(t.Context(), "ALTER TABLE jit_ledger DROP COLUMN readable_since")
		must(t, err)
		_, err = opened(t, url).Policies(t.Context())
		var told *jit.Error
		if !errors.Is(err, jit.ErrNewerLedger) || !errors.As(err, &told) || told.Hint == "" {
			t.Errorf("without readable_since: %v", err)
		}
	})
}

// A program copies no tables that it does not know, even if it may read and write those that it knows.
func TestNoCopyOfANewerLedger(t *testing.T) {
	onDatabases(t, func(t *testing.T, url string) {
		mine, newer := len(migrations), len(migrations)+1
		compatible[newer] = since{mine, mine}
		t.Cleanup(func() { delete(compatible, newer) })
		l := opened(t, url)
		must(t, put1(t, l, due1(t)))
		new := opened(t, url)
		new.migrations = later()
		must(t, new.Migrate(t.Context(), func(int) {}))
		l.known.Store(nil) // a check is valid for a second
		to := opened(t, "sqlite://"+t.TempDir()+"/copy.db")
		_, err := l.CopyTo(t.Context(), to, func(int64) {})
		if !errors.Is(err, jit.ErrNewerLedger) {
			t.Errorf("a copy: %v, want ErrNewerLedger", err)
		}
		if id, err := to.ID(t.Context()); err != nil || id != "" {
			t.Errorf("there is a copy %q, %v", id, err)
		}
	})
}

// due1 returns a grant that ends.
func due1(t *testing.T) jit.Grant {
	t.Helper()
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	g := jit.Grant{Owner: "payments", Binding: jit.Binding{Target: "db", Principal: "alice", Role: "reader", Scope: "s"},
		Reason: "INC-1", Renewal: 1, TTL: jit.RecordedTTL("1h"), RequestedAt: start,
		Window: jit.Window{Start: start, End: start.Add(time.Hour)}}
	g.ID = jit.NewID(g.Owner, g.Binding, g.Reason, g.Renewal)
	return g
}

// put1 writes a grant, with the event that tells of it.
func put1(t *testing.T, l *Ledger, g jit.Grant) error {
	t.Helper()
	var was jit.Grant
	kind := jit.EventRequested
	if g.Version > 0 {
		was, kind = g, jit.EventGranted
		was.GrantedAt = time.Time{}
	}
	return l.Write(t.Context(), []jit.Entry{jit.Rewrite(was, g, jit.Event{Kind: kind, Grant: g.ID, Actor: carol})})[0]
}

// A migration that takes longer than a write may wait is left to `jit ledger migrate`, which has all the time.
func TestMigrationThatTakesLong(t *testing.T) {
	onDatabases(t, func(t *testing.T, url string) {
		old := opened(t, url)
		g := due1(t)
		must(t, put1(t, old, g))

		l := opened(t, url)
		l.migrations = later()
		ended, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		db, err := l.db.writer(t.Context())
		must(t, err)
		err = l.fail("write", l.migrateInWrite(ended, db))
		if err == nil || !strings.Contains(err.Error(), "jit ledger migrate") {
			t.Errorf("a write: %v", err)
		}
		m, err := l.Migration(t.Context())
		if want := (Migration{l.db.name(), len(migrations), len(migrations) + 1, len(migrations) + 1,
			len(migrations) + 1}); err != nil || m != want {
			t.Errorf("there is to do %+v, %v, want %+v", m, err, want)
		}
		var steps []int
		for range 2 { // the second time there is nothing to do
			must(t, l.Migrate(t.Context(), func(version int) { steps = append(steps, version) }))
		}
		if !slices.Equal(steps, []int{len(migrations) + 1}) {
			t.Errorf("steps %v", steps)
		}
		if m, err = l.Migration(t.Context()); err != nil || m.From != m.To {
			t.Errorf("afterwards there is to do %+v, %v", m, err)
		}
	})
}

// shuts matches a statement that keeps all readers of a table out of it until the commit, on PostgreSQL.
var shuts = regexp.MustCompile(`^(DROP|ALTER)`)

// Whoever reads waits for no long statement of a migration.
func TestMigrationsKeepNoReaderOut(t *testing.T) {
	url := testenv.Postgres(t).Database(t)
	for version := 15; version < len(migrations); version++ {
		db := olderLedger(t, url, version, nil)
		reader := opened(t, url+"&lock_timeout=5000")
		reads := func(after string) {
			t.Helper()
			for _, err := range reader.Grants(t.Context(), jit.Filter{Open: true}) {
				if err != nil {
					t.Fatalf("version %d, after %s: %v", version+1, after, err)
				}
			}
		}
		tx, err := db.BeginTx(t.Context(), &sql.TxOptions{})
		must(t, err)
		shut := ""
		for _, statement := range migrations[version] {
			if shut != "" && !shuts.MatchString(statement) {
				t.Errorf("version %d: %s comes after %s", version+1, statement, shut)
			}
			if _, err := tx.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(fmt.Errorf("%s: %w", statement, err))
			}
			if shuts.MatchString(statement) {
				shut = statement
			} else {
				reads(statement)
			}
		}
		must(t, tx.Rollback())
		reads("the end")
	}
}
