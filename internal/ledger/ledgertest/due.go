package ledgertest

import (
	"slices"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func testNextDue(t *testing.T, l jit.Ledger) {
	check := func(what string, after, want time.Time) {
		t.Helper()
		got, err := l.NextDue(t.Context(), jit.Owners{"payments"}, after)
		if err != nil || !got.Equal(want) {
			t.Errorf("%s: next due after %s is %s, %v; want %s", what, after, got, err, want)
		}
	}
	check("nothing is recorded", minute(0), time.Time{})
	ends, later, other, ended := Grant(0), Grant(1), Of("other", 2), Grant(3)
	ends.End = minute(20)
	later.Window, later.GrantedAt = jit.Window{Start: minute(10), End: minute(30)}, time.Time{}
	other.End = minute(1)
	ended.End, ended.EndedAt = minute(5), minute(5)
	write(t, l, Entry(ends), Entry(later), Entry(other), Entry(ended))
	check("a start", minute(0), minute(10))
	check("the start has come", minute(10), minute(20))
	check("both have come", minute(20), time.Time{})
	acquire(t, l, jit.DueQuery{Holder: "a", Now: minute(20), Limit: 1})
	check("another may take over when a lease ends", minute(20).Add(time.Second), minute(21))
	check("the lease has ended", minute(21), time.Time{})
	revoked := Grant(4)
	revoked.End, revoked.RevokedAt = minute(60), minute(22)
	write(t, l, Entry(revoked))
	check("somebody ended one early since", minute(21), minute(22))
}

func testPlaces(t *testing.T, l jit.Ledger) {
	check := func(owner string, want ...jit.Place) {
		t.Helper()
		got, err := l.Places(t.Context(), jit.Owners{owner}, Epoch.Add(time.Minute))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Places(%s) = %v, %v; want %v", owner, got, err, want)
		}
	}
	check("payments")
	var entries []jit.Entry
	add := func(change func(*jit.Grant)) {
		g := Grant(len(entries))
		change(&g)
		entries = append(entries, Entry(Fit(g)))
	}
	add(func(*jit.Grant) {})
	add(func(*jit.Grant) {})
	add(func(g *jit.Grant) { g.Scope = "another" })
	add(func(g *jit.Grant) { g.Scope, g.Owner = "theirs", "other" })
	add(func(g *jit.Grant) { g.Scope, g.End = "over", Epoch.Add(time.Minute) })
	add(func(g *jit.Grant) { g.Scope, g.RevokedAt = "revoked", Epoch })
	add(func(g *jit.Grant) { g.Scope, g.GrantedAt, g.FailedAt = "failed", time.Time{}, Epoch })
	write(t, l, entries...)
	check("payments", jit.Place{Target: "bastion", Scope: "another"}, jit.Place{Target: "bastion", Scope: "host"})
	check("other", jit.Place{Target: "bastion", Scope: "theirs"})
	check("nobody")
	got, err := l.Places(t.Context(), nil, Epoch.Add(time.Minute))
	want := []jit.Place{
		{Target: "bastion", Scope: "another"}, {Target: "bastion", Scope: "host"}, {Target: "bastion", Scope: "theirs"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Places of all owners = %v, %v; want %v", got, err, want)
	}
}

func testFirstEvent(t *testing.T, l jit.Ledger) {
	check := func(at time.Time, want int64) {
		t.Helper()
		if got, err := l.FirstEvent(t.Context(), jit.AllChain, at); err != nil || got != want {
			t.Errorf("FirstEvent(%s) = %d, %v; want %d", at, got, err, want)
		}
	}
	check(Epoch, 1)
	for n := range 3 {
		e := Event(Grant(n).ID)
		e.At = Epoch.Add(time.Duration(n) * time.Minute)
		write(t, l, jit.Entry{Events: []jit.Event{e}})
	}
	check(Epoch, 1)
	check(Epoch.Add(time.Second), 2)
	check(Epoch.Add(2*time.Minute), 3)
	check(Epoch.Add(time.Hour), 4)
}

func testCounts(t *testing.T, l jit.Ledger) {
	check := func(owners jit.Owners, want ...jit.Count) {
		t.Helper()
		got, err := l.Counts(t.Context(), owners, Epoch.Add(30*time.Minute))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Counts of %s = %+v, %v; want %+v", owners, got, err, want)
		}
	}
	check(nil)
	var entries []jit.Entry
	add := func(change func(*jit.Grant)) {
		g := Grant(len(entries))
		change(&g)
		entries = append(entries, Entry(Fit(g)))
	}
	add(func(*jit.Grant) {})
	add(func(g *jit.Grant) { g.Start = Epoch.Add(40 * time.Minute) })
	add(func(g *jit.Grant) { g.GrantedAt = time.Time{} })
	add(func(g *jit.Grant) { g.End = Epoch.Add(30 * time.Minute) })
	add(func(g *jit.Grant) { g.End = Epoch.Add(30*time.Minute - jit.OverdueAfter + time.Microsecond) })
	add(func(g *jit.Grant) { g.End = Epoch.Add(30*time.Minute - jit.OverdueAfter) })
	add(func(g *jit.Grant) { g.RevokedAt = Epoch.Add(30*time.Minute - time.Second) })
	add(func(g *jit.Grant) { g.RevokedAt = Epoch })
	add(func(g *jit.Grant) { g.RevokedAt, g.EndedAt = Epoch, Epoch })
	add(func(g *jit.Grant) { g.RevokedAt, g.EndedAt, g.Remains = Epoch, Epoch, "an emptied role" })
	add(func(g *jit.Grant) { g.Owner = "other" })
	add(func(g *jit.Grant) { g.Target = "prod" })
	add(func(g *jit.Grant) { g.GrantedAt, g.FailedAt = time.Time{}, Epoch })
	add(func(g *jit.Grant) { g.GrantedAt, g.FailedAt, g.End = time.Time{}, Epoch, Epoch.Add(time.Minute) })
	write(t, l, entries...)
	theirs := jit.Count{Target: "bastion", Owner: "other", Live: 1}
	bastion, prod := jit.Count{
		Target:  "bastion",
		Owner:   "payments",
		Live:    1,
		Waiting: 2,
		Due:     3,
		Overdue: 2,
		Cleanup: 1,
	}, jit.Count{
		Target: "prod",
		Owner:  "payments",
		Live:   1,
	}
	check(jit.Owners{"payments"}, bastion, prod)
	check(jit.Owners{"other", "nobody"}, theirs)
	check(nil, theirs, bastion, prod)
}
