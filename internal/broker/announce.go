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

// Announce records of every live grant that ends within a time from now that it does, once for each end. A grant that is shorter than twice
// that time is not announced: whoever has just got it knows. It returns how many were announced.
func (b *Broker) Announce(ctx context.Context, before time.Duration) (int, error) {
	now := b.Now()
	var entries []jit.Entry
	for g, err := range b.Ledger.Grants(ctx, jit.Filter{Owner: b.Owner, LiveAt: now}) {
		if err != nil {
			return 0, err
		}
		if g.End.After(now.Add(before)) {
			break // they come in the order of their end
		}
		if g.State(now) != jit.StateActive || g.AnnouncedEnd.Equal(g.End) || g.Length() < 2*before {
			continue
		}
		next := g
		next.AnnouncedEnd = g.End
		entries = append(entries, jit.Rewrite(g, next, b.window(jit.EventEndsSoon, next)))
	}
	announced := 0
	var errs []error
	for some := range slices.Chunk(entries, announceSize) {
		for _, err := range b.Ledger.Write(ctx, some) {
			switch {
			case err == nil:
				announced++
			case !errors.Is(err, jit.ErrStale): // somebody else has changed it, or announced it: the next look tells
				errs = append(errs, err)
			}
		}
	}
	return announced, errors.Join(errs...)
}
