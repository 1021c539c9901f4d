package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Tidied notes that a platform took these bindings away, which were over, with another write. What cannot
// be recorded now is recorded by the sweep that finds nothing of the grant.
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
	var errs []error
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
	if len(entries) > 0 {
		errs = b.Ledger.Write(ctx, entries)
	}
	return errors.Join(errs...)
}
