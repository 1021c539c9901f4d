package jit

import (
	"context"
	"time"
)

// Leases divide work other than grants among processes. Each piece of work has a name, at most one holder and a
// position, which says how far it has come. Implementations are safe for concurrent use by many goroutines and
// processes. A lease with position 0 may be deleted some time after it has ended; that equals never having existed.
type Leases interface {
	// Acquire gives the lease to holder until the given time. ok is false if another holder's lease is valid at now.
	// Another holder's lease that ends more than [MaxLease] after until was written by a wrong clock and is ignored.
	// position is the one stored last, 0 at first.
	Acquire(ctx context.Context, name, holder string, now, until time.Time) (position int64, ok bool, err error)

	// Renew stores the position and the new end of the lease. It writes nothing and returns [ErrStale] if holder no
	// longer has the lease.
	Renew(ctx context.Context, name, holder string, position int64, until time.Time) error

	// Release stores the position and ends the lease. It writes nothing and returns [ErrStale] if holder no longer has
	// the lease.
	Release(ctx context.Context, name, holder string, position int64) error

	// Holder returns the holder, the end and the position of a lease, also of one that has ended. All are zero if
	// nobody ever had it. Holder writes nothing.
	Holder(ctx context.Context, name string) (position int64, holder string, until time.Time, err error)
}

// Thrifty reports whether a write of the leases costs something and is kept for ever, as in a bucket. A process then
// acquires no lease that only spares others work, as long as there is none.
func Thrifty(l Leases) bool {
	t, ok := l.(interface{ Thrifty() bool })
	return ok && t.Thrifty()
}
