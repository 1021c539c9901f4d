package jittest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Thrifty counts the writes of leases of a ledger that keeps every write for ever.
type Thrifty struct {
	jit.Leases
	Writes atomic.Int64
}

// Thrifty reports true.
func (*Thrifty) Thrifty() bool { return true }

// Acquire counts a write.
func (l *Thrifty) Acquire(ctx context.Context, name, holder string, now, until time.Time) (int64, bool, error) {
	l.Writes.Add(1)
	return l.Leases.Acquire(ctx, name, holder, now, until)
}

// Renew counts a write.
func (l *Thrifty) Renew(ctx context.Context, name, holder string, position int64, until time.Time) error {
	l.Writes.Add(1)
	return l.Leases.Renew(ctx, name, holder, position, until)
}

// Release counts a write.
func (l *Thrifty) Release(ctx context.Context, name, holder string, position int64) error {
	l.Writes.Add(1)
	return l.Leases.Release(ctx, name, holder, position)
}
