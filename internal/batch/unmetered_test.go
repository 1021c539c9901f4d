package batch

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// free is a platform whose calls need not be saved.
type free struct{ *slow }

func newSlow(apply time.Duration) *slow { return &slow{held: map[jit.ID]int{}, apply: apply} }

func (*free) Unmetered() {}

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
				id := jit.ID(fmt.Sprint(caller, "/", n))
				if err := s.Apply(t.Context(), "only", []jit.Change{{Op: jit.Ensure, Access: jit.Access{Marker: jit.Marker{ID: id}}}})[0]; err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begin)
}

func TestCallersOfAnUnmeteredPlatformAreNotKeptWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metered, unmetered := newSlow(2*time.Millisecond), &free{newSlow(2 * time.Millisecond)}
		long, short := waves(t, metered), waves(t, unmetered)
		// The last caller alone needs 10 times 90 ms.
		if short > 950*time.Millisecond {
			t.Errorf("100 calls of 2 ms took %s", short)
		}
		if long <= short || metered.writes >= unmetered.writes {
			t.Errorf("a metered platform took %s and %d writes, an unmetered one %s and %d", long, metered.writes, short, unmetered.writes)
		}
	})
}

// A call that takes long is worth waiting for, also where calls are free.
func TestASlowUnmeteredPlatformIsAskedInGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &free{newSlow(200 * time.Millisecond)}
		if took := waves(t, wrapped{p}); p.writes > 12 || took > 4*time.Second {
			t.Errorf("%d writes in %s, want about ten", p.writes, took)
		}
	})
}

func TestFindLooksIntoWrappers(t *testing.T) {
	inner := &free{}
	if found, ok := jit.Find[jit.Unmetered](Share(wrapped{inner}, 0, time.Now)); !ok || found != jit.Unmetered(inner) {
		t.Errorf("Find = %v, %t", found, ok)
	}
	if found, ok := jit.Find[jit.Unmetered](wrapped{&slow{}}); ok {
		t.Errorf("Find = %v of a platform that cannot", found)
	}
}
