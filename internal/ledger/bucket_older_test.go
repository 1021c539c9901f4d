package ledger

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket/buckettest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// machine opens a ledger in a bucket with a copy of its own, with the schema of a program.
func machine(t *testing.T, url string, known [][]string) *Ledger {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	l := opened(t, url)
	l.migrations, l.db.(*inBucket).migrations = known, known
	return l
}

// beforeDue are the migrations of the last program without jit_due.
func beforeDue() [][]string { return migrations[:dueSchema-1] }

// olderWrite records a grant as programs without jit_due did: with due_at in its row.
func olderWrite(t *testing.T, l *Ledger, g jit.Grant) {
	t.Helper()
	columns := append(grantColumns[:len(grantColumns):len(grantColumns)], "due_at")
	must(t, l.db.(*inBucket).commit(t.Context(), g.Owner, func(tx *sql.Tx) error {
		return l.insert(t.Context(), tx, "jit_grants", columns, [][]any{append(grantRow(&g), instant(g.DueAt()))},
			" ON CONFLICT (id) DO UPDATE SET "+excluded(columns[1:]))
	}))
}

// olderLedgerIn makes a ledger without jit_due in a bucket, with the chain of one owner.
func olderLedgerIn(t *testing.T, url string) *Ledger {
	t.Helper()
	old := machine(t, url, beforeDue())
	db, err := old.db.writer(t.Context())
	must(t, err)
	must(t, old.migrate(t.Context(), db, func(int) {}))
	must(t, old.createChains(t.Context(), db, []string{"payments"}))
	return old
}

// wantDue checks which grants a machine acquires after their end.
func wantDue(t *testing.T, who string, l *Ledger, want int) {
	t.Helper()
	got, err := l.AcquireDue(t.Context(), jit.DueQuery{Owners: jit.Owners{"payments"}, Now: due1(t).End.Add(time.Hour),
		Holder: who, Lease: time.Nanosecond, Limit: 10})
	if err != nil || len(got) != want {
		t.Errorf("%s acquired %d grants, %v; want %d", who, len(got), err, want)
	}
}

// Access that older programs have recorded in a bucket ends, whoever migrates it and whenever they write.
func TestDueWorkOfOlderProgramsInABucket(t *testing.T) {
	start := func(t *testing.T) (string, *buckettest.Server) {
		s := buckettest.New(t)
		buckettest.Setenv(t)
		return s.Ledger("team/jit"), s
	}
	migrate := func(t *testing.T, url string) *Ledger {
		t.Helper()
		l := machine(t, url, migrations)
		must(t, l.Migrate(t.Context(), func(int) {}))
		return l
	}
	t.Run("migrated by a role that may not write the log of the owner", func(t *testing.T) {
		url, s := start(t)
		g := due1(t)
		g.Version = 1
		olderWrite(t, olderLedgerIn(t, url), g)
		s.Decide(func(operation, key string) buckettest.Fault {
			if operation == "create" && strings.Contains(key, "/payments/") {
				return buckettest.Fault{Status: 403, Code: "AccessDenied"}
			}
			return buckettest.Fault{}
		})
		migrate(t, url)
		s.Decide(nil)
		wantDue(t, "a new machine", machine(t, url, migrations), 1)
	})
	t.Run("written while another migrates", func(t *testing.T) {
		url, _ := start(t)
		old := olderLedgerIn(t, url)
		old.db.(*inBucket).fresh = time.Hour // it has just looked
		if _, err := old.Owners(t.Context()); err != nil {
			t.Fatal(err)
		}
		l := migrate(t, url)
		g := due1(t)
		g.Version = 1
		olderWrite(t, old, g)
		wantDue(t, "whoever migrated", l, 1)
		wantDue(t, "a new machine", machine(t, url, migrations), 1)
	})
	t.Run("ended before, and read after the migration", func(t *testing.T) {
		url, _ := start(t)
		old := olderLedgerIn(t, url)
		g := due1(t)
		g.Version, g.GrantedAt = 1, g.Start
		olderWrite(t, old, g)
		reader := machine(t, url, migrations)
		if got, ok, err := reader.Lookup(t.Context(), g.ID); err != nil || !ok || got.Version != 1 {
			t.Fatal(got, ok, err)
		}
		g.Version, g.EndedAt = 2, g.End
		olderWrite(t, old, g)
		l := migrate(t, url)
		must(t, reader.db.(*inBucket).renew(t.Context(), jit.AllChain)) // the logs may be read in any order
		wantDue(t, "a machine that knew the grant", reader, 0)
		g.Holder = -1
		must(t, put1(t, reader, g))
		for who, l := range map[string]*Ledger{"whoever migrated": l, "a new machine": machine(t, url, migrations)} {
			if got, ok, err := l.Lookup(t.Context(), g.ID); err != nil || !ok || got.Version != 3 {
				t.Errorf("%s reads %s: %v, %v", who, fmt.Sprint(got.Version), ok, err)
			}
		}
	})
}
