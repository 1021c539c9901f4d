package ledgertest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Of returns the n-th grant of an owner.
func Of(owner string, n int) jit.Grant {
	g := Grant(n)
	g.Owner = owner
	return Fit(g)
}

func testOwners(t *testing.T, l jit.Ledger) {
	check := func(want ...string) {
		t.Helper()
		if got, err := l.Owners(t.Context()); err != nil || !slices.Equal(got, want) {
			t.Errorf("Owners = %q, %v; want %q", got, err, want)
		}
	}
	check()
	ended := Of("search", 3)
	ended.EndedAt = ended.End
	write(t, l, Entry(Of("payments", 1)), Entry(Of("payments", 2)), Entry(ended), Entry(Of("a-team", 4)))
	check("a-team", "payments", "search")
}

// testDueOwners acquires the due grants of one owner, of some and of all, in pieces, and on some targets only.
func testDueOwners(t *testing.T, l jit.Ledger) {
	grants := []jit.Grant{Of("payments", 0), Of("search", 1), Of("payments", 2), Of("ads", 3), Of("ads", 4)}
	for n := range grants {
		grants[n].End = minute(10 * (n + 1))
	}
	grants[4].Target = "prod"
	grants[4] = Fit(grants[4])
	for _, g := range grants {
		write(t, l, Entry(g))
	}
	testNextOfOwners(t, l)
	holders := 0
	acquired := func(owners jit.Owners, limit int, targets ...string) (ids []int) {
		t.Helper()
		holders++
		q := jit.DueQuery{
			Owners: owners, Targets: targets, Now: minute(60 + holders), Holder: fmt.Sprint(holders),
			Lease: time.Nanosecond, Limit: limit,
		}
		for {
			got, err := l.AcquireDue(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range got {
				ids = append(ids, slices.IndexFunc(grants, func(other jit.Grant) bool { return other.ID == g.ID }))
			}
			if len(got) < limit {
				return ids
			}
			q.After = &got[len(got)-1]
		}
	}
	for _, limit := range []int{1, 2, 3, 100} {
		for _, c := range []struct {
			owners  jit.Owners
			targets []string
			want    []int
		}{
			{nil, nil, []int{3, 4, 0, 2, 1}},
			{jit.Owners{"payments"}, nil, []int{0, 2}},
			{jit.Owners{"ads", "search"}, nil, []int{3, 4, 1}},
			{jit.Owners{"nobody"}, nil, nil},
			{nil, []string{"prod"}, []int{4}},
			{nil, []string{"bastion", "elsewhere"}, []int{3, 0, 2, 1}},
			{jit.Owners{"payments"}, []string{"prod"}, nil},
		} {
			if got := acquired(c.owners, limit, c.targets...); !slices.Equal(got, c.want) {
				t.Errorf("%s on %q, %d at once: acquired %v, want %v", c.owners, c.targets, limit, got, c.want)
			}
		}
	}
}

// testNextOfOwners asks when the next grant of some owners becomes due. The grants end ten minutes apart.
func testNextOfOwners(t *testing.T, l jit.Ledger) {
	t.Helper()
	search, both := jit.Owners{"search"}, jit.Owners{"ads", "search"}
	for _, c := range []struct {
		owners      jit.Owners
		after, want int // minutes; 0 for never
	}{
		{nil, 0, 10}, {nil, 10, 20}, {nil, 50, 0}, {search, 0, 20}, {search, 20, 0}, {both, 0, 20}, {both, 20, 40},
		{jit.Owners{"nobody"}, 0, 0},
	} {
		want := time.Time{}
		if c.want > 0 {
			want = minute(c.want)
		}
		if got, err := l.NextDue(t.Context(), c.owners, minute(c.after)); err != nil || !got.Equal(want) {
			t.Errorf("%s: next due after minute %d is %s, %v; want %s", c.owners, c.after, got, err, want)
		}
	}
}

func testSweeps(t *testing.T, l jit.Ledger) {
	now := time.Now() // a ledger with a clock of its own uses that
	since := func(owner, target string) (time.Duration, bool) {
		t.Helper()
		all, err := l.SweptSince(t.Context(), owner, now)
		if err != nil {
			t.Fatal(err)
		}
		d, ok := all[target]
		return d, ok
	}
	record := func(s jit.Sweep) {
		t.Helper()
		if err := l.Swept(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	record(jit.Sweep{Targets: []string{"db"}, At: now})
	if _, ok := since("payments", "db"); ok {
		t.Error("a pass over an absent ledger is recorded")
	}
	write(t, l, Entry(Grant(1)))
	if _, ok := since("payments", "db"); ok {
		t.Error("a pass is known before there was one")
	}
	record(jit.Sweep{Owners: jit.Owners{"search", "ads"}, Targets: []string{"db", "bastion"}, At: now})
	for _, c := range []struct {
		owner, target string
		want          bool
	}{{"search", "db", true}, {"ads", "bastion", true}, {"payments", "db", false}, {"search", "prod", false}} {
		if d, ok := since(c.owner, c.target); ok != c.want || d < 0 || d > time.Minute {
			t.Errorf("the pass that serves %s on %s: %s, %t; want %t", c.owner, c.target, d, ok, c.want)
		}
	}
	record(jit.Sweep{Targets: []string{"prod"}, At: now})
	record(jit.Sweep{Targets: []string{"prod"}, At: now})
	if _, ok := since("payments", "prod"); !ok {
		t.Error("a pass that serves all owners does not serve payments")
	}
	now = now.Add(7 * time.Minute)
	if d, ok := since("payments", "prod"); !ok || d > 8*time.Minute {
		t.Errorf("seven minutes later: %s, %t", d, ok)
	}
}

// testYields: a record without a reason makes way for the grant that another owner asks for, which is then that owner's
// in every respect.
func testYields(t *testing.T, l jit.Ledger) {
	asked, forged := Of("other", 1), Grant(2)
	forged.ID, forged.Reason, forged.Renewal, forged.End = asked.ID, "", 0, minute(5)
	write(t, l, Entry(forged))
	early := Event(asked.ID)
	write(t, l, jit.Entry{Events: []jit.Event{early}, Owner: "other"}) // what the other owner tells before it is recorded
	write(t, l, Entry(asked))
	if g := read(t, l, asked.ID); g.Owner != "other" || g.Reason != asked.Reason || g.Version != 1 {
		t.Errorf("recorded %+v", g)
	}
	q := jit.DueQuery{Owners: jit.Owners{"payments"}, Now: asked.End, Holder: "a", Lease: time.Minute, Limit: 10}
	if got, err := l.AcquireDue(t.Context(), q); err != nil || len(got) > 0 {
		t.Errorf("due for the first owner: %+v, %v", got, err)
	}
	q.Owners = jit.Owners{"other"}
	if got, err := l.AcquireDue(t.Context(), q); err != nil || len(got) != 1 || !got[0].End.Equal(asked.End) {
		t.Errorf("due: %+v, %v", got, err)
	}
	forged.Version = 1
	if errs := l.Write(t.Context(), []jit.Entry{Entry(forged)}); !errors.Is(errs[0], jit.ErrStale) {
		t.Errorf("the first owner again: %v, want ErrStale", errs[0])
	}
	told := 0
	for e, err := range l.EventsOf(t.Context(), []jit.ID{asked.ID}) {
		if told++; err != nil || e.Chain != "other" {
			t.Errorf("an event of the grant: %+v, %v", e, err)
		}
	}
	if told != 2 {
		t.Errorf("%d events of the grant, want 2", told)
	}
	lost := Grant(3)
	for _, owner := range []string{"b", "c", "a"} { // the first name has an id that nobody gives a reason for
		lost.Owner, lost.ID, lost.Reason = owner, Of("c", 9).ID, ""
		err := l.Write(t.Context(), []jit.Entry{Entry(lost)})[0]
		if owner == "c" && !errors.Is(err, jit.ErrStale) || owner != "c" && err != nil {
			t.Errorf("a record without a reason of %s: %v", owner, err)
		}
	}
	if g := read(t, l, lost.ID); g.Owner != "a" {
		t.Errorf("recorded %+v", g)
	}
}
