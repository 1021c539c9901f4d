package broker

import (
	"context"
	"maps"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Records returns the records of all grants that markers in the snapshots name, of every owner. Its Unread says why the
// ledger could not be read.
func (b *Broker) Records(ctx context.Context, snapshots ...jit.Snapshot) jit.Records {
	ids := map[jit.ID]bool{}
	for _, s := range snapshots {
		maps.Copy(ids, s.Marked())
	}
	return b.recordsOf(ctx, slices.Collect(maps.Keys(ids)))
}

func (b *Broker) recordsOf(ctx context.Context, ids []jit.ID) jit.Records {
	r := jit.Records{Now: b.Now(), MaxTTL: b.MaxTTL, Grants: make(map[jit.ID]jit.Grant, len(ids))}
	if len(ids) == 0 {
		return r
	}
	for g, err := range b.Ledger.Grants(ctx, jit.Filter{IDs: ids}) {
		if err != nil {
			r.Unread = err
			return r
		}
		r.Grants[g.ID] = g
	}
	return r
}
