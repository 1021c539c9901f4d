package broker

import (
	"context"
	"errors"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// ClearDrift records that the open drift of grants is gone: a later read found them right, and no repair was recorded.
func (b *Broker) ClearDrift(ctx context.Context, grants []jit.Grant) error {
	entries := make([]jit.Entry, len(grants))
	for i, g := range grants {
		next := g
		next.OpenDrift = ""
		repaired := b.window(jit.EventRepaired, g, "drift", string(g.OpenDrift), "note", "seen to be right again")
		entries[i] = jit.Rewrite(g, next, repaired)
	}
	errs := b.Ledger.Write(ctx, entries)
	stale := func(err error) bool { return errors.Is(err, jit.ErrStale) } // the next pass clears it
	return errors.Join(slices.DeleteFunc(errs, stale)...)
}
