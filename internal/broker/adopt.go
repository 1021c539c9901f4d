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
			g, err := b.boundedRecord(at, observed[at], o)
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

// boundedRecord rebuilds the record of a grant that nobody asks for from one binding of a snapshot. Anyone who can write on a target can
// write a marker, so a live grant longer than max_ttl is refused; one that is over is recorded in any case, so that it never comes back.
func (b *Broker) boundedRecord(at jit.Place, s jit.Snapshot, o jit.Observed) (jit.Grant, error) {
	p, err := b.Target(at.Target)
	if err != nil {
		return jit.Grant{}, err
	}
	binding, traits, err := p.Check(at.Binding(o.Principal, o.Role))
	if err != nil {
		return jit.Grant{}, err
	}
	if w := o.Marker.Window; !w.Over(b.Now()) && w.Length() > b.MaxTTL {
		return jit.Grant{}, &jit.Error{
			Problem: fmt.Sprintf("its marker says %s to %s, which is %s; max_ttl is %s", jit.FormatTime(w.Start), jit.FormatTime(w.End),
				jit.FormatDuration(w.Length()), jit.FormatDuration(b.MaxTTL)),
			Hint: "if that is what was granted, write that max_ttl into jit.hcl and adopt again; else take the binding off the target",
			Err:  jit.ErrInvalid,
		}
	}
	return b.recordFromMarker(o.Marker, binding, traits, s), nil
}

// recordFromMarker rebuilds the record of a grant from its marker, which holds no reason.
func (b *Broker) recordFromMarker(m jit.Marker, binding jit.Binding, traits jit.Traits, s jit.Snapshot) jit.Grant {
	g := m.Grant(binding)
	g.Renewal, g.TTL = 1, jit.RecordedTTL(jit.FormatDuration(m.Window.Length()))
	g.Enforcement, g.SessionTail = traits.Enforcement, traits.SessionTail
	_, stands := s.StandingOf(binding)
	g.NoStandingBefore = traits.StrippedTo != "" && !stands
	now := b.Now()
	g.RequestedAt = g.Start
	if now.Before(g.Start) {
		g.RequestedAt = jit.Second(now)
	}
	if traits.NativeStart || !now.Before(g.Start) {
		g.GrantedAt = g.RequestedAt
	}
	return g
}

// lostRecord rebuilds the record of the grant that is asked for from its marker, for a ledger that lost it: of several bindings from the one
// that ends first. A live grant that is longer than max_ttl, or longer or later than what is asked for, is refused.
func (b *Broker) lostRecord(d Decision, r Request) (g jit.Grant, found bool, err error) {
	for _, o := range d.snapshot.Ours {
		m := o.Marker
		if m.ID == d.asked.ID && m.Owner == d.asked.Owner && (!found || m.Window.End.Before(g.End)) {
			g, found = b.recordFromMarker(m, d.asked.Binding, d.traits, d.snapshot), true
		}
	}
	if !found {
		return g, false, nil
	}
	g, _ = completed(g, d.asked)
	g.TTL = d.asked.TTL
	return g, true, b.credible(g, r)
}

// credible refuses the window that a marker tells of a live grant if nobody asks for so much.
func (b *Broker) credible(g jit.Grant, r Request) error {
	now := b.Now()
	if g.Window.Over(now) {
		return nil
	}
	ttl, begin := b.MaxTTL, later(r.StartsAt, now)
	if !r.TTL.IsZero() {
		ttl = r.TTL.Length()
	}
	var rule, hint string
	switch {
	case g.Length() > b.MaxTTL:
		rule, hint = "max_ttl of the provider is "+jit.FormatDuration(b.MaxTTL), "have max_ttl raised, record it with `jit adopt`"
	case g.Length() > ttl:
		rule, hint = "ttl is "+jit.FormatDuration(ttl), "record it with `jit adopt`"
	case !r.TTL.IsZero() && g.Start.After(begin.Add(jit.MaxSkew)): // what was granted a moment ago may begin by another clock
		rule, hint = "it would begin at "+jit.FormatTime(begin), "record it with `jit adopt`"
	default:
		return nil
	}
	return jit.Invalid(endAttribute(g), "take the binding off the target and apply again; or, if that is what was granted, "+hint+" and apply again",
		"the ledger has no record of grant %s, and its marker on target %q says %s to %s, which is %s; %s", g.ID, g.Target,
		jit.FormatTime(g.Start), jit.FormatTime(g.End), jit.FormatDuration(g.Length()), rule)
}

// completed returns a record that was rebuilt from a marker with what no marker holds, taken from the same grant as it is asked for. Every
// other record stays as it is.
func completed(g, asked jit.Grant) (_ jit.Grant, rebuilt bool) {
	if !g.ReasonLost() || asked.ID != g.ID {
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
