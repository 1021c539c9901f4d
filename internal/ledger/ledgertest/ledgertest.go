// Package ledgertest is the conformance suite of [jit.Ledger]: every store runs it.
package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Run checks a store. open returns a new, empty ledger that does not exist yet and lives as long as the test.
func Run(t *testing.T, open func(t *testing.T) jit.Ledger) {
	for _, c := range []struct {
		name string
		test func(*testing.T, jit.Ledger)
	}{
		{"an absent ledger is empty", testAbsent},
		{"a grant reads back as written", testRoundTrip},
		{"every change of a grant is kept", testChanged},
		{"a stale entry fails alone", testStale},
		{"entries of one write see each other", testSameGrantTwice},
		{"an entry has one subject", testOneSubject},
		{"policies", testPolicies},
		{"persons", testPersons},
		{"changes of policies and persons", testRules},
		{"one unsigned grant of a requester", testOnlyUnsigned},
		{"filters", testFilters},
		{"many grants stream in order", testPages},
		{"concurrent lookups", testLookups},
		{"concurrent writes", testWriters},
		{"events form a chain", testEvents},
		{"a chain an owner", testChains},
		{"a record makes way", testYields},
		{"many owners write at once", testManyOwners},
		{"dedup keys", testDedup},
		{"dedup keys of concurrent writers", testDedupConcurrent},
		{"broken characters are recorded", testBrokenText},
		{"a cancelled context", testCancelled},
		{"due grants", testAcquireDue},
		{"leases of due grants", testDueLease},
		{"due grants scope by scope", testDueScopes},
		{"due grants and many sweepers", testDueConcurrent},
		{"the next due grant", testNextDue},
		{"places", testPlaces},
		{"counts", testCounts},
		{"owners", testOwners},
		{"due work of several owners", testDueOwners},
		{"sweeps", testSweeps},
		{"the first event since a time", testFirstEvent},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func testAbsent(t *testing.T, l jit.Ledger) {
	if _, ok, err := l.Lookup(t.Context(), Grant(1).ID); ok || err != nil {
		t.Errorf("Lookup = %v, %v", ok, err)
	}
	if got := list(t, l, jit.Filter{}); len(got) != 0 {
		t.Errorf("Grants = %v", got)
	}
	if got, err := l.Policies(t.Context()); len(got) != 0 || err != nil {
		t.Errorf("Policies = %v, %v", got, err)
	}
	if got := everything(t, l); len(got) != 0 {
		t.Errorf("Events = %v", got)
	}
	q := jit.DueQuery{Owners: jit.Owners{"payments"}, Now: Epoch, Holder: "a", Lease: time.Minute, Limit: 10}
	if got, err := l.AcquireDue(t.Context(), q); len(got) != 0 || err != nil {
		t.Errorf("Claim = %v, %v", got, err)
	}
	if errs := l.Write(t.Context(), nil); len(errs) != 0 {
		t.Errorf("Write of nothing = %v", errs)
	}
}

func testRoundTrip(t *testing.T, l jit.Ledger) {
	full := Grant(1)
	full.Renewal, full.Policy, full.TerminateSessions, full.Holder, full.NoStandingBefore = 3, "prod-oncall", true, 7, true
	full.StartBy = Epoch.Add(10 * time.Minute)
	full.Enforcement, full.SessionTail = jit.Sweeper, 90*time.Minute
	full.RequestedAt = Epoch.Add(123456 * time.Microsecond)
	full.FailedAt, full.Failure = Epoch.Add(2*time.Second), "no such role"
	full.RevokedAt, full.RevokedBy, full.RevokeReason = Epoch.Add(3*time.Second), "bob", `done; "really" <b>ä</b>`
	full.PrincipalName, full.StartAsked, full.Requester = "alice@laptop", jit.StartAsked(Epoch), "Alice Smith"
	full.EndedAt, full.Remains = Epoch.Add(4*time.Second), `role "jit:…" cannot be dropped`
	bare := jit.Grant{ID: Grant(2).ID}
	full = Fit(full)
	for _, g := range []jit.Grant{full, Grant(3), bare} {
		write(t, l, Entry(g))
		g.Version = 1
		if got := read(t, l, g.ID); !reflect.DeepEqual(got, g) {
			t.Errorf("read back\n%+v\nwant\n%+v", got, g)
		}
	}
	g := read(t, l, full.ID)
	g.RevokeReason, g.EndedAt = "changed", time.Time{}
	write(t, l, Entry(g))
	g.Version = 2
	if got := read(t, l, g.ID); !reflect.DeepEqual(got, g) {
		t.Errorf("after a change\n%+v\nwant\n%+v", got, g)
	}
}

// testChanged changes a grant in one way after the other, and in two ways with one write.
func testChanged(t *testing.T, l jit.Ledger) {
	g := Grant(1)
	g.Reason, g.Renewal = "", 0 // so any facts fit the id
	write(t, l, Entry(g))
	changes := []func(){
		func() { g.Policy = "changed" },
		func() { g.End = g.End.Add(time.Hour) },
		func() { g.RevokedAt, g.RevokedBy = g.End.Add(-time.Minute), "bob" },
		func() { g.Target = "changed" },
		func() { g.Principal = "user:changed@example.com" },
		func() { g.Role = "changed" },
		func() { g.Scope = "changed" },
		func() { g.EndedAt, g.End = g.End, g.End.Add(time.Hour) },
	}
	next := func(n int) jit.Entry {
		g.Version++
		changes[n]()
		return Entry(g)
	}
	check := func(what string, entries ...jit.Entry) {
		t.Helper()
		write(t, l, entries...)
		want := g
		want.Version++
		if got := read(t, l, g.ID); got != want {
			t.Errorf("%s:\n%+v\nwant\n%+v", what, got, want)
		}
		f := jit.Filter{Owner: g.Owner, Target: g.Target, Scope: g.Scope, Principal: g.Principal, EndFrom: g.End}
		if found := list(t, l, f); len(found) != 1 {
			t.Errorf("%s: its new facts select %d grants, want 1", what, len(found))
		}
	}
	for n := range changes {
		check(fmt.Sprint("change ", n), next(n))
	}
	check("an end, then a fact", next(1), next(0))
	check("a fact, then an end", next(0), next(1))
}

func testStale(t *testing.T, l jit.Ledger) {
	write(t, l, Entry(Grant(1)), Entry(Grant(2)))
	mine, theirs := read(t, l, Grant(1).ID), read(t, l, Grant(1).ID)
	theirs.Policy = "theirs"
	write(t, l, Entry(theirs))
	before := len(everything(t, l))

	mine.Policy = "mine"
	never := Grant(9)
	never.Version = 4
	errs := l.Write(t.Context(),
		[]jit.Entry{Entry(mine), Entry(Grant(3)), Entry(Grant(2)), Entry(never), {Events: []jit.Event{Event("")}}})
	for i, stale := range []bool{true, false, true, true, false} {
		if errors.Is(errs[i], jit.ErrStale) != stale || (errs[i] != nil) != stale {
			t.Errorf("entry %d: %v, want stale %v", i, errs[i], stale)
		}
	}
	if got := read(t, l, mine.ID); got.Policy != "theirs" || got.Version != 2 {
		t.Errorf("the stale entry left %q, version %d", got.Policy, got.Version)
	}
	read(t, l, Grant(3).ID)
	if got := len(everything(t, l)) - before; got != 2 {
		t.Errorf("%d events were written, want those of the 2 good entries", got)
	}
}

func testSameGrantTwice(t *testing.T, l jit.Ledger) {
	first, second := Grant(1), Grant(1)
	second.Version, second.Policy = 1, "second"
	errs := l.Write(t.Context(), []jit.Entry{Entry(first), Entry(second), Entry(second)})
	if errs[0] != nil || errs[1] != nil || !errors.Is(errs[2], jit.ErrStale) {
		t.Fatalf("errors %v", errs)
	}
	if got := read(t, l, first.ID); got.Version != 2 || got.Policy != "second" {
		t.Errorf("recorded version %d with policy %q", got.Version, got.Policy)
	}
	if got := len(everything(t, l)); got != 2 {
		t.Errorf("%d events, want 2", got)
	}
}

func testOneSubject(t *testing.T, l jit.Ledger) {
	g := Grant(1)
	errs := l.Write(t.Context(), []jit.Entry{{Grant: &g, DropPolicy: "x"}, Entry(Grant(2))})
	if !errors.Is(errs[0], jit.ErrInvalid) || errs[1] != nil {
		t.Errorf("errors %v", errs)
	}
}

func testPolicies(t *testing.T, l jit.Ledger) {
	none := time.Duration(0)
	a := jit.Policy{
		Name: "a", Description: "d", Effect: jit.Forbid, MaxTTL: 4 * time.Hour, ReasonPattern: "^(INC|CHG)-[0-9]+: ",
		Match:      jit.Matches{{Targets: []string{"prod*"}, Principals: []string{"user:*@example.com"}}},
		NativeOnly: true, MaxSessionTail: &none, Condition: `grant.scope != "<x>"`,
	}
	b, big := jit.Policy{Name: "b", Effect: jit.Permit}, jit.Policy{Name: "B", Effect: jit.Permit}
	write(t, l, jit.Entry{Policy: &b}, jit.Entry{Policy: &a}, jit.Entry{Policy: &big})
	check := func(want ...jit.Policy) {
		t.Helper()
		got, err := l.Policies(t.Context())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Policies = %+v, %v, want %+v", got, err, want)
		}
	}
	check(big, a, b)
	b.MaxTTL = time.Hour
	write(t, l, jit.Entry{DropPolicy: "B"}, jit.Entry{Policy: &b}, jit.Entry{DropPolicy: "absent"})
	check(a, b)
	write(t, l, jit.Entry{Policy: &big}, jit.Entry{DropPolicy: "B"}, jit.Entry{DropPolicy: "a"}, jit.Entry{Policy: &a})
	check(a, b)
}

func testPersons(t *testing.T, l jit.Ledger) {
	bob := jit.Person{
		Name: "bob@example.com", Groups: []string{"group:leads"}, SigningKeys: []string{"ssh-ed25519 AAAA <x>"},
		Principals: []string{"user:bob@example.com"}, GitHub: "bob-gh", GitLab: "bob", Holder: 3,
	}
	eve, big := jit.Person{Name: "eve"}, jit.Person{Name: "Zoe"}
	check := func(want ...jit.Person) {
		t.Helper()
		got, err := l.Persons(t.Context())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Persons = %+v, %v, want %+v", got, err, want)
		}
	}
	check()
	write(t, l, jit.Entry{Person: &eve}, jit.Entry{Person: &bob}, jit.Entry{Person: &big})
	check(big, bob, eve)
	bob.Groups = nil
	write(t, l, jit.Entry{DropPerson: "Zoe"}, jit.Entry{Person: &bob}, jit.Entry{DropPerson: "absent"})
	check(bob, eve)
	errs := l.Write(t.Context(), []jit.Entry{{Person: &eve, DropPerson: "bob@example.com"}})
	if !errors.Is(errs[0], jit.ErrInvalid) {
		t.Errorf("two persons in one entry: %v", errs)
	}
}

func testBrokenText(t *testing.T, l jit.Ledger) {
	g := Grant(1)
	g.RevokeReason = "cut\x00off \xff"
	e := Event(g.ID)
	e.Name, e.Detail = "al\x00ice\xfe", map[string]string{"error": "line\x00 one\n\xff\u2028", "k\xff": "v"}
	write(t, l, jit.Entry{Grant: &g, Events: []jit.Event{e}})
	checkChains(t, l)
	if got := read(t, l, g.ID).RevokeReason; !strings.HasPrefix(got, "cut") || !strings.Contains(got, "off") {
		t.Errorf("the reason reads back as %q", got)
	}
}

func testCancelled(t *testing.T, l jit.Ledger) {
	write(t, l, Entry(Grant(1)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i, err := range l.Write(ctx, []jit.Entry{Entry(Grant(2)), Entry(Grant(3))}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("entry %d: %v", i, err)
		}
	}
	if _, _, err := l.Lookup(ctx, Grant(1).ID); !errors.Is(err, context.Canceled) {
		t.Errorf("Lookup: %v", err)
	}
	for _, err := range l.Grants(ctx, jit.Filter{}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Grants: %v", err)
		}
	}
	if !slices.ContainsFunc(list(t, l, jit.Filter{}), func(g jit.Grant) bool { return g.ID == Grant(1).ID }) {
		t.Error("the ledger has lost a grant")
	}
}
