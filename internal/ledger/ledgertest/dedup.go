package ledgertest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// keyed returns an entry with a dedup key that is valid for an hour.
func keyed(name string, at time.Time) jit.Entry {
	return jit.Entry{
		Events: []jit.Event{Event(Grant(1).ID)},
		Dedup:  jit.DedupKey{Name: name, At: at, Until: at.Add(time.Hour)},
	}
}

// testDedup: of several entries with one key, one is recorded.
func testDedup(t *testing.T, l jit.Ledger) {
	now := Epoch
	check := func(what string, want int, refused []bool, entries ...jit.Entry) {
		t.Helper()
		for i, err := range l.Write(t.Context(), entries) {
			if err != nil && !errors.Is(err, jit.ErrDuplicate) || (err != nil) != refused[i] {
				t.Errorf("%s: entry %d: %v, want it to be refused: %v", what, i, err, refused[i])
			}
		}
		if got := len(everything(t, l)); got != want {
			t.Errorf("%s: %d events, want %d", what, got, want)
		}
	}
	check("new keys", 2, []bool{false, false}, keyed("a", now), keyed("b", now))
	check("a stored key", 4, []bool{true, false, false}, keyed("a", now), keyed("c", now), Entry(Grant(2)))
	check("one key twice in one write", 5, []bool{false, true}, keyed("d", now), keyed("d", now))
	now = now.Add(time.Hour - time.Second)
	check("a second before the key ends", 5, []bool{true}, keyed("a", now))
	now = now.Add(time.Second)
	check("the key has ended", 6, []bool{false}, keyed("a", now))
	check("by a clock that runs ahead", 7, []bool{false}, keyed("a", now.Add(2*time.Hour)))
	check("a key from that clock does not count", 8, []bool{false}, keyed("a", now))
	check("the key counts again until its end", 8, []bool{true}, keyed("a", now.Add(time.Hour-time.Microsecond)))
	many := make([]jit.Entry, 6000)
	again := make([]bool, len(many))
	for i := range many {
		n := i
		if again[i] = i%1000 == 999; again[i] {
			n = i - 500
		}
		many[i] = keyed(fmt.Sprint("many ", n), now.Add(time.Duration(n%2)*time.Second))
	}
	check("many keys, some of them twice", 6002, again, many...)
	with := Entry(Grant(3))
	with.Dedup = jit.DedupKey{Name: "e", At: now, Until: now.Add(time.Hour)}
	if err := l.Write(t.Context(), []jit.Entry{with})[0]; !errors.Is(err, jit.ErrInvalid) {
		t.Errorf("a grant with a dedup key: %v, want it to be refused", err)
	}
	check("a refused entry stores no key", 6003, []bool{false}, keyed("e", now))
}

// testDedupConcurrent: of many concurrent entries with one key, one is recorded.
func testDedupConcurrent(t *testing.T, l jit.Ledger) {
	var done atomic.Int64
	concurrently(t, 8, func(int) error {
		err := l.Write(t.Context(), []jit.Entry{keyed("a", Epoch)})[0]
		if errors.Is(err, jit.ErrDuplicate) {
			return nil
		}
		done.Add(1)
		return err
	})
	if got := len(everything(t, l)); done.Load() != 1 || got != 1 {
		t.Errorf("%d writers succeeded and there are %d events, want one of each", done.Load(), got)
	}
}
