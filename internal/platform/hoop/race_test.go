package hoop

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

// One process revokes a grant while another puts a copy of it in front of a shorter one. Both revocations of the first
// review succeed, and the copy is revoked too.
func TestARevocationFindsTheCopy(t *testing.T) {
	s := newSite(t, nil)
	p, other := s.open(t, Config{}, 0), s.open(t, Config{}, 0)
	short, long := access("short", time.Hour), access("long", 3*time.Hour)
	must(t, apply(t, p, jit.Ensure, long))
	var copied atomic.Bool
	s.Between(func(*http.Request) {
		if copied.CompareAndSwap(false, true) {
			must(t, apply(t, other, jit.Ensure, short))
		}
	})
	must(t, apply(t, p, jit.Remove, long))
	if left := s.ours(long.Marker); len(left) != 0 {
		t.Errorf("the copy of the revoked grant is left: %+v", left)
	}
	s.may(t, time.Now(), true, "by the short one")
	s.may(t, short.Marker.Window.End.Add(time.Minute), false, "when the short one is over")
}

// One process removes a long grant while another makes a shorter one. In whichever order, once both have succeeded
// nothing is left of the long grant, and the short one exists.
func TestARemovalBesideAGrant(t *testing.T) {
	for lag, tries := range map[time.Duration]int{0: 40, 30 * time.Millisecond: 5} {
		t.Run("the list lags "+lag.String(), func(t *testing.T) {
			s := newSite(t, nil)
			s.Lag(lag)
			s.Between(func(*http.Request) { time.Sleep(rand.N(2 * time.Millisecond)) })
			for i := range tries {
				short, long := access("short "+time.Duration(i).String(), time.Hour), access(
					"long "+time.Duration(i).String(),
					3*time.Hour,
				)
				must(t, apply(t, s.open(t, Config{}, 0), jit.Ensure, long))
				var both sync.WaitGroup
				var removed, made error
				remover, maker := s.open(t, Config{}, 0), s.open(t, Config{}, 0)
				both.Go(func() {
					time.Sleep(rand.N(5 * time.Millisecond))
					removed = apply(t, remover, jit.Remove, long)
				})
				both.Go(func() { made = apply(t, maker, jit.Ensure, short) })
				both.Wait()
				must(t, removed)
				must(t, made)
				if left := s.ours(long.Marker); len(left) != 0 {
					t.Fatalf("try %d: removed, and there is %+v", i, left)
				}
				s.may(t, time.Now(), true, "by the short one")
				must(t, apply(t, s.open(t, Config{}, 0), jit.Remove, short))
				s.may(t, time.Now(), false, "without both")
			}
		})
	}
}

// If the list is seconds behind, a grant is slower but made once, and its removal is complete.
func TestALaggingList(t *testing.T) {
	s := newSite(t, nil)
	s.Lag(300 * time.Millisecond)
	p, a := s.open(t, Config{}, 0), access("lag", time.Hour)
	must(t, apply(t, p, jit.Ensure, a))
	if all := s.Reviews(); len(all) != 1 {
		t.Errorf("%d reviews were made, want 1", len(all))
	}
	must(t, apply(t, p, jit.Remove, a))
	s.may(t, time.Now(), false, "after the removal")

	// The answer to the first request is lost, and the list shows its review only when the second is made.
	var once sync.Once
	s.Interrupt(func(r *http.Request) (way hooptest.Cut) {
		if r.Method == http.MethodPost {
			once.Do(func() { way = hooptest.Unanswered })
		}
		return way
	})
	b := access("lag and lost", time.Hour)
	must(t, apply(t, p, jit.Ensure, b))
	if n := len(s.ours(b.Marker)); n != 1 {
		t.Errorf("%d reviews are approved, want 1", n)
	}
	must(t, apply(t, p, jit.Remove, b))
	s.may(t, time.Now(), false, "after the second removal")
}
