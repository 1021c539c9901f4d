package ledgertest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// minute is a time after [Epoch].
func minute(n int) time.Time { return Epoch.Add(time.Duration(n) * time.Minute) }

// acquire leases due grants, of payments and for a minute if the query does not say otherwise.
func acquire(t *testing.T, l jit.Ledger, q jit.DueQuery) []jit.Grant {
	t.Helper()
	if q.Owners == nil {
		q.Owners = jit.Owners{"payments"}
	}
	if q.Lease == 0 {
		q.Lease = time.Minute
	}
	got, err := l.AcquireDue(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// everyState returns grants with every combination of facts that an end or a start depends on.
func everyState() (all []jit.Grant) {
	none := time.Time{}
	for n := range 2 * 2 * 2 * 3 * 2 * 2 {
		pick := func(options ...time.Time) time.Time {
			chosen := options[n%len(options)]
			n /= len(options)
			return chosen
		}
		g := Grant(len(all))
		g.Window = jit.Window{Start: minute(5), End: minute(20)}
		g.RequestedAt = pick(minute(0), minute(10)) // before and after the start
		g.GrantedAt, g.FailedAt = pick(none, minute(6)), pick(none, minute(7))
		g.RevokedAt, g.EndedAt = pick(none, minute(8), minute(25)), pick(none, minute(9))
		g.StartBy = pick(none, minute(12))
		if g.EndedAt.IsZero() || g.Over(g.EndedAt) { // an end is confirmed only after the grant is over
			all = append(all, g)
		}
	}
	return all
}

// testAcquireDue compares AcquireDue with the definition of due work, on grants of every state and at many times.
func testAcquireDue(t *testing.T, l jit.Ledger) {
	all, other := everyState(), Of("other", 1000)
	writeRecords(t, l, append(slices.Clone(all), other)...)
	for n, now := range []time.Time{
		minute(0), minute(5).Add(-time.Second), minute(5), minute(8), minute(12), minute(12).Add(time.Second),
		minute(20).Add(-time.Second), minute(20), minute(100),
	} {
		acquired := map[jit.ID]bool{}
		// The holder is new, and every earlier lease has ended.
		for _, g := range acquire(t, l, jit.DueQuery{
			Now: now, Holder: fmt.Sprint(n), Lease: time.Nanosecond, Limit: 1000,
		}) {
			acquired[g.ID] = true
		}
		for _, g := range all {
			// A revocation counts from when it is recorded; nobody asks for one with a later time.
			if !g.RevokedAt.IsZero() && g.ActualEnd().After(now) {
				continue
			}
			if due := g.DueToStart(now) || g.Outstanding(now); due != acquired[g.ID] {
				t.Errorf("at %s acquired = %v, due = %v: %+v", now.Format(time.TimeOnly), acquired[g.ID], due, g)
			}
		}
		if acquired[other.ID] {
			t.Error("AcquireDue returned a grant of another owner")
		}
	}
}

func testDueLease(t *testing.T, l jit.Ledger) {
	var grants []jit.Grant
	for n := range 5 {
		g := Grant(n)
		g.End = minute(5 - n)
		grants = append(grants, g)
	}
	writeRecords(t, l, grants...)
	now := minute(10)
	check := func(what, want string, q jit.DueQuery) []jit.Grant {
		t.Helper()
		got := acquire(t, l, q)
		if reasons(got) != want {
			t.Errorf("%s: %q, want %q", what, reasons(got), want)
		}
		return got
	}
	first := check("the oldest ends come first", "4 3", jit.DueQuery{Holder: "a", Now: now, Limit: 2})
	check("another holder gets the rest", "2 1 0", jit.DueQuery{Holder: "b", Now: now, Limit: 10})
	check("nothing is left", "", jit.DueQuery{Holder: "c", Now: now, Limit: 10})
	check("nor for the same holder at the same time", "", jit.DueQuery{Holder: "a", Now: now, Limit: 10})
	now = now.Add(time.Second)
	check("later the holder gets its own again", "4 3", jit.DueQuery{Holder: "a", Now: now, Limit: 10})
	now = now.Add(time.Second)
	check("after the first grant", "3", jit.DueQuery{Holder: "a", Now: now, Limit: 10, After: &first[0]})

	g := first[0]
	g.EndedAt = now
	write(t, l, Entry(g)) // a lease does not make the record stale
	if got := read(t, l, g.ID); got.Version != 2 {
		t.Errorf("version %d after one write, want 2", got.Version)
	}
	g = first[1]
	g.Policy = "changed"
	write(t, l, Entry(g))
	check("a write leaves the lease", "",
		jit.DueQuery{Holder: "c", Now: now.Add(time.Minute - 3*time.Second), Limit: 10})
	check("a lease ends", "3 2 1 0", jit.DueQuery{Holder: "c", Now: now.Add(time.Minute), Limit: 10})
	check("another holder has it now", "", jit.DueQuery{Holder: "a", Now: now.Add(time.Minute), Limit: 10})
	check("a clock that is an hour ahead", "3 2 1 0", jit.DueQuery{Holder: "ahead", Now: now.Add(time.Hour), Limit: 10})
	check("a lease by a wrong clock does not count", "3 2 1 0",
		jit.DueQuery{Holder: "d", Now: now.Add(2 * time.Minute), Limit: 10})
	g = read(t, l, g.ID)
	g.End = g.End.Add(time.Second)
	write(t, l, Entry(g))
	check("a grant that is due at another time has no lease", "3",
		jit.DueQuery{Holder: "e", Now: now.Add(2 * time.Minute), Limit: 10})
	check("a limit of 0 acquires nothing", "", jit.DueQuery{Holder: "c", Now: now})
}

// testDueScopes: grants that are due at the same time come scope by scope, so two holders do not work on one scope.
func testDueScopes(t *testing.T, l jit.Ledger) {
	const odd = `or"d<é>\rs & more`
	end := Epoch.Add(time.Hour)
	var grants []jit.Grant
	for n := range 12 {
		g := Grant(n)
		g.Target, g.Scope, g.End = "db", []string{odd, "Payments", "users"}[n%3], end
		if n >= 9 {
			g.End = end.Add(-time.Minute)
		}
		grants = append(grants, Fit(g))
	}
	writeRecords(t, l, grants...)
	longest := acquire(t, l, jit.DueQuery{Holder: "first", Now: end, Limit: 3})
	if len(longest) != 3 || slices.ContainsFunc(longest, func(g jit.Grant) bool { return g.End.Equal(end) }) {
		t.Errorf("the grants that have been due longest come first: %q", reasons(longest))
	}
	seen := map[string]bool{}
	var last *jit.Grant
	for _, holder := range []string{"a", "b", "c"} {
		got := acquire(t, l, jit.DueQuery{Holder: holder, Now: end, Limit: 3, After: last})
		if len(got) != 3 || got[1].Scope != got[0].Scope || got[2].Scope != got[0].Scope || seen[got[0].Scope] {
			t.Fatalf("%s got %q", holder, reasons(got))
		}
		seen[got[0].Scope], last = true, &got[2]
		rest := acquire(t, l, jit.DueQuery{Holder: holder, Now: end.Add(time.Second), Limit: 2, After: &got[0]})
		if reasons(rest) != reasons(got[1:]) {
			t.Errorf("after the first of %q there are %q", reasons(got), reasons(rest))
		}
	}
	got := acquire(t, l, jit.DueQuery{
		Holder: "d", Now: end.Add(time.Hour), Limit: 100,
		Except: []jit.Place{
			{Target: "db", Scope: odd}, {Target: "db", Scope: "users"}, {Target: "other", Scope: "Payments"},
		},
	})
	if reasons(got) != "10 7 1 4" {
		t.Errorf("all scopes except two: %q", reasons(got))
	}
}

func testDueConcurrent(t *testing.T, l jit.Ledger) {
	const grants, sweepers = 200, 8
	var entries []jit.Entry
	for n := range grants {
		entries = append(entries, Entry(Grant(n)))
	}
	write(t, l, entries...)
	now := Epoch.Add(2 * time.Hour)
	var mu sync.Mutex
	times := map[jit.ID]int{}
	concurrently(t, sweepers, func(s int) error {
		q := jit.DueQuery{
			Owners: jit.Owners{"payments"}, Now: now, Holder: fmt.Sprint(s), Lease: 5 * time.Minute, Limit: 7,
		}
		for {
			got, err := l.AcquireDue(t.Context(), q)
			if err != nil || len(got) == 0 {
				return err
			}
			done := make([]jit.Entry, 0, len(got))
			mu.Lock()
			for _, g := range got {
				times[g.ID]++
				g.EndedAt = now
				done = append(done, Entry(g))
			}
			mu.Unlock()
			if err := errors.Join(l.Write(t.Context(), done)...); err != nil {
				return err
			}
		}
	})
	for id, n := range times {
		if n != 1 {
			t.Errorf("grant %s was acquired %d times", id, n)
		}
	}
	if len(times) != grants {
		t.Errorf("%d grants were acquired, want %d", len(times), grants)
	}
}
