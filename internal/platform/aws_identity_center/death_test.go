package awsidentitycenter

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// hooked are claims whose every call goes through call.
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

func (h hooked) Update(ctx context.Context, place, scope string, version int64, put, drop []jit.Claim) (next int64,
	err error) {
	err = h.call(func() (err error) {
		next, err = h.Claims.Update(ctx, place, scope, version, put, drop)
		return err
	})
	return next, err
}

// death is how a process dies: at its n-th call, before or after the call takes effect.
type death struct {
	n     int64
	after bool
	// prior: the access existed before. again: the grant is applied once more before its end.
	prior, again bool
}

// A process that dies at any of its calls forgets nothing: another process ends its grants, and prior access stays.
func TestDeathAtEveryCall(t *testing.T) {
	t.Parallel()
	for bits := range 8 {
		d := death{after: bits&1 != 0, prior: bits&2 != 0, again: bits&4 != 0}
		for d.n = 1; d.strikes(t); d.n++ {
			if d.n > 100 {
				t.Fatalf("%+v: it never finishes", d)
			}
		}
		if d.n < 10 {
			t.Errorf("%+v: it finished after %d calls, fewer than a grant takes", d, d.n)
		}
	}
}

var errDead = errors.New("killed")

// strikes grants and ends with a process that dies, and continues with another one. It reports whether the first died.
func (d death) strikes(t *testing.T) bool {
	t.Helper()
	s := newSite(t)
	if d.prior {
		s.foreign(t, alice())
	}
	before := s.dump()
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	var calls atomic.Int64
	p := s.open(t)
	p.ledger = hooked{p.ledger, func(do func() error) error {
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
	s.fault = func(string) *fault {
		n := calls.Add(1)
		if n < d.n {
			return nil
		}
		kill()
		return &fault{lost: n == d.n && d.after, cut: n > d.n || !d.after}
	}
	a := access(alice(), "death")
	if p.Apply(ctx, production, ensure(a))[0] == nil {
		_ = p.Apply(ctx, production, remove(a))
	}
	died := ctx.Err() != nil
	s.with(func(m *model) { m.fault = nil })

	next := s.open(t)
	if d.again {
		apply(t, next, ensure(a)...)
		s.wants(t, alice(), true, fmt.Sprintf("%+v: after a second apply", d))
	}
	apply(t, next, remove(a)...)
	time.Sleep(2 * s.takes) // what the dead one had begun
	s.wants(t, alice(), d.prior, fmt.Sprintf("%+v: at last", d))
	if after := s.dump(); after != before {
		t.Errorf("%+v: the access of others is\n%s\nwas\n%s", d, after, before)
	}
	if left := marked(t, next); len(left) > 0 {
		t.Errorf("%+v: claims are left: %+v", d, left)
	}
	return died
}
