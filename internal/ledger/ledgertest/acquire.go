package ledgertest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func claim(t *testing.T, l jit.Ledger, holder string, now time.Time, limit int) []jit.Grant {
	t.Helper()
	got, err := l.AcquireDue(t.Context(),
		jit.DueQuery{Owners: jit.Owners{"payments"}, Now: now, Holder: holder, Lease: time.Minute, Limit: limit})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// testClaimDue holds Claim against the definition of due work on grants of every kind, at many times.
func testClaimDue(t *testing.T, l jit.Ledger) {
	at := func(minute int) time.Time { return Epoch.Add(time.Duration(minute) * time.Minute) }
	var all []jit.Grant
	for _, requested := range []int{0, 10} { // with a start at 5 the first is deferred
		for _, granted := range []time.Time{{}, at(6)} {
			for _, failed := range []time.Time{{}, at(7)} {
				for _, revoked := range []time.Time{{}, at(8), at(25)} {
					for _, ended := range []time.Time{{}, at(9)} {
						for _, startBy := range []time.Time{{}, at(12)} {
							g := Grant(len(all))
							g.Window = jit.Window{Start: at(5), End: at(20)}
							g.RequestedAt, g.GrantedAt, g.FailedAt = at(requested), granted, failed
							g.RevokedAt, g.EndedAt, g.StartBy = revoked, ended, startBy
							if ended.IsZero() || g.Over(ended) { // nothing is confirmed to be gone before it is over
								all = append(all, g)
							}
						}
					}
				}
			}
		}
	}
	other := Grant(1000)
	other.Owner = "other"
	var entries []jit.Entry
	for _, g := range append(all, other) {
		entries = append(entries, jit.Entry{Grant: &g})
	}
	write(t, l, entries...)
	for n, now := range []time.Time{at(0), at(5).Add(-time.Second), at(5), at(8), at(12), at(12).Add(time.Second), at(20).Add(-time.Second), at(20), at(100)} {
		claimed := map[jit.ID]bool{}
		// A holder of its own and a start after every lease before.
		q := jit.DueQuery{
			Owners: jit.Owners{"payments"},
			Now:    now,
			Holder: fmt.Sprint(n),
			Lease:  time.Nanosecond,
			Limit:  1000,
		}
		got, err := l.AcquireDue(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range got {
			claimed[g.ID] = true
		}
		for _, g := range all {
			g.Version = 1
			// A revocation counts from the moment it is recorded; one with a later date is not asked for by anybody.
			if !g.RevokedAt.IsZero() && g.ActualEnd().After(now) {
				continue
			}
			if due := g.DueToStart(now) || g.Outstanding(now); due != claimed[g.ID] {
				t.Errorf("at %s claimed = %v, due = %v: %+v", now.Format(time.TimeOnly), claimed[g.ID], due, g)
			}
		}
		if claimed[other.ID] {
			t.Error("a grant of another owner was claimed")
		}
	}
}

func testClaimLease(t *testing.T, l jit.Ledger) {
	var entries []jit.Entry
	for n := range 5 {
		g := Grant(n)
		g.End = Epoch.Add(time.Duration(5-n) * time.Minute)
		entries = append(entries, jit.Entry{Grant: &g})
	}
	write(t, l, entries...)
	now := Epoch.Add(10 * time.Minute)
	check := func(what string, got []jit.Grant, want string) {
		t.Helper()
		if reasons(got) != want {
			t.Errorf("%s: %q, want %q", what, reasons(got), want)
		}
	}
	first := claim(t, l, "a", now, 2)
	check("the oldest ends come first", first, "4 3")
	check("another gets the rest", claim(t, l, "b", now, 10), "2 1 0")
	check("nothing is left", claim(t, l, "c", now, 10), "")
	check("nor for the same holder at the same time", claim(t, l, "a", now, 10), "")
	now = now.Add(time.Second)
	check("later it gets its own again", claim(t, l, "a", now, 10), "4 3")
	now = now.Add(time.Second)
	q := jit.DueQuery{
		Owners: jit.Owners{"payments"},
		Now:    now,
		Holder: "a",
		Lease:  time.Minute,
		Limit:  10,
		After:  &first[0],
	}
	if got, err := l.AcquireDue(t.Context(), q); err != nil || reasons(got) != "3" {
		t.Errorf("what comes after the first: %v, %v", got, err)
	}

	g := first[0]
	g.EndedAt = now
	write(t, l, Entry(g)) // a claim has not made the record stale
	if got := read(t, l, g.ID); got.Version != 2 {
		t.Errorf("version %d after one write, want 2", got.Version)
	}
	g = first[1]
	g.Policy = "changed"
	write(t, l, Entry(g))
	check("a write leaves the lease", claim(t, l, "c", now.Add(time.Minute-3*time.Second), 10), "")
	check("a lease ends", claim(t, l, "c", now.Add(time.Minute), 10), "3 2 1 0")
	check("and is then another's", claim(t, l, "a", now.Add(time.Minute), 10), "")
	if got, err := l.AcquireDue(t.Context(), jit.DueQuery{Owners: jit.Owners{"payments"}, Now: now.Add(time.Hour), Holder: "ahead", Lease: time.Minute, Limit: 10}); err != nil ||
		len(got) != 4 {
		t.Errorf("a holder whose clock is an hour ahead: %v, %v", got, err)
	}
	check("a lease from a clock that was wrong does not count", claim(t, l, "d", now.Add(2*time.Minute), 10), "3 2 1 0")
	g = read(t, l, g.ID)
	g.End = g.End.Add(time.Second)
	write(t, l, Entry(g))
	check("a lease is for what was due, and it is due at another time now",
		claim(t, l, "e", now.Add(2*time.Minute), 10), "3")
	check("no limit is no claim", claim(t, l, "c", now, 0), "")
}

// testClaimScopes: what is due at the same time is given out scope by scope, so that two who claim are not both at work
// on the same.
func testClaimScopes(t *testing.T, l jit.Ledger) {
	const odd = `or"d<é>\rs & more`
	end := Epoch.Add(time.Hour)
	var entries []jit.Entry
	for n := range 12 {
		g := Grant(n)
		g.Target, g.Scope, g.End = "db", []string{odd, "Payments", "users"}[n%3], end
		if n >= 9 {
			g.End = end.Add(-time.Minute)
		}
		entries = append(entries, jit.Entry{Grant: &g})
	}
	write(t, l, entries...)
	next := func(now time.Time, q jit.DueQuery) []jit.Grant {
		t.Helper()
		q.Owners, q.Now, q.Lease = jit.Owners{"payments"}, now, time.Minute
		got, err := l.AcquireDue(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := next(end, jit.DueQuery{Holder: "first", Limit: 3}); len(got) != 3 ||
		slices.ContainsFunc(got, func(g jit.Grant) bool { return g.End.Equal(end) }) {
		t.Errorf("what is due for longest comes first: %q", reasons(got))
	}
	seen := map[string]bool{}
	var last *jit.Grant
	for _, holder := range []string{"a", "b", "c"} {
		got := next(end, jit.DueQuery{Holder: holder, Limit: 3, After: last})
		if len(got) != 3 || got[1].Scope != got[0].Scope || got[2].Scope != got[0].Scope || seen[got[0].Scope] {
			t.Fatalf("%s was given %q", holder, reasons(got))
		}
		seen[got[0].Scope], last = true, &got[2]
		if rest := next(end.Add(time.Second), jit.DueQuery{Holder: holder, Limit: 2, After: &got[0]}); reasons(
			rest) != reasons(
			got[1:],
		) {
			t.Errorf("after the first of %q there are %q", reasons(got), reasons(rest))
		}
	}
	later := end.Add(time.Hour)
	got, err := l.AcquireDue(
		t.Context(),
		jit.DueQuery{Owners: jit.Owners{"payments"}, Now: later, Holder: "d", Lease: time.Minute, Limit: 100,
			Except: []jit.Place{
				{Target: "db", Scope: odd},
				{Target: "db", Scope: "users"},
				{Target: "other", Scope: "Payments"},
			}},
	)
	if err != nil || reasons(got) != "10 1 4 7" {
		t.Errorf("all but two scopes: %q, %v", reasons(got), err)
	}
}

func testClaimConcurrent(t *testing.T, l jit.Ledger) {
	const grants, sweepers = 200, 8
	var entries []jit.Entry
	for n := range grants {
		entries = append(entries, Entry(Grant(n)))
	}
	write(t, l, entries...)
	now := Epoch.Add(2 * time.Hour)
	var mu sync.Mutex
	var wg sync.WaitGroup
	times := map[jit.ID]int{}
	for s := range sweepers {
		wg.Go(func() {
			for {
				q := jit.DueQuery{
					Owners: jit.Owners{"payments"},
					Now:    now,
					Holder: fmt.Sprint(s),
					Lease:  5 * time.Minute,
					Limit:  7,
				}
				got, err := l.AcquireDue(t.Context(), q)
				if err != nil {
					t.Error(err)
				}
				if len(got) == 0 {
					return
				}
				done := make([]jit.Entry, 0, len(got))
				mu.Lock()
				for _, g := range got {
					times[g.ID]++
					g.EndedAt = now
					done = append(done, Entry(g))
				}
				mu.Unlock()
				for _, err := range l.Write(t.Context(), done) {
					if err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	for id, n := range times {
		if n != 1 {
			t.Errorf("grant %s was claimed %d times", id, n)
		}
	}
	if len(times) != grants {
		t.Errorf("%d grants were claimed, want %d", len(times), grants)
	}
}
