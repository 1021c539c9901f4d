package ledgertest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// RunLeases checks a store of leases. open returns a function that opens a new, empty store, again and again as several
// processes do. The store lives as long as the test.
func RunLeases(t *testing.T, open func(t *testing.T) func() jit.Leases) {
	for _, c := range []struct {
		name string
		test func(*testing.T, func() jit.Leases)
	}{
		{"one holder at a time", testLeaseHolder},
		{"the position is kept", testLeasePosition},
		{"reading acquires nothing", testLeaseRead},
		{"old leases are deleted, positions are kept", testLeaseForgotten},
		{"one of many concurrent holders gets it", testLeaseRace},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func take(t *testing.T, l jit.Leases, name, holder string, now time.Time) (int64, bool) {
	t.Helper()
	position, ok, err := l.Acquire(t.Context(), name, holder, now, now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return position, ok
}

func testLeaseHolder(t *testing.T, open func() jit.Leases) {
	a, b := open(), open()
	now := Epoch
	check := func(what string, l jit.Leases, name, holder string, want bool) {
		t.Helper()
		if _, ok := take(t, l, name, holder, now); ok != want {
			t.Errorf("%s: got it = %v, want %v", what, ok, want)
		}
	}
	check("it is free", a, "drift", "a", true)
	check("a has it", b, "drift", "b", false)
	check("a asks again", a, "drift", "a", true)
	check("other work is free", b, "notices", "b", true)
	now = now.Add(time.Minute - time.Second)
	check("the lease has not ended", b, "drift", "b", false)
	now = now.Add(time.Second)
	check("the lease has ended", b, "drift", "b", true)
	check("it is b's now", a, "drift", "a", false)
	if err := b.Renew(t.Context(), "drift", "b", 0, now); err != nil {
		t.Fatal(err)
	}
	check("b has released it", a, "drift", "a", true)
	now = now.Add(time.Hour)
	check("a's clock is an hour ahead", a, "drift", "a", true)
	now = now.Add(-time.Hour)
	check("a lease from a wrong clock does not count", b, "drift", "b", true)
	now = now.Add(jit.MaxLease)
	check("a's clock is a little ahead", a, "drift", "a", true)
	now = now.Add(-jit.MaxLease)
	check("that clock may be right", b, "drift", "b", false)
}

func testLeasePosition(t *testing.T, open func() jit.Leases) {
	a, b := open(), open()
	if position, _ := take(t, a, "notices", "a", Epoch); position != 0 {
		t.Errorf("position %d at first", position)
	}
	if err := a.Renew(t.Context(), "notices", "a", 7, Epoch.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if position, ok := take(t, a, "notices", "a", Epoch); !ok || position != 7 {
		t.Errorf("position %d, %v; want 7", position, ok)
	}
	if position, ok := take(t, b, "notices", "b", Epoch.Add(2*time.Hour)); !ok || position != 7 {
		t.Errorf("the next holder finds position %d, %v; want 7", position, ok)
	}
	for holder, l := range map[string]jit.Leases{"a": a, "c": b} {
		if err := l.Renew(t.Context(), "notices", holder, 99, Epoch.Add(9*time.Hour)); !errors.Is(err, jit.ErrStale) {
			t.Errorf("%s does not hold the lease and stores 99: %v", holder, err)
		}
	}
	if position, _ := take(t, b, "notices", "b", Epoch.Add(2*time.Hour)); position != 7 {
		t.Errorf("position %d after a refused Renew, want 7", position)
	}
}

func testLeaseRead(t *testing.T, open func() jit.Leases) {
	a, b := open(), open()
	check := func(l jit.Leases, position int64, holder string, until time.Time) {
		t.Helper()
		gotPosition, gotHolder, gotUntil, err := l.Holder(t.Context(), "notices")
		if err != nil || gotPosition != position || gotHolder != holder || !gotUntil.Equal(until) {
			t.Errorf("position %d, holder %q until %s, %v; want %d, %q until %s", gotPosition, gotHolder, gotUntil, err,
				position, holder, until)
		}
	}
	check(a, 0, "", time.Time{})
	take(t, a, "notices", "a", Epoch)
	check(b, 0, "a", Epoch.Add(time.Minute))
	if err := a.Renew(t.Context(), "notices", "a", 7, Epoch.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	check(b, 7, "a", Epoch.Add(time.Hour))
	if _, ok := take(t, b, "notices", "b", Epoch.Add(2*time.Hour)); !ok {
		t.Error("reading the lease acquired it")
	}
}

func testLeaseForgotten(t *testing.T, open func() jit.Leases) {
	l := open()
	for _, name := range []string{"finding", "notices"} {
		take(t, l, name, "a", Epoch)
	}
	if err := l.Renew(t.Context(), "notices", "a", 7, Epoch.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{time.Hour, "a"}, {48 * time.Hour, ""}} {
		take(t, l, "drift", "b", Epoch.Add(c.after))
		if _, holder, _, err := l.Holder(t.Context(), "finding"); err != nil || holder != c.want {
			t.Errorf("after %s the holder of the ended lease is %q, %v; want %q", c.after, holder, err, c.want)
		}
		if position, holder, _, err := l.Holder(t.Context(), "notices"); err != nil || position != 7 || holder != "a" {
			t.Errorf("after %s the position is %d of %q, %v; want 7 of a", c.after, position, holder, err)
		}
	}
}

func testLeaseRace(t *testing.T, open func() jit.Leases) {
	const holders = 8
	var got atomic.Int64
	stores := make([]jit.Leases, holders)
	for n := range stores {
		stores[n] = open()
	}
	concurrently(t, holders, func(n int) error {
		if _, ok := take(t, stores[n], "drift", fmt.Sprint(n), Epoch); ok {
			got.Add(1)
		}
		return nil
	})
	if got.Load() != 1 {
		t.Errorf("%d of %d got the lease, want 1", got.Load(), holders)
	}
}
