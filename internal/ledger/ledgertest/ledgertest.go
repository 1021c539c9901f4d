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
		{"whatever changes of a grant is kept", testChanged},
		{"a stale entry fails alone", testStale},
		{"entries of one write see one another", testSameGrantTwice},
		{"an entry holds one thing", testOneThing},
		{"policies", testPolicies},
		{"filters", testFilters},
		{"many grants stream in order", testPages},
		{"lookups at the same time", testLookups},
		{"writes at the same time", testWriters},
		{"events form a chain", testEvents},
		{"what is told once", testOnce},
		{"what many tell at the same time", testOnceConcurrent},
		{"broken characters are recorded", testBrokenText},
		{"a context that is over", testCancelled},
		{"claims: what is due", testClaimDue},
		{"claims: leases", testClaimLease},
		{"claims: scope by scope", testClaimScopes},
		{"claims: many sweepers", testClaimConcurrent},
		{"claims: what comes next", testNextDue},
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
	if got := events(t, l, 1); len(got) != 0 {
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
	full.PrincipalName, full.StartAsked = "alice@laptop", jit.StartAsked(Epoch)
	full.EndedAt, full.Remains = Epoch.Add(4*time.Second), `role "jit:…" cannot be dropped`
	bare := jit.Grant{ID: Grant(2).ID}
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
	write(t, l, Entry(g))
	changes := []func(){
		func() { g.Policy = "changed" },
		func() { g.End = g.End.Add(time.Hour) },
		func() { g.RevokedAt, g.RevokedBy = g.End.Add(-time.Minute), "bob" },
		func() { g.Owner = "changed" },
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
		if found := list(t, l, jit.Filter{Owner: g.Owner, Target: g.Target, Scope: g.Scope, Principal: g.Principal, EndFrom: g.End}); len(
			found,
		) != 1 {
			t.Errorf("%s: %d grants are found by what it is now", what, len(found))
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
	before := len(events(t, l, 1))

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
	if got := len(events(t, l, 1)) - before; got != 2 {
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
	if got := len(events(t, l, 1)); got != 2 {
		t.Errorf("%d events, want 2", got)
	}
}

func testOneThing(t *testing.T, l jit.Ledger) {
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
		Match:      jit.Match{Targets: []string{"prod*"}, Principals: []string{"user:*@example.com"}},
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

func testFilters(t *testing.T, l jit.Ledger) {
	var all []jit.Grant
	for n := range 7 {
		g := Grant(n)
		g.End = Epoch.Add(time.Duration(10-n) * time.Minute)
		all = append(all, g)
	}
	all[1].Owner = "other"
	all[2].Target = "prod"
	all[3].Principal = "group:Alice"
	all[4].RevokedAt = Epoch
	all[5].RevokedAt, all[5].EndedAt, all[5].Scope = Epoch, Epoch, "other"
	all[6].GrantedAt, all[6].FailedAt = time.Time{}, Epoch
	for _, g := range all {
		write(t, l, Entry(g))
	}
	for _, c := range []struct {
		f    jit.Filter
		want string
	}{
		{jit.Filter{}, "6 5 4 3 2 1 0"},
		{jit.Filter{Owner: "payments"}, "6 5 4 3 2 0"},
		{jit.Filter{Target: "prod"}, "2"},
		{jit.Filter{Principal: "group:Alice"}, "3"},
		{jit.Filter{Principal: "group:alice"}, ""},
		{jit.Filter{Scope: "other"}, "5"},
		{jit.Filter{EndFrom: all[2].End}, "2 1 0"},
		{jit.Filter{EndFrom: all[2].End, LiveAt: all[2].End}, "1 0"},
		{jit.Filter{EndFrom: all[0].End, LiveAt: all[2].End}, "0"},
		{jit.Filter{DueBy: all[3].End}, "4 3"},
		{jit.Filter{DueBy: all[0].End}, "1 4 3 2 0"},
		{jit.Filter{DueBy: all[0].End, Owner: "other"}, "1"},
		{jit.Filter{DueBy: all[0].End, Target: "prod"}, "2"},
		{jit.Filter{Open: true}, "4 3 2 1 0"},
		{jit.Filter{LiveAt: Epoch}, "3 2 1 0"},
		{jit.Filter{LiveAt: all[2].End}, "1 0"},
		{jit.Filter{LiveAt: all[2].End.Add(-time.Nanosecond)}, "2 1 0"},
		{jit.Filter{IDs: []jit.ID{all[0].ID, all[4].ID, Grant(99).ID}}, "4 0"},
		{jit.Filter{IDPrefix: string(all[3].ID[:7])}, "3"},
		{jit.Filter{IDPrefix: string(all[3].ID[:10])}, "3"},
		{jit.Filter{IDPrefix: string(all[3].ID)}, "3"},
		{jit.Filter{IDPrefix: string(Grant(99).ID[:7])}, ""},
		{jit.Filter{IDs: []jit.ID{all[0].ID, all[1].ID, all[4].ID}, Owner: "payments", LiveAt: Epoch, Open: true}, "0"},
	} {
		if got := reasons(list(t, l, c.f)); got != c.want {
			t.Errorf("%+v: %q, want %q", c.f, got, c.want)
		}
	}
}

func testPages(t *testing.T, l jit.Ledger) {
	const n = 2500
	entries := make([]jit.Entry, n)
	for i := range entries {
		g := Grant(i)
		g.End = Epoch.Add(time.Duration(i%7) * time.Minute) // many ends are the same
		entries[i] = jit.Entry{Grant: &g}
	}
	write(t, l, entries...)
	got := list(t, l, jit.Filter{Open: true})
	if len(got) != n {
		t.Fatalf("%d grants, want %d", len(got), n)
	}
	ids := map[jit.ID]bool{}
	for i, g := range got {
		ids[g.ID] = true
		if i > 0 && (g.End.Before(got[i-1].End) || g.End.Equal(got[i-1].End) && g.ID <= got[i-1].ID) {
			t.Fatalf("grant %d is out of order", i)
		}
	}
	if len(ids) != n {
		t.Errorf("%d different grants, want %d", len(ids), n)
	}
	live := jit.Filter{Owner: "payments", LiveAt: Epoch.Add(2 * time.Minute)}
	if got, want := len(list(t, l, live)), n*4/7; got < want || got > want+1 {
		t.Errorf("%d live grants, want %d", got, want)
	}
	for g, err := range l.Grants(t.Context(), jit.Filter{}) { // a reader that stops, and writes meanwhile
		if err != nil {
			t.Fatal(err)
		}
		write(t, l, Entry(g))
		break
	}
}

func testLookups(t *testing.T, l jit.Ledger) {
	const n = 200
	var entries []jit.Entry
	for i := range n {
		entries = append(entries, Entry(Grant(i)))
	}
	write(t, l, entries...)
	errs := make(chan error, 2*n)
	for i := range 2 * n { // the second half has no records
		go func() {
			g, ok, err := l.Lookup(t.Context(), Grant(i).ID)
			if err == nil && (ok != (i < n) || ok && g.Reason != Grant(i).Reason) {
				err = fmt.Errorf("lookup %d: %v %q", i, ok, g.Reason)
			}
			errs <- err
		}()
	}
	for range 2 * n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func testWriters(t *testing.T, l jit.Ledger) {
	const writers, rounds = 50, 5
	errs := make(chan error, writers)
	for w := range writers {
		go func() {
			errs <- func() error {
				for r := range rounds {
					own, shared := Grant(1000+w*rounds+r), Grant(r)
					for i, err := range l.Write(t.Context(), []jit.Entry{Entry(own), Entry(shared)}) {
						if err != nil && !(i == 1 && errors.Is(err, jit.ErrStale)) {
							return err
						}
					}
				}
				return nil
			}()
		}()
	}
	for range writers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got, want := len(list(t, l, jit.Filter{})), writers*rounds+rounds; got != want {
		t.Errorf("%d grants, want %d", got, want)
	}
	if got, want := checkChain(t, l), writers*rounds+rounds; got != want {
		t.Errorf("%d events, want %d: one for each grant", got, want)
	}
}

// checkChain returns the number of events.
func checkChain(t *testing.T, l jit.Ledger) int {
	t.Helper()
	all := events(t, l, 1)
	for i, e := range all {
		if e.Seq != int64(i+1) || e.Sum() != e.Hash || i > 0 && e.Prev != all[i-1].Hash || e.Prev == "" {
			t.Fatalf("event %d does not continue the chain: %+v", i+1, e)
		}
	}
	return len(all)
}

func testEvents(t *testing.T, l jit.Ledger) {
	start := time.Now()
	written := Event(Grant(1).ID)
	written.At = Epoch.Add(1234567 * time.Nanosecond).In(time.FixedZone("somewhere", 3600))
	unclocked := jit.Event{Kind: jit.EventDrift, Actor: jit.Actor{Source: jit.FromSweeper}}
	write(t, l, jit.Entry{Events: []jit.Event{written, unclocked}})
	many := make([]jit.Event, 2100)
	for i := range many {
		many[i] = Event("")
	}
	write(t, l, jit.Entry{Events: many})
	if got := checkChain(t, l); got != 2102 {
		t.Fatalf("%d events, want 2102", got)
	}
	all := events(t, l, 1)
	want := written
	want.At = Epoch.Add(1234 * time.Microsecond)
	want.Seq, want.Prev, want.Hash = 1, all[0].Prev, all[0].Hash
	if !reflect.DeepEqual(all[0], want) {
		t.Errorf("read back\n%+v\nwant\n%+v", all[0], want)
	}
	if d := all[1].At.Sub(start); d < -time.Second || d > time.Minute {
		t.Errorf("an event without a time was recorded at %s, %s after the start", all[1].At, d)
	}
	if got := events(t, l, 2100); len(got) != 3 || got[0].Seq != 2100 {
		t.Errorf("from 2100 on there are %d events", len(got))
	}
}

func testBrokenText(t *testing.T, l jit.Ledger) {
	g := Grant(1)
	g.RevokeReason = "cut\x00off \xff"
	e := Event(g.ID)
	e.Name, e.Detail = "al\x00ice\xfe", map[string]string{"error": "line\x00 one\n\xff\u2028", "k\xff": "v"}
	write(t, l, jit.Entry{Grant: &g, Events: []jit.Event{e}})
	checkChain(t, l)
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
		t.Error("the ledger is of no use afterwards")
	}
}
