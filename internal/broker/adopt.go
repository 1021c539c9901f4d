package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// AdoptedReason is the reason of a grant whose record was made from its marker, until the configuration that asked for it is
// applied again: a marker holds no reason.
const AdoptedReason = "unknown: the record was lost and made again from the marker on the target"

// Unrecorded returns the grants that the markers of this owner tell of and the ledger does not know, in the order of their end. Of
// several bindings of one grant one is taken. What cannot be told of a marker is left out and named in the error.
func (b *Broker) Unrecorded(ctx context.Context, observed map[jit.Place]jit.Snapshot) ([]jit.Grant, error) {
	found := map[jit.ID]jit.Grant{}
	var errs []error
	places := slices.SortedFunc(maps.Keys(observed), func(a, b jit.Place) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Scope, b.Scope))
	})
	for _, at := range places {
		for _, o := range observed[at].Ours {
			if _, taken := found[o.Marker.ID]; taken || o.Marker.Owner != b.Owner {
				continue
			}
			g, err := b.fromMarker(at, o)
			if err != nil {
				errs = append(errs, fmt.Errorf("grant %s on %s of target %q: %w", o.Marker.ID, at.Scope, at.Target, err))
				continue
			}
			found[g.ID] = g
		}
	}
	if len(found) > 0 {
		for g, err := range b.Ledger.Grants(ctx, jit.Filter{IDs: slices.Collect(maps.Keys(found))}) {
			if err != nil {
				return nil, err
			}
			delete(found, g.ID)
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b jit.Grant) int {
		return cmp.Or(a.End.Compare(b.End), cmp.Compare(a.ID, b.ID))
	}), errors.Join(errs...)
}

// fromMarker is the record that one binding tells.
func (b *Broker) fromMarker(at jit.Place, o jit.Observed) (jit.Grant, error) {
	p, err := b.Target(at.Target)
	if err != nil {
		return jit.Grant{}, err
	}
	binding, traits, err := p.Check(jit.Binding{Target: at.Target, Principal: o.Principal, Role: o.Role, Scope: at.Scope})
	if err != nil {
		return jit.Grant{}, err
	}
	w := o.Marker.Window
	return jit.Grant{
		ID: o.Marker.ID, Owner: o.Marker.Owner, Binding: binding, Reason: AdoptedReason, Renewal: 1, TTL: jit.FormatDuration(w.Length()),
		Window: w, Enforcement: traits.Enforcement, SessionTail: traits.SessionTail, RequestedAt: w.Start, GrantedAt: w.Start,
	}, nil
}

// Adopt records grants that [Broker.Unrecorded] has found. One that somebody has recorded meanwhile is left as it is. It returns one
// error for each.
func (b *Broker) Adopt(ctx context.Context, grants []jit.Grant) []error {
	entries := make([]jit.Entry, len(grants))
	for i, g := range grants {
		entries[i] = jit.Entry{Grant: &g, Events: []jit.Event{b.window(jit.EventAdopted, g, "state", string(g.State(b.Now())),
			"owner", g.Owner, "target", g.Target, "principal", g.Principal, "role", g.Role, "scope", g.Scope, "from", "marker")}}
	}
	errs := b.Ledger.Write(ctx, entries)
	for i, err := range errs {
		if errors.Is(err, jit.ErrStale) {
			errs[i] = nil
		}
	}
	return errs
}
