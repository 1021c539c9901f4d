package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Tidied records that a platform removed expired bindings during another write. If the ledger cannot record that
// now, the sweep that ends the grant does.
func (b *Broker) Tidied(ctx context.Context, gone []jit.Marker) error {
	var ids []jit.ID
	for _, m := range gone {
		if m.Owner == b.Owner {
			ids = append(ids, m.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	var entries []jit.Entry
	for g, err := range b.Ledger.Grants(ctx, jit.Filter{Owner: b.Owner, IDs: ids}) {
		if err != nil {
			return fmt.Errorf("read the grants that were tidied away: %w", err)
		}
		next := g
		if events := b.endedWith(&next, nil); len(events) > 0 {
			entries = append(entries, jit.Rewrite(g, next, events...))
		}
	}
	if len(entries) == 0 {
		return nil
	}
	return errors.Join(b.Ledger.Write(ctx, entries)...)
}
