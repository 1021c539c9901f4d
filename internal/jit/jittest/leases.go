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

// lasts tells whether it has not ended at now, nor was given by a clock that was wrong.
func (s shared) lasts(now, until time.Time) bool {
	return s.until.After(now) && !s.until.After(until.Add(jit.MaxLease))
}

// Leases returns the leases of the ledger.
func (l *Ledger) Leases() jit.Leases { return leases{l} }

type leases struct{ *Ledger }

// Acquire gives a piece of work to holder, unless another has it.
func (l leases) Acquire(ctx context.Context, name, holder string, now, until time.Time) (int64, bool, error) {
	if err := l.call(ctx, "write"); err != nil {
		return 0, false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.shared, func(_ string, s shared) bool { return s.position == 0 && now.Sub(s.until) >= 24*time.Hour })
	s, known := l.shared[name]
	if known && s.holder != holder && s.lasts(now, until) {
		return s.position, false, nil
	}
	l.put(name, shared{held{holder, until}, s.position})
	return s.position, true, nil
}

func (l *Ledger) put(name string, s shared) {
	if l.shared == nil {
		l.shared = map[string]shared{}
	}
	l.shared[name] = s
}

// Holder tells who has a piece of work.
func (l leases) Holder(ctx context.Context, name string) (int64, string, time.Time, error) {
	if err := l.call(ctx, "read"); err != nil {
		return 0, "", time.Time{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.shared[name]
	return s.position, s.holder, s.until, nil
}

// Renew notes how far a piece of work has come.
func (l leases) Renew(ctx context.Context, name, holder string, position int64, until time.Time) error {
	if err := l.call(ctx, "write"); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shared[name].holder != holder {
		return jit.ErrStale
	}
	l.put(name, shared{held{holder, until}, position})
	return nil
}

// Release ends the lease of a piece of work.
func (l leases) Release(ctx context.Context, name, holder string, position int64) error {
	return l.Renew(ctx, name, holder, position, time.Unix(0, 0))
}
