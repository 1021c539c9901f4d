package ledger_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

func open(t testing.TB, url string) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(context.Background(), ledger.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func sqliteURL(t testing.TB) string {
	return "sqlite://" + filepath.Join(t.TempDir(), "dir", "ledger.db")
}

// onEach runs a test on an empty ledger of every available database.
func onEach(t *testing.T, run func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { run(t, sqliteURL(t)) })
	t.Run("postgres", func(t *testing.T) { run(t, postgresURL(t)) })
}

// raw opens a ledger's database directly, as an attacker would.
func raw(t testing.TB, url string) *sql.DB {
	t.Helper()
	driver, source := "pgx", url
	if path, ok := strings.CutPrefix(url, "sqlite://"); ok {
		driver, source = "sqlite", path
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func run(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func write(t testing.TB, l *ledger.Ledger, entries ...jit.Entry) {
	t.Helper()
	for i, err := range l.Write(t.Context(), entries) {
		if err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
}

func verify(t *testing.T, l *ledger.Ledger) ledger.Report {
	t.Helper()
	r, err := l.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// uses returns the error of each way to use a ledger, by name.
func uses(t *testing.T, l *ledger.Ledger) map[string]error {
	t.Helper()
	errs := map[string]error{}
	_, _, errs["Lookup"] = l.Lookup(t.Context(), ledgertest.Grant(1).ID)
	for _, err := range l.Grants(t.Context(), jit.Filter{}) {
		errs["Grants"] = err
	}
	for _, err := range jit.AllEvents(t.Context(), l) {
		errs["Events"] = err
	}
	_, errs["Policies"] = l.Policies(t.Context())
	_, errs["Claim"] = l.AcquireDue(t.Context(),
		jit.DueQuery{Owners: jit.Owners{"payments"}, Now: ledgertest.Epoch, Holder: "a", Lease: 1, Limit: 1})
	_, errs["Verify"] = l.Verify(t.Context())
	errs["Write"] = l.Write(t.Context(), []jit.Entry{ledgertest.Entry(ledgertest.Grant(1000))})[0]
	return errs
}

// told fails the test unless err is a *jit.Error about the ledger with a hint and each of the words.
func told(t *testing.T, what string, err error, words ...string) {
	t.Helper()
	var e *jit.Error
	if !errors.As(err, &e) || e.Attribute != "ledger" || e.Hint == "" {
		t.Errorf("%s: %v (%T), want a *jit.Error about the ledger with a hint", what, err, err)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %q does not say %q", what, err, w)
		}
	}
}

func TestSQLite(t *testing.T) {
	ledgertest.Run(t, func(t *testing.T) jit.Ledger { return open(t, sqliteURL(t)) })
}

func TestPostgres(t *testing.T) {
	testenv.Acceptance(t)
	ledgertest.Run(t, func(t *testing.T) jit.Ledger { return open(t, postgresURL(t)) })
}

// TestPostgresThroughAPooler: PgBouncer in transaction mode gives the transactions of a process different sessions.
func TestPostgresThroughAPooler(t *testing.T) {
	testenv.Acceptance(t)
	server := testenv.Postgres(t)
	front, err := url.Parse(server.Pooler(t, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	ledgertest.Run(t, func(t *testing.T) jit.Ledger {
		database, err := url.Parse(server.Database(t))
		if err != nil {
			t.Fatal(err)
		}
		pooled := *front
		pooled.Path = database.Path
		return open(t, pooled.String())
	})
}

func postgresURL(t testing.TB) string {
	return testenv.Postgres(t).Database(t)
}

func TestNewerLedger(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		l := open(t, url)
		write(t, l, ledgertest.Entry(ledgertest.Grant(1)))
		run(t, raw(t, url), "UPDATE jit_ledger SET schema_version = 99, readable_since = 99, writable_since = 99")
		for use, err := range uses(t, l) {
			told(t, use, err, "99", "update")
			if !errors.Is(err, jit.ErrNewerLedger) {
				t.Errorf("%s: %v, want ErrNewerLedger", use, err)
			}
		}
	})
}

// TestMadeAtOnce lets many processes find an absent ledger and create it at the same moment.
func TestMadeAtOnce(t *testing.T) {
	for round := range 3 {
		t.Run(fmt.Sprint(round), func(t *testing.T) { onEach(t, makeAtOnce) })
	}
}

func makeAtOnce(t *testing.T, url string) {
	const writers = 10
	begin, errs := make(chan struct{}), make(chan error, writers)
	for n := range writers {
		l := open(t, url)
		if _, ok, err := l.Lookup(t.Context(), ledgertest.Grant(n).ID); ok || err != nil { // connects
			t.Fatal(ok, err)
		}
		go func() {
			<-begin
			errs <- l.Write(t.Context(), []jit.Entry{ledgertest.Entry(ledgertest.Grant(n))})[0]
		}()
	}
	close(begin)
	for range writers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if r := verify(t, open(t, url)); !r.OK() || r.Events != writers {
		t.Errorf("%d events, %v", r.Events, r.Damage)
	}
}

func TestHeadRemoved(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		l := open(t, url)
		write(t, l, ledgertest.Entry(ledgertest.Grant(1)))
		run(t, raw(t, url), "DELETE FROM jit_ledger")
		for use, err := range uses(t, l) {
			told(t, use, err, "head", "backup")
		}
	})
}

func TestClock(t *testing.T) {
	l, err := ledger.Open(t.Context(),
		ledger.Config{URL: sqliteURL(t), Now: func() time.Time { return ledgertest.Epoch }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	write(t, l, jit.Entry{Events: []jit.Event{{Kind: jit.EventDrift}}})
	for e, err := range jit.AllEvents(t.Context(), l) {
		if err != nil || !e.At.Equal(ledgertest.Epoch) {
			t.Errorf("recorded at %s, %v", e.At, err)
		}
	}
}

// An end whose row the database does not change is not recorded as done: the grant stays due, and no event says that it
// has ended.
func TestWriteThatTheDatabaseDrops(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		drop := []string{"CREATE TRIGGER dropped BEFORE UPDATE ON jit_grants BEGIN SELECT RAISE(IGNORE); END"}
		if strings.HasPrefix(url, "postgres") {
			drop = []string{"CREATE FUNCTION dropped() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
				"CREATE TRIGGER dropped BEFORE UPDATE ON jit_grants FOR EACH ROW EXECUTE FUNCTION dropped()"}
		}
		l, g := open(t, url), ledgertest.Grant(1)
		write(t, l, ledgertest.Entry(g), ledgertest.Entry(ledgertest.Grant(2)))
		run(t, raw(t, url), drop...)
		was, _, err := l.Lookup(t.Context(), g.ID)
		if err != nil {
			t.Fatal(err)
		}
		is := was
		is.EndedAt = is.End
		if err := l.Write(t.Context(), []jit.Entry{jit.Rewrite(was, is, ledgertest.Event(g.ID))})[0]; err == nil {
			t.Error("the write says that it was done")
		}
		if now, _, err := l.Lookup(t.Context(), g.ID); err != nil || now != was {
			t.Errorf("the record is %+v, %v", now, err)
		}
		n := 0
		for _, err := range jit.AllEvents(t.Context(), l) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 2 {
			t.Errorf("%d events, want 2", n)
		}
	})
}
