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
// several bindings of one grant the one that ends first is taken: a copy that was made to last longer extends nothing. refused has an
// error for each grant that the ledger does not know and that may not be recorded; err says that the ledger could not be read.
func (b *Broker) Unrecorded(ctx context.Context, observed map[jit.Place]jit.Snapshot) (grants []jit.Grant, refused []error, err error) {
	lost, err := b.lost(ctx, observed)
	if err != nil {
		return nil, nil, err
	}
	found, wrong := map[jit.ID]jit.Grant{}, map[jit.ID]error{}
	for _, at := range slices.SortedFunc(maps.Keys(observed), jit.Place.Compare) {
		for _, o := range observed[at].Ours {
			if o.Marker.Owner != b.Owner || !lost[o.Marker.ID] {
				continue
			}
			g, err := b.fromMarker(at, observed[at], o)
			if err != nil {
				wrong[o.Marker.ID] = fmt.Errorf("grant %s on %s of target %q: %w", o.Marker.ID, at.Scope, at.Target, err)
				continue
			}
			if first, copied := found[g.ID]; !copied || g.End.Before(first.End) {
				found[g.ID] = g
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(wrong)) {
		if _, told := found[id]; !told {
			refused = append(refused, wrong[id])
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b jit.Grant) int {
		return cmp.Or(a.End.Compare(b.End), cmp.Compare(a.ID, b.ID))
	}), refused, nil
}

// lost returns the ids in the markers of this owner that the ledger does not know.
func (b *Broker) lost(ctx context.Context, observed map[jit.Place]jit.Snapshot) (map[jit.ID]bool, error) {
	ids := map[jit.ID]bool{}
	for _, s := range observed {
		for _, o := range s.Ours {
			if o.Marker.Owner == b.Owner {
				ids[o.Marker.ID] = true
			}
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	for g, err := range b.Ledger.Grants(ctx, jit.Filter{IDs: slices.Collect(maps.Keys(ids))}) {
		if err != nil {
			return nil, err
		}
		delete(ids, g.ID)
	}
	return ids, nil
}

// fromMarker is the record that one binding of a snapshot tells. Whoever may write on a target can write a marker, so one of a live
// grant that is longer than any grant may be is refused; one that is over is recorded in any case, so that it never comes back.
func (b *Broker) fromMarker(at jit.Place, s jit.Snapshot, o jit.Observed) (jit.Grant, error) {
	p, err := b.Target(at.Target)
	if err != nil {
		return jit.Grant{}, err
	}
	binding, traits, err := p.Check(jit.Binding{Target: at.Target, Principal: o.Principal, Role: o.Role, Scope: at.Scope})
	if err != nil {
		return jit.Grant{}, err
	}
	w, now := o.Marker.Window, b.Now()
	if !w.Over(now) && w.Length() > b.MaxTTL {
		return jit.Grant{}, &jit.Error{
			Problem: fmt.Sprintf("its marker says %s to %s, which is %s; max_ttl is %s", jit.FormatTime(w.Start), jit.FormatTime(w.End),
				jit.FormatDuration(w.Length()), jit.FormatDuration(b.MaxTTL)),
			Hint: "if that is what was granted, write that max_ttl into jit.hcl and adopt again; else take the binding off the target",
			Err:  jit.ErrInvalid,
		}
	}
	g := jit.Grant{
		ID: o.Marker.ID, Owner: o.Marker.Owner, Binding: binding, Reason: AdoptedReason, Renewal: 1, TTL: jit.FormatDuration(w.Length()),
		Window: w, Enforcement: traits.Enforcement, SessionTail: traits.SessionTail, RequestedAt: w.Start,
	}
	if traits.StrippedTo != "" {
		_, stands := s.StandingOf(binding)
		g.NoStandingBefore = !stands
	}
	if now.Before(w.Start) {
		g.RequestedAt = jit.Second(now)
	}
	if traits.NativeStart || !now.Before(w.Start) {
		g.GrantedAt = g.RequestedAt
	}
	return g, nil
}

// remade rebuilds the record of a grant from its marker, for a ledger that lost it: of several bindings from the one that ends first. A live
// one that is longer than any grant may be, or longer or later than what is asked for, is refused.
func (b *Broker) remade(g jit.Grant, s jit.Snapshot, r Request) (_ jit.Grant, found bool, err error) {
	for _, o := range s.Ours {
		if o.Marker.ID == g.ID && o.Marker.Owner == g.Owner && (!found || o.Marker.Window.End.Before(g.End)) {
			g.Window, found = o.Marker.Window, true
		}
	}
	if !found {
		return jit.Grant{}, false, nil
	}
	if err := b.credible(g, r); err != nil {
		return jit.Grant{}, false, err
	}
	g.RequestedAt, g.GrantedAt = g.Start, g.Start
	return g, true, nil
}

// credible refuses the window that a marker tells of a live grant if nobody asks for so much.
func (b *Broker) credible(g jit.Grant, r Request) error {
	now := b.Now()
	if g.Window.Over(now) {
		return nil
	}
	ttl, begin := b.MaxTTL, later(r.StartsAt, now)
	if r.TTL != "" {
		var err error
		if ttl, err = jit.ParseTTL(r.TTL); err != nil {
			return err
		}
	}
	var rule, hint string
	switch {
	case g.Length() > b.MaxTTL:
		rule, hint = "max_ttl of the provider is "+jit.FormatDuration(b.MaxTTL), "have max_ttl raised, record it with `jit adopt`"
	case g.Length() > ttl:
		rule, hint = "ttl is "+jit.FormatDuration(ttl), "record it with `jit adopt`"
	case r.TTL != "" && g.Start.After(begin.Add(jit.MaxSkew)): // what was granted a moment ago may begin by another clock
		rule, hint = "it would begin at "+jit.FormatTime(begin), "record it with `jit adopt`"
	default:
		return nil
	}
	return jit.Invalid(endAttribute(g), "take the binding off the target and apply again; or, if that is what was granted, "+hint+" and apply again",
		"the ledger has no record of grant %s, and its marker on target %q says %s to %s, which is %s; %s", g.ID, g.Target,
		jit.FormatTime(g.Start), jit.FormatTime(g.End), jit.FormatDuration(g.Length()), rule)
}

// whole returns a record that was made from a marker with what no marker holds, taken from the same grant as it is asked for;
// made is false of every other record, which stays as it is.
func whole(g, asked jit.Grant) (_ jit.Grant, made bool) {
	if g.Reason != AdoptedReason || asked.ID != g.ID {
		return g, false
	}
	g.Reason, g.Renewal = asked.Reason, asked.Renewal // the id is made of them
	g.StartBy, g.TerminateSessions = asked.StartBy, asked.TerminateSessions
	return g, true
}

// Adopt records grants that [Broker.Unrecorded] has found. One that somebody has recorded meanwhile is left as it is. It returns one
// error for each.
func (b *Broker) Adopt(ctx context.Context, grants []jit.Grant) []error {
	entries := make([]jit.Entry, len(grants))
	for i, g := range grants {
		entries[i] = jit.Rewrite(jit.Grant{}, g, b.window(jit.EventAdopted, g, "state", string(g.State(b.Now())),
			"owner", g.Owner, "target", g.Target, "principal", g.Principal, "role", g.Role, "scope", g.Scope, "from", "marker"))
	}
	errs := b.Ledger.Write(ctx, entries)
	for i, err := range errs {
		if errors.Is(err, jit.ErrStale) {
			errs[i] = nil
		}
	}
	return errs
}
