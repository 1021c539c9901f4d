package batch

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// blocked is the run of a queue over numbers: 0 takes an hour, every other number a second.
type blocked struct {
	mu    sync.Mutex
	under map[int]bool
	order []int
	// groups is how many run; most is the most there were.
	groups, most int
}

func (b *blocked) queue(t *testing.T) *Queue[[]int, int] {
	b.under = map[int]bool{}
	q := NewGathering(func(_ context.Context, calls [][]int) []int {
		b.mu.Lock()
		b.groups++
		b.most = max(b.most, b.groups)
		took := time.Second
		all := slices.Concat(calls...)
		for _, n := range all {
			if b.under[n] {
				t.Errorf("two groups with %d run at the same time", n)
			}
		}
		for _, n := range all {
			b.under[n] = true
			b.order = append(b.order, n)
			if n%10 == 0 {
				took = time.Hour
			}
		}
		b.mu.Unlock()
		time.Sleep(took)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.groups--
		for _, n := range all {
			delete(b.under, n)
		}
		return make([]int, len(calls))
	}, func(in []int) int { return len(in) })
	q.patience = 5 * time.Second
	q.keys = func(in []int, yield func(string)) {
		for _, n := range in {
			yield(strconv.Itoa(n))
		}
	}
	return q
}

// TestABlockedGroupIsOvertaken: what comes after it is answered within seconds, only what shares a key with it waits,
// in order.
func TestABlockedGroupIsOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &blocked{}
		q := b.queue(t)
		begun := time.Now()
		var all sync.WaitGroup
		do := func(at, least, most time.Duration, in ...int) {
			all.Go(func() {
				time.Sleep(at)
				if _, err := q.Do(t.Context(), in); err != nil {
					t.Error(err)
				}
				if took := time.Since(begun) - at; took < least || took > most {
					t.Errorf("%v, asked for after %s, took %s, want %s to %s", in, at, took, least, most)
				}
			})
		}
		do(0, time.Hour, time.Hour+time.Minute, 0)
		do(2*time.Second, 0, 6*time.Second, 1)                // before patience is at an end
		do(20*time.Second, 0, 3*time.Second, 2)               // and after it
		do(30*time.Second, 59*time.Minute, 3*time.Hour, 0, 3) // waits for 0
		do(31*time.Second, 59*time.Minute, 3*time.Hour, 3)    // waits for the one before, which waits for 0
		do(32*time.Second, 0, 3*time.Second, 4)               // is held by none of them
		do(2*time.Hour+10*time.Minute, 0, 3*time.Second, 5)   // when all is done
		all.Wait()
		if i, j := slices.Index(b.order, 3), len(b.order)-1-slices.Index(reversed(b.order), 3); i == j ||
			b.order[i-1] != 0 {
			t.Errorf("the order was %v; want both calls of 3, that of 0 and 3 first", b.order)
		}
	})
}

func reversed(in []int) []int {
	out := slices.Clone(in)
	slices.Reverse(out)
	return out
}

// TestBlockedGroupsAreBounded: when many groups are blocked no further one is begun, and all are answered in the end.
func TestBlockedGroupsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &blocked{}
		q := b.queue(t)
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Minute)
				if _, err := q.Do(t.Context(), []int{10 * i}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if b.most > maxOvertaken || b.most < 2 {
			t.Errorf("%d groups ran at the same time, want 2 to %d", b.most, maxOvertaken)
		}
		if len(b.order) != 20 {
			t.Errorf("%d calls were made, want 20", len(b.order))
		}
	})
}
