package jit

import (
	"context"
	"time"
)

// Leases share work that is no grant among processes: each piece has a name, one holder at a
// time and a position, which is how far it has come. Implementations are safe for concurrent use by
// many goroutines and processes. Work whose position is 0 may be forgotten some time after its lease has ended: it is as if nobody had ever taken it.
type Leases interface {
	// Acquire gives the work of that name to holder until a time, unless another holder has it at now; ok is
	// false then. What another has for more than [MaxLease] beyond that time it has by a clock that was wrong, and has not. position is what was kept last, 0 at first.
	Acquire(ctx context.Context, name, holder string, now, until time.Time) (position int64, ok bool, err error)

	// Renew notes how far the work has come, and when the lease ends from now on: a time in the past lets go of
	// it. The error is [ErrStale] if holder does not have the lease any more, and nothing is written.
	Renew(ctx context.Context, name, holder string, position int64, until time.Time) error

	// Holder tells who has the work until when, and the position that was kept last; all are zero for work that nobody ever took. It
	// writes nothing, and a lease that has ended is told too.
	Holder(ctx context.Context, name string) (position int64, holder string, until time.Time, err error)
}
