package jittest

import (
	"context"
	"maps"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// shared is a piece of shared work.
type shared struct {
	held
	position int64
}

// lasts reports whether a lease is valid at now and was not written by a wrong clock.
func (s shared) lasts(now, until time.Time) bool {
	return s.until.After(now) && !s.until.After(until.Add(jit.MaxLease))
}

func (l *Ledger) share(name string, s shared) {
	if l.shared == nil {
		l.shared = map[string]shared{}
	}
	l.shared[name] = s
}

// Leases returns the leases of the ledger.
func (l *Ledger) Leases() jit.Leases { return leases{l} }

type leases struct{ *Ledger }

// Acquire gives a lease to holder, unless another holder has it.
func (l leases) Acquire(
	ctx context.Context, name, holder string, now, until time.Time,
) (position int64, ok bool, err error) {
	err = l.locked(ctx, "write", func() {
		maps.DeleteFunc(l.shared, func(_ string, s shared) bool {
			return s.position == 0 && now.Sub(s.until) >= 24*time.Hour
		})
		s := l.shared[name]
		position = s.position
		if ok = s.holder == holder || !s.lasts(now, until); ok {
			l.share(name, shared{held{holder, until}, position})
		}
	})
	return position, ok, err
}

// Holder returns the holder of a lease.
func (l leases) Holder(ctx context.Context, name string) (position int64, holder string, until time.Time, err error) {
	err = l.locked(ctx, "read", func() {
		s := l.shared[name]
		position, holder, until = s.position, s.holder, s.until
	})
	return position, holder, until, err
}

// Renew stores the position of a lease and its new end.
func (l leases) Renew(ctx context.Context, name, holder string, position int64, until time.Time) error {
	stale := false
	err := l.locked(ctx, "write", func() {
		if stale = l.shared[name].holder != holder; !stale {
			l.share(name, shared{held{holder, until}, position})
		}
	})
	if stale {
		return jit.ErrStale
	}
	return err
}

// Release ends a lease.
func (l leases) Release(ctx context.Context, name, holder string, position int64) error {
	return l.Renew(ctx, name, holder, position, time.Unix(0, 0))
}
