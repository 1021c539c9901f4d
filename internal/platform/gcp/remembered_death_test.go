package gcp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

// hooked is a ledger of claims whose every call goes through call.
type hooked struct {
	jit.Claims
	call func(do func() error) error
}

func (h hooked) ReadClaims(ctx context.Context, place, scope string) (m jit.ClaimSet, err error) {
	err = h.call(func() (err error) {
		m, err = h.Claims.ReadClaims(ctx, place, scope)
		return err
	})
	return m, err
}

func (h hooked) Update(
	ctx context.Context, place, scope string, version int64, put, drop []jit.Claim,
) (next int64, err error) {
	err = h.call(func() (err error) {
		next, err = h.Claims.Update(ctx, place, scope, version, put, drop)
		return err
	})
	return next, err
}

var errDead = errors.New("killed")

// death is the end of a process at its n-th call, before or after the call took effect.
type death struct {
	n            int64
	after        bool
	prior, again bool // the access was there before; it is applied once more before its end
}

// A process that dies at any of its calls forgets nothing: another process ends its grants, and earlier access stays.
func TestDeathAtEveryCallOfWhatIsRemembered(t *testing.T) {
	for bits := range 8 {
		d := death{after: bits&1 != 0, prior: bits&2 != 0, again: bits&4 != 0}
		for d.n = 1; d.strikes(t); d.n++ {
			if d.n > 50 {
				t.Fatalf("%+v: it never gets through", d)
			}
		}
		if least := map[bool]int64{false: 9, true: 7}[d.prior]; d.n < least {
			t.Errorf("%+v: it got through after %d calls, which is less than a grant takes", d, d.n)
		}
	}
}

func (d death) strikes(t *testing.T) (died bool) {
	t.Helper()
	s := newSite(t)
	a := editor("death")
	if d.prior {
		s.give(a.Binding)
	}
	before := foreign(t, s.server, project)
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	var calls atomic.Int64
	p := s.open()
	p.ledger = hooked{s.marks, func(do func() error) error {
		n := calls.Add(1)
		if n < d.n {
			return do()
		}
		if n == d.n && d.after {
			_ = do()
		}
		kill()
		return errDead
	}}
	s.server.Inject(func(gcptest.Request) gcptest.Fault {
		n := calls.Add(1)
		if n < d.n {
			return gcptest.Fault{}
		}
		kill()
		return gcptest.Fault{Lost: true, After: n == d.n && d.after}
	})
	if p.Apply(ctx, project, ensured(a))[0] == nil {
		_ = p.Apply(ctx, project, removed(a))
	}
	died = ctx.Err() != nil
	s.server.Inject(nil)
	next := s.open()
	if d.again {
		apply(t, next, project, ensured(a)...)
		s.wants(a.Binding, true, fmt.Sprintf("%+v: after a second apply", d))
	}
	// The outcome of a lost request is known only when the server has handled it.
	deadline := time.Now().Add(5 * time.Second)
	for apply(t, next, project, removed(a)...); foreign(t, s.server, project) != before && time.Now().Before(deadline); {
		apply(t, next, project, removed(a)...)
	}
	s.left(before, fmt.Sprintf("%+v: at last", d))
	return died
}

// Processes grant and end the same access at once, while others write the policy. The last change of each wins.
func TestCrossingGrantsOfWhatIsRemembered(t *testing.T) {
	const processes, rounds = 4, 6
	s := newSite(t)
	s.server.SetLatency(time.Millisecond)
	before := foreign(t, s.server, project)
	var all sync.WaitGroup
	for n := range processes {
		p, a := s.open(), editor(fmt.Sprint("process ", n))
		all.Go(func() {
			for range rounds {
				for _, c := range slices.Concat(ensured(a), removed(a)) {
					if err := p.Apply(t.Context(), project, []jit.Change{c})[0]; err != nil {
						t.Errorf("%s: %v", c.Op, err)
					}
					if c.Op == jit.Ensure {
						s.wants(a.Binding, true, "granted")
					}
				}
			}
		})
	}
	enough, foreigners := make(chan struct{}), sync.WaitGroup{}
	foreigners.Go(func() {
		for {
			select {
			case <-enough:
				return
			case <-time.After(7 * time.Millisecond):
				s.server.Edit(project, func(*gcptest.Policy) {}) // with another etag
			}
		}
	})
	all.Wait()
	close(enough)
	foreigners.Wait()
	s.left(before, "at last")
}
