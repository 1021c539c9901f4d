package hoop

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

// lateSite is a gateway that loses the connection of the first creation and carries it out later.
type lateSite struct {
	*site
	platform *Platform
	access   jit.Access
	// onLate is called when the creation arrives.
	onLate func()
}

func newLateSite(t *testing.T, mode string) *lateSite {
	t.Helper()
	s := &lateSite{site: newSite(t, nil), access: access("late", time.Hour), onLate: func() {}}
	if mode == modeAttribute {
		s.Put(hooptest.Connection{Name: db})
		s.access = groupAccess("late")
	}
	s.platform = s.open(t, Config{Mode: mode}, 0)
	s.platform.patience = 3 * hooptest.Delay
	var late atomic.Bool
	s.Interrupt(func(r *http.Request) hooptest.Cut {
		if r.Method == http.MethodPost && late.CompareAndSwap(false, true) {
			s.onLate()
			return hooptest.Late
		}
		return hooptest.Through
	})
	return s
}

// ensure makes the grant.
func (s *lateSite) ensure(t *testing.T) {
	t.Helper()
	must(t, apply(t, s.platform, jit.Ensure, s.access))
}

// ensureCancelled makes the grant in a context that ends while the creation is under way.
func (s *lateSite) ensureCancelled(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s.onLate = cancel
	if err := s.platform.Apply(ctx, db, []jit.Change{{Op: jit.Ensure, Access: s.access}})[0]; err == nil {
		t.Error("Ensure succeeded without an answer")
	}
}

// holds asserts the number of bindings after the creation has taken effect, and that none outlasts its window.
func (s *lateSite) holds(t *testing.T, want int) {
	t.Helper()
	time.Sleep(2 * hooptest.Delay)
	snap, err := s.platform.Read(t.Context(), db)
	must(t, err)
	if len(snap.Ours) != want {
		t.Fatalf("there are %d bindings, want %d: %+v", len(snap.Ours), want, snap.Ours)
	}
	for _, r := range s.ours(s.access.Marker) {
		if r.Ends.After(s.access.Marker.Window.End) {
			t.Errorf("the review ends at %s, after the window", r.Ends)
		}
	}
}

// A creation takes effect after its answer was lost and the list was read again. The platform finds the copy.
func TestALateCreation(t *testing.T) {
	for _, mode := range []string{modeReview, modeAttribute} {
		for name, ensure := range map[string]func(*lateSite, *testing.T){
			"answer lost":       (*lateSite).ensure,
			"context cancelled": (*lateSite).ensureCancelled,
		} {
			t.Run(mode+", "+name+", ensured again", func(t *testing.T) {
				t.Parallel()
				s := newLateSite(t, mode)
				ensure(s, t)
				s.ensure(t)
				s.holds(t, 1)
			})
			t.Run(mode+", "+name+", removed", func(t *testing.T) {
				t.Parallel()
				s := newLateSite(t, mode)
				ensure(s, t)
				must(t, apply(t, s.platform, jit.Remove, s.access))
				s.holds(t, 0)
			})
		}
	}
}

// A Remove that ends before a lost creation can be ruled out reports no success.
func TestARemovalThatCannotWaitForALateCreation(t *testing.T) {
	for _, mode := range []string{modeReview, modeAttribute} {
		t.Run(mode, func(t *testing.T) {
			s := newLateSite(t, mode)
			s.ensureCancelled(t)
			ctx, cancel := context.WithTimeout(t.Context(), hooptest.Delay/2)
			defer cancel()
			if err := s.platform.Apply(ctx, db, []jit.Change{{Op: jit.Remove, Access: s.access}})[0]; err == nil {
				t.Error("Remove succeeded while the creation could still take effect")
			}
		})
	}
}
