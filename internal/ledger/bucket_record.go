package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// recordApart writes entries to a bucket, in one transaction for each log. An entry of [jit.AllChain] and one of an
// owner are recorded in their order.
func (l *Ledger) recordApart(ctx context.Context, all []jit.Entry, owners owners) []error {
	errs := make([]error, len(all))
	release := func() {}
	defer func() { release() }()
	parts := map[string][]int{}
	flush := func() {
		for _, indices := range sorted(parts) {
			some := make([]jit.Entry, len(indices))
			for n, i := range indices {
				some[n] = all[i]
			}
			for n, err := range l.recordAll(ctx, some, owners) {
				errs[indices[n]] = err
			}
		}
		clear(parts)
	}
	for i, e := range all {
		let, err := l.reserve(ctx, e)
		if errs[i] = err; err != nil {
			continue
		}
		earlier := release
		release = func() { let(); earlier() }
		log := logOf(owners.locked([]jit.Entry{e}))
		if _, pending := parts[jit.AllChain]; len(parts) > 0 && pending != (log == jit.AllChain) {
			flush()
		}
		parts[log] = append(parts[log], i)
	}
	flush()
	return errs
}

// reserveFor is how long the only unsigned grant of a requester may take to be recorded.
const reserveFor = 5 * time.Minute

// reserve keeps others from recording an unsigned grant of the same requester: their grants may be in other logs. It
// does nothing for an entry that may have others beside it.
func (l *Ledger) reserve(ctx context.Context, e jit.Entry) (release func(), err error) {
	if !e.OnlyUnsigned || e.Grant == nil {
		return func() {}, nil
	}
	name, holder := "unsigned/"+jit.FoldName(e.Grant.Requester), string(e.Grant.ID)
	now := l.now()
	_, mine, err := l.Leases().Acquire(ctx, name, holder, now, now.Add(reserveFor))
	switch {
	case err != nil:
		return nil, err
	case !mine:
		return nil, fmt.Errorf("write grant %s: another grant of %s is not signed off: %w",
			e.Grant.ID, e.Grant.Requester, jit.ErrStale)
	}
	l.db.(committer).doubt() // whoever had the reservation before may have recorded a grant
	return func() {
		// If it fails, the reservation ends by itself.
		_ = l.Leases().Release(context.WithoutCancel(ctx), name, holder, 0)
	}, nil
}
