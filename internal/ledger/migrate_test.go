package ledger

import (
	"slices"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// TestUpgrade brings a ledger to a later schema, which many find outdated in the same moment
// and which a program that does not know it then leaves alone.
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
		return []jit.Entry{{Policy: &jit.Policy{Name: name, Effect: jit.Permit}, Events: []jit.Event{{Kind: jit.EventPolicyChanged}}}}
	}
	old := start(migrations)
	if err := old.Write(t.Context(), policy("a"))[0]; err != nil {
		t.Fatal(err)
	}
	// Without IF NOT EXISTS, it fails where it is applied twice.
	later := append(slices.Clone(migrations), []string{"ALTER TABLE jit_policies ADD COLUMN note TEXT", "CREATE TABLE jit_notes (id TEXT PRIMARY KEY)"})

	const writers = 8
	begin, errs := make(chan struct{}), make(chan error, writers)
	for n := range writers {
		l := start(later)
		if all, err := l.Policies(t.Context()); err != nil || len(all) != 1 { // an older ledger is read as it is
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
	if _, err := queryGrants(t.Context(), db, selectGrant+" WHERE id IN (SELECT note FROM jit_policies) OR id IN (SELECT id FROM jit_notes)", nil); err != nil {
		t.Error(err)
	}
	if _, err := old.Policies(t.Context()); err == nil {
		t.Error("a program reads a ledger that it does not know")
	}
}
