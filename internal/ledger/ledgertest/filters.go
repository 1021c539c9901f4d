package ledgertest

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

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
	all[6].Awaits, all[0].Awaits = "1 of: lea", "1 of: lea" // one waits, the other broke the glass
	for i, g := range all {
		all[i] = Fit(g)
		write(t, l, Entry(all[i]))
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
		{jit.Filter{Waiting: true}, "6"},
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
		stream := l.Grants(t.Context(), c.f)
		for range 2 { // a stream can be read again
			if got := reasons(drain(t, stream)); got != c.want {
				t.Errorf("%+v: %q, want %q", c.f, got, c.want)
			}
		}
	}
}

func testPages(t *testing.T, l jit.Ledger) {
	const n = 2500
	grants := make([]jit.Grant, n)
	for i := range grants {
		grants[i] = Grant(i)
		grants[i].End = minute(i % 7) // many grants have the same end
	}
	writeRecords(t, l, grants...)
	got := list(t, l, jit.Filter{Open: true})
	inOrder := func(a, b jit.Grant) int { return cmp.Or(a.End.Compare(b.End), cmp.Compare(a.ID, b.ID)) }
	slices.SortFunc(grants, inOrder)
	same := func(a, b jit.Grant) bool { return a.ID == b.ID && a.End.Equal(b.End) }
	if !slices.EqualFunc(got, grants, same) {
		t.Fatalf("%d grants, want %d in the order of end and id", len(got), n)
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
	concurrently(t, 2*n, func(i int) error { // the second half has no records
		g, ok, err := l.Lookup(t.Context(), Grant(i).ID)
		if err == nil && (ok != (i < n) || ok && g.Reason != Grant(i).Reason) {
			err = fmt.Errorf("lookup %d: %v %q", i, ok, g.Reason)
		}
		return err
	})
}
