package batch

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func newSlow(apply time.Duration) *slow { return &slow{held: map[jit.ID]int{}, apply: apply} }

// wrapped hides what a platform can beyond jit.Platform.
type wrapped struct{ jit.Platform }

func (w wrapped) Unwrap() jit.Platform { return w.Platform }

// waves makes 100 changes by ten callers who come ten milliseconds apart, again and again, and
// returns how long that took.
func waves(t *testing.T, p jit.Platform) time.Duration {
	s := Share(p, time.Minute, time.Now)
	begin := time.Now()
	var wg sync.WaitGroup
	for caller := range 10 {
		wg.Go(func() {
			for n := range 10 {
				time.Sleep(time.Duration(caller) * 10 * time.Millisecond)
				if err := s.Apply(t.Context(), "only", ensure(100*caller+n))[0]; err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begin)
}

func TestFastCallsAreNotDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The last caller alone needs 10 times 90 ms.
		if took := waves(t, newSlow(2*time.Millisecond)); took > 950*time.Millisecond {
			t.Errorf("100 calls of 2 ms took %s", took)
		}
	})
}

func TestSlowCallsRunInGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSlow(200 * time.Millisecond)
		if took := waves(t, p); p.writes > 12 || took > 4*time.Second {
			t.Errorf("%d writes in %s, want about ten", p.writes, took)
		}
	})
}

// TestLargeCallsAreNotDelayed: two callers take turns with many changes each, and neither waits for the other.
func TestLargeCallsAreNotDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const items, run, away = 500, 100 * time.Millisecond, 150 * time.Millisecond
		q := NewGathering(func(_ context.Context, calls [][]int) []int {
			time.Sleep(run * time.Duration(len(calls)))
			return make([]int, len(calls))
		}, func(in []int) int { return len(in) })
		begin := time.Now()
		var wg sync.WaitGroup
		for caller := range 2 {
			wg.Go(func() {
				time.Sleep(time.Duration(caller) * time.Millisecond)
				for range 10 {
					if _, err := q.Do(t.Context(), make([]int, items)); err != nil {
						t.Error(err)
					}
					time.Sleep(away)
				}
			})
		}
		wg.Wait()
		if took := time.Since(begin); took > 10*(run+away)+run+run/10 {
			t.Errorf("twenty calls took %s", took)
		}
	})
}

// other is a platform with a further power.
type other struct{ *slow }

func (other) Describe(context.Context, jit.Binding) (jit.Traits, error) { return jit.Traits{}, nil }

func TestFindSearchesWrappers(t *testing.T) {
	inner := other{}
	if found, ok := jit.Find[jit.Describer](Share(wrapped{inner}, 0, time.Now)); !ok || found != jit.Describer(inner) {
		t.Errorf("Find = %v, %t", found, ok)
	}
	if found, ok := jit.Find[jit.Describer](wrapped{&slow{}}); ok {
		t.Errorf("Find = %v of a platform that cannot", found)
	}
}
