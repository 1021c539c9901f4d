package broker

import (
	"context"
	"errors"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// ClearDrift records that the open drift of grants is gone: a later read found them right, and the repair itself was
// not recorded.
func (b *Broker) ClearDrift(ctx context.Context, grants []jit.Grant) error {
	entries := make([]jit.Entry, len(grants))
	for i, g := range grants {
		next := g
		next.OpenDrift = ""
		entries[i] = jit.Rewrite(g, next, b.window(jit.EventRepaired, g, "drift", string(g.OpenDrift), "note", "seen to be right again"))
	}
	errs := b.Ledger.Write(ctx, entries)
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool { return errors.Is(err, jit.ErrStale) })...) // the next pass clears it
}
