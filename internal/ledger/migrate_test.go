package ledger

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	h, err := l.state(t.Context(), db)
	if err != nil || h.schema != len(later) || h.all().seq != writers+1 {
		t.Fatalf("%+v, %v", h, err)
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

// olderLedger makes a ledger of an older schema, with events in its one chain, and returns a connection. It writes as
// the programs of that time did.
func olderLedger(t *testing.T, url string, version int, events []jit.Event) *sql.DB {
	t.Helper()
	old, err := Open(t.Context(), Config{URL: url})
	must(t, err)
	t.Cleanup(func() { _ = old.Close() })
	old.migrations = migrations[:version]
	db, err := old.db.writer(t.Context())
	must(t, err)
	must(t, old.migrate(t.Context(), db, func(int) {}))
	h, err := old.head(t.Context(), db, "")
	must(t, err)
	must(t, inTx(t.Context(), db, &old.write, func(tx *sql.Tx) error {
		var rows [][]any
		for _, e := range events {
			h.seq++
			e.Seq, e.Prev = h.seq, h.hash
			e.Hash = e.Sum()
			h.hash = e.Hash
			rows = append(rows, []any{e.Seq, e.At.UnixMicro(), string(e.Kind), string(e.Grant), e.Policy, e.Name, e.Change,
				string(e.Source), detail(e.Detail), e.Prev, e.Hash})
		}
		columns := []string{"seq", "recorded_at", "kind", "grant_id", "policy", "actor", "change_ref", "source", "detail",
			"prev", "hash"}
		if err := old.insert(t.Context(), tx, oldTable, columns, rows, ""); err != nil {
			return err
		}
		_, err := tx.ExecContext(t.Context(), "UPDATE jit_ledger SET head_seq = $1, head_hash = $2", h.seq, h.hash)
		return err
	}))
	return db
}

// The one chain of a ledger from before there were several is the beginning of the chain of all: it stays as it is, is
// still checked, and heads that states and files remember are still known. The chains of owners begin beside it.
func TestOneChainBecomesMany(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { becomeMany(t, "sqlite://"+t.TempDir()+"/ledger.db") })
	t.Run("postgres", func(t *testing.T) { becomeMany(t, testenv.Postgres(t).Database(t)) })
}

func becomeMany(t *testing.T, url string) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	id := jit.NewID("payments", jit.Binding{Target: "t"}, "why", 1)
	p := jit.Policy{Name: "oncall", Effect: jit.Permit}
	var old []jit.Event
	for n := range 2 * pageSize / 3 {
		old = append(old,
			jit.Event{Kind: jit.EventDrift, Grant: id, At: at.Add(time.Duration(n) * time.Second), Actor: carol},
			jit.Event{Kind: jit.EventPolicyChanged, Policy: p.Name, At: at, Actor: carol, Detail: p.Facts()})
	}
	last := int64(len(old))
	db := olderLedger(t, url, chainsSchema-1, old)
	_, err := db.ExecContext(t.Context(), "INSERT INTO jit_policies (name, body) VALUES ('oncall', '"+body(t, p)+"')")
	must(t, err)
	l := opened(t, url)
	before, err := l.Verify(t.Context())
	if err != nil || !before.OK() || before.Events != last || len(before.Chains) != 1 || before.Chains[0].Seq != last {
		t.Fatalf("before: %+v, %v", before, err)
	}
	must(t, l.Recall(t.Context()))
	heads := l.Heads("payments")
	if len(heads) != 1 || heads[0].Chain != jit.AllChain || heads[0].Seq != last {
		t.Fatalf("heads %+v", heads)
	}
	asBefore := heads[0] // as an older program wrote it
	asBefore.Chain = ""
	text, err := json.Marshal(asBefore)
	must(t, err)

	entry := func(kind jit.EventKind, owner string) jit.Entry {
		return jit.Entry{Events: []jit.Event{{Kind: kind, Grant: id, At: at, Actor: carol}}, Owner: owner}
	}
	dropped := jit.Event{Kind: jit.EventPolicyRemoved, Policy: "x", At: at, Actor: carol}
	for _, err := range l.Write(t.Context(), []jit.Entry{
		entry(jit.EventDrift, "payments"), {DropPolicy: "x", Events: []jit.Event{dropped}},
		entry(jit.EventRepaired, "payments"),
	}) {
		must(t, err)
	}
	after, err := l.Verify(t.Context())
	if err != nil || !after.OK() || after.Events != last+3 || len(after.Chains) != 2 ||
		after.Chains[0].Seq != last+1 || after.Chains[1].Seq != 2 {
		t.Fatalf("after: %+v, %v", after, err)
	}
	var seqs, ofGrant []string
	for e, err := range l.Events(t.Context(), jit.AllChain, last-1) {
		must(t, err)
		seqs = append(seqs, e.UID()[:len(e.UID())-13])
	}
	want := []string{fmt.Sprint(last - 1), fmt.Sprint(last), fmt.Sprintf("_all/%d", last+1)}
	if !slices.Equal(seqs, want) {
		t.Errorf("events %q, want %q", seqs, want)
	}
	for e, err := range l.EventsOf(t.Context(), []jit.ID{id}) {
		must(t, err)
		ofGrant = append(ofGrant, e.Place())
	}
	if n := len(ofGrant); n != len(old)/2+2 || ofGrant[n-3] != fmt.Sprintf("_all/%d", last-1) ||
		ofGrant[n-1] != "payments/2" {
		t.Errorf("%d events of the grant, the last are %q", n, ofGrant[max(0, n-3):])
	}
	for e, err := range l.Events(t.Context(), "payments", 1) {
		must(t, err)
		if want := map[int64]int64{1: last, 2: last + 1}[e.Seq]; e.After != want {
			t.Errorf("%s is after %d, want %d", e.Place(), e.After, want)
		}
	}
	if got, err := l.FirstEvent(t.Context(), jit.AllChain, at.Add(time.Hour)); err != nil || got != last+2 {
		t.Errorf("the next event is %d, %v; want %d", got, err, last+2)
	}
	// A state of an older program, and one whose head never was.
	fresh := opened(t, url)
	must(t, fresh.Recall(t.Context(), jit.ParseHeads(text)...))
	asBefore.Hash = "x"
	if err := fresh.Recall(t.Context(), asBefore); !errors.Is(err, jit.ErrStateAhead) {
		t.Errorf("a head that never was: %v", err)
	}
	// Events in the wrong table.
	for _, move := range []string{
		"INSERT INTO jit_log SELECT '_all', seq, recorded_at, kind, grant_id, policy, actor, change_ref, source, " +
			"detail, 0, prev, hash FROM jit_events WHERE seq = 3",
		fmt.Sprintf("UPDATE jit_events SET seq = %d WHERE seq = %d", last+1, last),
	} {
		_, err = db.ExecContext(t.Context(), move)
		must(t, err)
		if r, err := l.Verify(t.Context()); err != nil || r.OK() || r.Damage[0].Chain != jit.AllChain {
			t.Errorf("%s: %+v, %v", move, r.Damage, err)
		}
	}
}

func body(t *testing.T, of any) string {
	t.Helper()
	text, err := json.Marshal(of)
	must(t, err)
	return string(text)
}

// TestReadsAnOlderLedger reads grants in an older ledger, and then acquires them. Reading migrates nothing.
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
	db := olderLedger(t, url, 1, []jit.Event{{Kind: jit.EventPolicyRemoved, Policy: "a", At: time.UnixMicro(1)}})
	const id = "3f2b8c1e-0000-8000-8000-00000000abcd"
	if _, err := db.ExecContext(t.Context(), `INSERT INTO jit_grants (id, owner, target, principal, role, scope, reason, renewal, ttl, starts_at, expires_at,
		policy, terminate_sessions, enforcement, session_tail, requested_at, revoked_by, revoke_reason, holder, version, due_at)
		VALUES ('`+id+`', 'jit', 't', 'p', 'r', 's', 'why', 1, '1m', 1000000, 61000000, '', 0, 'native', 0, 1000000, '', '', 1, 1, 61000000)`); err != nil {
		t.Fatal(err)
	}

	l := open()
	n := 0
	for e, err := range jit.AllEvents(t.Context(), l) {
		must(t, err)
		if n++; e.Place() != "_all/1" || e.Chain != "" || e.Policy != "a" {
			t.Errorf("event %+v", e)
		}
	}
	if n != 1 {
		t.Errorf("%d events, want 1", n)
	}
	g, ok, err := l.Lookup(t.Context(), id)
	if err != nil || !ok || g.NoStandingBefore || g.Principal != "p" {
		t.Fatalf("Lookup = %+v, %t, %v", g, ok, err)
	}
	for _, err := range l.Grants(t.Context(), jit.Filter{Target: "t"}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	now := g.End.Add(-time.Minute)
	for name, f := range map[string]jit.Filter{"open": {Open: true}, "due": {DueBy: g.End}} {
		n := 0
		for open, err := range l.Grants(t.Context(), f) {
			must(t, err)
			if n++; open.ID != id {
				t.Errorf("%s: %+v", name, open)
			}
		}
		if n != 1 {
			t.Errorf("%d grants are %s, want 1", n, name)
		}
	}
	if at, err := l.NextDue(t.Context(), nil, now); err != nil || !at.Equal(g.End) {
		t.Errorf("NextDue = %v, %v, want %v", at, err, g.End)
	}
	if places, err := l.Places(t.Context(), nil, now); err != nil || !slices.Equal(places, []jit.Place{{Target: "t", Scope: "s"}}) {
		t.Errorf("Places = %v, %v", places, err)
	}
	counts, err := l.Counts(t.Context(), nil, now)
	if err != nil || len(counts) != 1 || counts[0].Live+counts[0].Waiting != 1 {
		t.Errorf("Counts = %+v, %v", counts, err)
	}
	if db, err = l.read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h, err := l.head(t.Context(), db, ""); err != nil || h.schema != 1 {
		t.Fatalf("reading migrated to version %d, %v", h.schema, err)
	}
	claimed, err := l.AcquireDue(t.Context(),
		jit.DueQuery{Owners: jit.Owners{"jit"}, Now: g.End, Holder: "me", Lease: time.Minute, Limit: 1})
	if err != nil || len(claimed) != 1 || claimed[0].ID != id {
		t.Fatalf("AcquireDue = %+v, %v", claimed, err)
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

// A migration that breaks off at any statement leaves the ledger as it was: it reads, verifies and takes the events of
// older programs, and the next start migrates it.
func TestMigrationBreaksOff(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { breaksOff(t, "sqlite://"+t.TempDir()+"/ledger.db") })
	t.Run("postgres", func(t *testing.T) { breaksOff(t, testenv.Postgres(t).Database(t)) })
}

func breaksOff(t *testing.T, url string) {
	const older = chainsSchema - 1
	one := []jit.Event{{Kind: jit.EventDrift, At: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), Actor: carol}}
	step := migrations[older]
	for n := range len(step) + 1 {
		olderLedger(t, url, older, one)
		l := opened(t, url)
		l.migrations = append(slices.Clone(migrations[:older]), append(slices.Clone(step[:n]), "SELECT broken"))
		db, err := l.db.writer(t.Context())
		must(t, err)
		if err := l.migrate(t.Context(), db, func(int) {}); err == nil || !strings.Contains(err.Error(), "broken") {
			t.Fatalf("after %d statements: %v", n, err)
		}
		fresh := opened(t, url)
		r, err := fresh.Verify(t.Context())
		if err != nil || !r.OK() || r.Events != int64(n)+1 {
			t.Fatalf("after %d statements: %+v, %v", n, r, err)
		}
		if i, err := fresh.Info(t.Context()); err != nil || i.Schema != older {
			t.Fatalf("after %d statements: schema %d, %v", n, i.Schema, err)
		}
	}
	l := opened(t, url)
	dropped := jit.Entry{DropPolicy: "x", Events: []jit.Event{{Kind: jit.EventPolicyRemoved, Policy: "x"}}}
	must(t, l.Write(t.Context(), []jit.Entry{dropped})[0])
	if r, err := l.Verify(t.Context()); err != nil || !r.OK() || r.Events != int64(len(step))+2 {
		t.Fatalf("in the end: %+v, %v", r, err)
	}
}
