package ledgertest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func told(name string, at time.Time) jit.Entry {
	return jit.Entry{
		Events: []jit.Event{Event(Grant(1).ID)},
		Dedup:  jit.DedupKey{Name: name, At: at, Until: at.Add(time.Hour)},
	}
}

// testOnce records what several may want to record, once.
func testOnce(t *testing.T, l jit.Ledger) {
	now := Epoch
	check := func(what string, want int, refused []bool, entries ...jit.Entry) {
		t.Helper()
		for i, err := range l.Write(t.Context(), entries) {
			if err != nil && !errors.Is(err, jit.ErrDuplicate) || (err != nil) != refused[i] {
				t.Errorf("%s: entry %d: %v, want it to be refused: %v", what, i, err, refused[i])
			}
		}
		if got := len(events(t, l, 1)); got != want {
			t.Errorf("%s: %d events, want %d", what, got, want)
		}
	}
	check("nobody has told", 2, []bool{false, false}, told("a", now), told("b", now))
	check("it was told", 4, []bool{true, false, false}, told("a", now), told("c", now), Entry(Grant(2)))
	check("twice at once", 5, []bool{false, true}, told("d", now), told("d", now))
	now = now.Add(time.Hour - time.Second)
	check("a second before its time is over", 5, []bool{true}, told("a", now))
	now = now.Add(time.Second)
	check("its time is over", 6, []bool{false}, told("a", now))
	check("by a clock that is wrong", 7, []bool{false}, told("a", now.Add(2*time.Hour)))
	check("that does not count", 8, []bool{false}, told("a", now))
	if position, holder, until, err := l.(interface{ Leases() jit.Leases }).Leases().Holder(t.Context(), "a"); position != 0 ||
		holder != "" ||
		!until.Equal(now.Add(time.Hour)) ||
		err != nil {
		t.Errorf("kept as %d of %q until %s, %v", position, holder, until, err)
	}
	many := make([]jit.Entry, 6000)
	again := make([]bool, len(many))
	for i := range many {
		n := i
		if again[i] = i%1000 == 999; again[i] {
			n = i - 500
		}
		many[i] = told(fmt.Sprint("many ", n), now.Add(time.Duration(n%2)*time.Second))
	}
	check("many, some of them twice", 6002, again, many...)
	with := Entry(Grant(3))
	with.Dedup = jit.DedupKey{Name: "e", At: now, Until: now.Add(time.Hour)}
	if err := l.Write(t.Context(), []jit.Entry{with})[0]; !errors.Is(err, jit.ErrInvalid) {
		t.Errorf("a grant that is to be written once: %v, want it to be refused", err)
	}
	check("what was refused leaves nothing", 6003, []bool{false}, told("e", now))
}

// testOnceConcurrent has many tell of the same at the same time.
func testOnceConcurrent(t *testing.T, l jit.Ledger) {
	var done atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			switch err := l.Write(t.Context(), []jit.Entry{told("a", Epoch)})[0]; {
			case err == nil:
				done.Add(1)
			case !errors.Is(err, jit.ErrDuplicate):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := len(events(t, l, 1)); done.Load() != 1 || got != 1 {
		t.Errorf("%d told and there are %d events, want one of each", done.Load(), got)
	}
}
