package broker

import (
	"context"
	"maps"
	"slices"
	"time"

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

// standing finds access in a snapshot that gives the same as a grant and outlasts it, with any marker but the grant's
// own. end is the grant's end; zero if it is unknown.
func (b *Broker) standing(
	ctx context.Context, s jit.Snapshot, g jit.Grant, end time.Time,
) (jit.Standing, bool, error) {
	candidates, bounds := jit.Snapshot{Standing: s.Standing}, b.recordsOf(ctx, nil)
	var ids []jit.ID
	for i := range s.Ours { // by index: a plan of many grants on one scope runs this for each
		o := &s.Ours[i]
		if o.Principal != g.Principal || o.Marker.ID == g.ID || bounds.Soon(o.End) { // whatever its record says
			continue
		}
		as := []jit.Standing{{Principal: o.Principal, Role: o.Role, Covers: o.Covers}}
		if _, gives := jit.Shadow(as, g.Binding, end); gives {
			candidates.Ours, ids = append(candidates.Ours, *o), append(ids, o.Marker.ID)
		}
	}
	records := b.recordsOf(ctx, append(ids, claimed(s.Standing, g.Binding, end)...))
	if records.Unread != nil {
		return jit.Standing{}, false, records.Unread
	}
	found, stands := jit.Shadow(records.Standing(candidates, g.Scope), g.Binding, end)
	return found, stands, nil
}

// claimed returns the ids in the markers of standing access that gives the same as the binding and outlasts end.
func claimed(all []jit.Standing, binding jit.Binding, end time.Time) (ids []jit.ID) {
	for i := range all {
		if _, gives := jit.Shadow(all[i:i+1], binding, end); gives && all[i].Claims() {
			ids = append(ids, all[i].Marker.ID)
		}
	}
	return ids
}
