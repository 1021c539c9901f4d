package ledger

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// TestUpgrade upgrades a ledger to a later schema. Several programs find it outdated at once. Afterwards, a program
// without the new schema refuses it.
func TestUpgrade(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { upgrade(t, "sqlite://"+t.TempDir()+"/ledger.db") })
	t.Run("postgres", func(t *testing.T) { upgrade(t, testenv.Postgres(t).Database(t)) })
}

func upgrade(t *testing.T, url string) {
	start := func(known [][]string) *Ledger {
		t.Helper()
		l, err := Open(t.Context(), Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		l.migrations = known
		return l
	}
	policy := func(name string) []jit.Entry {
		return []jit.Entry{
			{Policy: &jit.Policy{Name: name, Effect: jit.Permit}, Events: []jit.Event{{Kind: jit.EventPolicyChanged}}},
		}
	}
	old := start(migrations)
	if err := old.Write(t.Context(), policy("a"))[0]; err != nil {
		t.Fatal(err)
	}
	// Without IF NOT EXISTS, a second application fails.
	later := append(slices.Clone(migrations),
		[]string{"ALTER TABLE jit_policies ADD COLUMN note TEXT", "CREATE TABLE jit_notes (id TEXT PRIMARY KEY)"})

	const writers = 8
	begin, errs := make(chan struct{}), make(chan error, writers)
	for n := range writers {
		l := start(later)
		if all, err := l.Policies(t.Context()); err != nil || len(all) != 1 { // reading does not migrate
			t.Fatal(all, err)
		}
		go func() {
			<-begin
			errs <- l.Write(t.Context(), policy(string(rune('b'+n))))[0]
		}()
	}
	reader := start(later)
	db, err := reader.read(t.Context())
	if err != nil || db == nil {
		t.Fatal(db, err)
	}
	if h, err := reader.head(t.Context(), db, ""); err != nil || h.schema != len(migrations) {
		t.Fatalf("reading migrated to version %d, %v", h.schema, err)
	}
	close(begin)
	for range writers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	l := start(later)
	if db, err = l.read(t.Context()); err != nil {
		t.Fatal(err)
	}
	h, err := l.head(t.Context(), db, "")
	if err != nil || h.schema != len(later) || h.seq != writers+1 {
		t.Fatalf("version %d, %d events, %v", h.schema, h.seq, err)
	}
	both := " WHERE id IN (SELECT note FROM jit_policies) OR id IN (SELECT id FROM jit_notes)"
	if _, err := collect(t.Context(), db, readGrant, l.selectGrant()+both); err != nil {
		t.Error(err)
	}
	if _, err := old.Policies(t.Context()); err == nil {
		t.Error("the older program reads a newer schema")
	}
}

// Of two processes that create the same tables at once, one gets one of three errors, depending on the other's
// progress.
func TestTablesThatAnotherProcessHasJustCreated(t *testing.T) {
	for code, want := range map[string]bool{"42P07": true, "42710": true, "23505": true, "42501": false, "42601": false} {
		if got := (&postgres{}).exists(fmt.Errorf("make the tables: %w", &pgconn.PgError{Code: code})); got != want {
			t.Errorf("%s: %t, want %t", code, got, want)
		}
	}
}

// TestReadsAnOlderLedger reads and claims grants in an older ledger. It is not migrated before the first write.
func TestReadsAnOlderLedger(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { readOlder(t, "sqlite://"+t.TempDir()+"/ledger.db") })
	t.Run("postgres", func(t *testing.T) { readOlder(t, testenv.Postgres(t).Database(t)) })
}

func readOlder(t *testing.T, url string) {
	open := func() *Ledger {
		t.Helper()
		l, err := Open(t.Context(), Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	old := open()
	old.migrations = migrations[:1]
	if err := old.Write(t.Context(), []jit.Entry{{Policy: &jit.Policy{Name: "a", Effect: jit.Permit}, Events: []jit.Event{{Kind: jit.EventPolicyChanged}}}})[0]; err != nil {
		t.Fatal(err)
	}
	db, err := old.db.writer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const id = "3f2b8c1e-0000-8000-8000-00000000abcd"
	if _, err := db.ExecContext(t.Context(), `INSERT INTO jit_grants (id, owner, target, principal, role, scope, reason, renewal, ttl, starts_at, expires_at,
		policy, terminate_sessions, enforcement, session_tail, requested_at, revoked_by, revoke_reason, holder, version, due_at)
		VALUES ('`+id+`', 'jit', 't', 'p', 'r', 's', 'why', 1, '1m', 1000000, 61000000, '', 0, 'native', 0, 1000000, '', '', 1, 1, 61000000)`); err != nil {
		t.Fatal(err)
	}

	l := open()
	g, ok, err := l.Lookup(t.Context(), id)
	if err != nil || !ok || g.NoStandingBefore || g.Principal != "p" {
		t.Fatalf("Lookup = %+v, %t, %v", g, ok, err)
	}
	for _, err := range l.Grants(t.Context(), jit.Filter{Target: "t"}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	claimed, err := l.AcquireDue(t.Context(),
		jit.DueQuery{Owners: jit.Owners{"jit"}, Now: g.End, Holder: "me", Lease: time.Minute, Limit: 1})
	if err != nil || len(claimed) != 1 {
		t.Fatalf("Claim = %+v, %v", claimed, err)
	}
	if db, err = l.read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h, err := l.head(t.Context(), db, ""); err != nil || h.schema != 1 {
		t.Fatalf("reading migrated to version %d, %v", h.schema, err)
	}
	g.NoStandingBefore = true
	if err := l.Write(t.Context(), []jit.Entry{{Grant: &g, Events: []jit.Event{{Kind: jit.EventGranted, Grant: g.ID}}}})[0]; err != nil {
		t.Fatal(err)
	}
	for _, l := range []*Ledger{l, open()} {
		if g, ok, err = l.Lookup(t.Context(), id); err != nil || !ok || !g.NoStandingBefore {
			t.Errorf("after a write Lookup = %+v, %t, %v", g, ok, err)
		}
	}
}
