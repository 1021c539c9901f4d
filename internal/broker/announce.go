package broker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// announceSize is how many grants are announced with one write.
const announceSize = 1000

// Announce records an ends_soon event for every live grant that ends within the given time, once for each end, and
// returns their number. A grant shorter than twice that time is not announced: its holder has only just received it.
func (b *Broker) Announce(ctx context.Context, before time.Duration) (int, error) {
	entries, err := b.endingSoon(ctx, before)
	if err != nil {
		return 0, err
	}
	announced := 0
	var errs []error
	for some := range slices.Chunk(entries, announceSize) {
		for _, err := range b.Ledger.Write(ctx, some) {
			if err == nil {
				announced++
			} else if !errors.Is(err, jit.ErrStale) { // the next call handles a record that has changed
				errs = append(errs, err)
			}
		}
	}
	return announced, errors.Join(errs...)
}

// endingSoon returns the entries that announce the ends within the given time.
func (b *Broker) endingSoon(ctx context.Context, before time.Duration) (entries []jit.Entry, err error) {
	now := b.Now()
	for g, err := range b.Ledger.Grants(ctx, jit.Filter{Owner: b.Owner, LiveAt: now}) {
		if err != nil {
			return nil, err
		}
		if g.End.After(now.Add(before)) {
			break // grants come in the order of their end
		}
		if g.State(now) != jit.StateActive || g.AnnouncedEnd.Equal(g.End) || g.Length() < 2*before {
			continue
		}
		next := g
		next.AnnouncedEnd = g.End
		entries = append(entries, jit.Rewrite(g, next, b.window(jit.EventEndsSoon, next)))
	}
	return entries, nil
}
