package ledger_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket/buckettest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

// recordIn fills a ledger with what a copy takes along: grants of two owners, more of one than a page has, a policy, a
// person, a claim and how far notices were delivered.
func recordIn(t *testing.T, l *ledger.Ledger) {
	t.Helper()
	theirs := ledgertest.Of("other", 5000)
	entries := []jit.Entry{ledgertest.Entry(theirs),
		{Policy: &jit.Policy{Name: "p", Effect: jit.Permit}, Events: []jit.Event{
			{Kind: jit.EventPolicyChanged, Policy: "p", At: ledgertest.Epoch}}},
		{Person: &jit.Person{Name: "lea"}, Events: []jit.Event{{Kind: jit.EventPersonChanged, At: ledgertest.Epoch}}}}
	for n := range 1100 {
		entries = append(entries, ledgertest.Entry(ledgertest.Grant(n)))
	}
	if err := errors.Join(l.Write(t.Context(), entries)...); err != nil {
		t.Fatal(err)
	}
	claims := []jit.Claim{ledgertest.Claim(1, "x")}
	if _, err := l.Claims().Update(t.Context(), "here", "there", 0, claims, nil); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if _, _, err := l.Leases().Acquire(t.Context(), "notice", "me", now, now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := l.Leases().Release(t.Context(), "notice", "me", 42); err != nil {
		t.Fatal(err)
	}
}

// facts is all that a copy takes along.
func facts(t *testing.T, l *ledger.Ledger) (all []any) {
	t.Helper()
	i, err := l.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, i.ID, i.Root, i.Chains, i.Events)
	for g, err := range l.Grants(t.Context(), jit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, g)
	}
	for e, err := range jit.AllEvents(t.Context(), l) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	policies, err1 := l.Policies(t.Context())
	persons, err2 := l.Persons(t.Context())
	set, err3 := l.Claims().ReadClaims(t.Context(), "here", "there")
	position, _, _, err4 := l.Leases().Holder(t.Context(), "notice")
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	return append(all, policies, persons, set, position)
}

// copied copies a ledger and compares the copy with it.
func copied(t *testing.T, from *ledger.Ledger, to string) *ledger.Ledger {
	t.Helper()
	l := open(t, to)
	var rows int64
	c, err := from.CopyTo(t.Context(), l, func(n int64) { rows = n })
	if err != nil {
		t.Fatalf("to %s: %v", to, err)
	}
	if c.Grants != 1101 || c.Events != 1103 || rows < 2204 {
		t.Errorf("%+v, %d rows", c, rows)
	}
	want := facts(t, from)
	for name, l := range map[string]*ledger.Ledger{"at once": l, "opened anew": open(t, to)} {
		got := facts(t, l)
		if len(got) != len(want) {
			t.Fatalf("%s, %s: %d facts, want %d", to, name, len(got), len(want))
		}
		for i := range want {
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Fatalf("%s, %s: %+v\nwant %+v", to, name, got[i], want[i])
			}
		}
	}
	if err := writeGrant(t, l, 7); !errors.Is(err, jit.ErrStale) {
		t.Errorf("%s: a grant once more: %v, want ErrStale", to, err)
	}
	return l
}

// A ledger goes from a file to a bucket, to a database, to another bucket and to a file, and then has the same record.
// It can be written there.
func TestCopy(t *testing.T) {
	url, s := bucketURL(t)
	s.Page(3)
	l := open(t, sqliteURL(t))
	recordIn(t, l)
	steps := []string{url, sqliteURL(t)}
	t.Run("postgres", func(t *testing.T) { copied(t, copied(t, l, postgresURL(t)), s.Ledger("from/postgres")) })
	for _, to := range append(steps, s.Ledger("another"), sqliteURL(t)) {
		l = copied(t, l, to)
	}
	for _, n := range []int{2000, 2001} {
		if err := writeGrant(t, l, n); err != nil {
			t.Error(err)
		}
	}
	for _, to := range []string{url, steps[1]} {
		before := len(s.Keys())
		_, err := l.CopyTo(t.Context(), open(t, to), func(int64) {})
		told(t, to, err, "is not empty")
		if !errors.Is(err, jit.ErrInvalid) || len(s.Keys()) != before {
			t.Errorf("%v; the objects are %v", err, s.Keys())
		}
	}
	_, err := open(t, sqliteURL(t)).CopyTo(t.Context(), open(t, s.Ledger("new")), func(int64) {})
	told(t, "nothing", err, "there is no ledger")
	if slices.ContainsFunc(s.Keys(), func(key string) bool { return strings.HasPrefix(key, "new/") }) {
		t.Errorf("of nothing there is a copy: %v", s.Keys())
	}
}

// A copy leaves out what it names, and nothing else: a new table has to be added to one or the other.
func TestCopyKnowsAllTables(t *testing.T) {
	url := sqliteURL(t)
	if err := writeGrant(t, open(t, url), 1); err != nil {
		t.Fatal(err)
	}
	var tables []string
	rows, err := raw(t, url).QueryContext(t.Context(),
		"SELECT name FROM sqlite_master WHERE name LIKE 'jit%' AND type = 'table'")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, name)
	}
	known := append(slices.Clone(ledger.CopiedTables), "jit_sweeps")
	slices.Sort(tables)
	slices.Sort(known)
	if err := rows.Err(); err != nil || !slices.Equal(tables, known) {
		t.Errorf("the tables are %v, %v; a copy knows %v", tables, err, known)
	}
}

// What is wrong with the record is wrong with the copy too, and said.
func TestCopyOfAForgedRecord(t *testing.T) {
	from := sqliteURL(t)
	l := open(t, from)
	if err := errors.Join(writeGrant(t, l, 1), writeGrant(t, l, 2)); err != nil {
		t.Fatal(err)
	}
	run(t, raw(t, from), "UPDATE jit_grants SET expires_at = expires_at + 1 WHERE id = '"+
		string(ledgertest.Grant(1).ID)+"'")
	url, _ := bucketURL(t)
	for _, to := range []string{sqliteURL(t), url} {
		c, err := l.CopyTo(t.Context(), open(t, to), func(int64) {})
		if err != nil || c.Mismatches != 1 || c.Grants != 2 {
			t.Errorf("to %s: %+v, %v, want one mismatch", to, c, err)
		}
	}
	run(t, raw(t, from), "UPDATE jit_log SET actor = 'another' WHERE seq = 1")
	_, err := l.CopyTo(t.Context(), open(t, sqliteURL(t)), func(int64) {})
	told(t, "a forged event", err, "is damaged", "edited")
	url, _ = bucketURL(t)
	_, err = l.CopyTo(t.Context(), open(t, url), func(int64) {})
	told(t, "a forged event, to a bucket", err, "differ from their hashes")
}

// Due work without a grant is no reason to refuse a copy: it is left out and counted.
func TestCopyWithDueWorkWithoutAGrant(t *testing.T) {
	from := sqliteURL(t)
	l := open(t, from)
	if err := errors.Join(writeGrant(t, l, 1), writeGrant(t, l, 2)); err != nil {
		t.Fatal(err)
	}
	run(t, raw(t, from), "DELETE FROM jit_grants WHERE id = '"+string(ledgertest.Grant(1).ID)+"'")
	url, _ := bucketURL(t)
	for _, to := range []string{sqliteURL(t), url} {
		c, err := l.CopyTo(t.Context(), open(t, to), func(int64) {})
		if err != nil || c.Grants != 1 || c.LeftOut != 1 {
			t.Errorf("to %s: %+v, %v, want the grant that is left", to, c, err)
		}
	}
}

// A copy has the due work without the leases of sweepers: those of the copy need not wait for them.
func TestCopyWithoutLeasesOfDueWork(t *testing.T) {
	url, _ := bucketURL(t)
	for name, from := range map[string]string{"a file": sqliteURL(t), "a bucket": url} {
		l := open(t, from)
		if err := writeGrant(t, l, 1); err != nil {
			t.Fatal(err)
		}
		q := jit.DueQuery{Now: ledgertest.Grant(1).End, Holder: "old", Lease: time.Minute, Limit: 1}
		if due, err := l.AcquireDue(t.Context(), q); err != nil || len(due) != 1 {
			t.Fatal(due, err)
		}
		q.Holder = "new"
		copies := buckettest.New(t)
		for _, to := range []string{sqliteURL(t), copies.Ledger("copy")} {
			c := open(t, to)
			if _, err := l.CopyTo(t.Context(), c, func(int64) {}); err != nil {
				t.Fatal(err)
			}
			if due, err := c.AcquireDue(t.Context(), q); err != nil || len(due) != 1 {
				t.Errorf("from %s to %s: %d grants are due, %v", name, to, len(due), err)
			}
		}
	}
}

// Nobody takes half a copy for a ledger, wherever it was interrupted.
func TestInterruptedCopy(t *testing.T) {
	for name, record := range map[string]func(*testing.T, *ledger.Ledger){
		"of owners": recordIn, "of policies": policiesIn,
	} {
		t.Run(name, func(t *testing.T) {
			url, s := bucketURL(t)
			l := open(t, sqliteURL(t))
			record(t, l)
			interrupted(t, l, url, s)
		})
	}
}

// policiesIn fills a ledger that has no owner yet.
func policiesIn(t *testing.T, l *ledger.Ledger) {
	t.Helper()
	var entries []jit.Entry
	for n := range 1100 {
		name := fmt.Sprint("p", n)
		entries = append(entries, jit.Entry{Policy: &jit.Policy{Name: name, Effect: jit.Permit}, Events: []jit.Event{
			{Kind: jit.EventPolicyChanged, Policy: name, At: ledgertest.Epoch}}})
	}
	if err := errors.Join(l.Write(t.Context(), entries)...); err != nil {
		t.Fatal(err)
	}
}

func interrupted(t *testing.T, l *ledger.Ledger, url string, s *buckettest.Server) {
	t.Helper()
	whole := open(t, url)
	if _, err := l.CopyTo(t.Context(), whole, func(int64) {}); err != nil {
		t.Fatal(err)
	}
	objects := len(s.Keys())
	if objects < 4 {
		t.Fatalf("the objects are %v", s.Keys())
	}
	for n := 1; n < objects; n++ {
		to := s.Ledger(fmt.Sprint("half-", n))
		var left atomic.Int64
		left.Store(int64(n))
		s.Decide(func(operation, key string) buckettest.Fault {
			if operation == "create" && s.Object(key) == nil && left.Add(-1) < 0 {
				return buckettest.Fault{Status: 403, Code: "AccessDenied"}
			}
			return buckettest.Fault{}
		})
		_, err := l.CopyTo(t.Context(), open(t, to), func(int64) {})
		told(t, to, err, "may not create")
		s.Decide(nil)
		half := onMachine(t, to)
		_, _, err = half.Lookup(t.Context(), ledgertest.Grant(1).ID)
		told(t, "a reader", err, "is missing")
		told(t, "a writer", writeGrant(t, half, 3), "is missing")
		_, err = l.CopyTo(t.Context(), onMachine(t, to), func(int64) {})
		told(t, "another copy", err, "a copy that was interrupted", "copy to another prefix")
	}
	s.Decide(func(string, string) buckettest.Fault { return buckettest.Fault{Ignore: true} })
	_, err := l.CopyTo(t.Context(), open(t, s.Ledger("overwrites")), func(int64) {})
	told(t, "a store that overwrites", err, "only if they are absent")
}
