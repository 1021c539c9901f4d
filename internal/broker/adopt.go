package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Unrecorded returns the grants that markers of this owner name and the ledger does not know, ordered by end. Of
// several bindings of one grant it takes the one that ends first, so a copy with a later end extends nothing. refused
// has an error for each unknown grant that may not be recorded; err says that the ledger could not be read.
func (b *Broker) Unrecorded(ctx context.Context, observed map[jit.Place]jit.Snapshot) (
	grants []jit.Grant, refused []error, err error,
) {
	records := b.recordsOf(ctx, b.marked(observed))
	if records.Unread != nil {
		return nil, nil, records.Unread
	}
	found, wrong := map[jit.ID]jit.Grant{}, map[jit.ID]error{}
	for at, o := range b.ours(observed) {
		if _, known := records.Grants[o.Marker.ID]; known || o.Principal == "" { // without a principal it gives nothing
			continue
		}
		g, err := b.unrecorded(at, observed[at], o)
		if err != nil {
			wrong[o.Marker.ID] = fmt.Errorf("grant %s on %s of target %q: %w", o.Marker.ID, at.Scope, at.Target, err)
		} else if first, copied := found[g.ID]; !copied || g.End.Before(first.End) {
			found[g.ID] = g
		}
	}
	maps.DeleteFunc(wrong, func(id jit.ID, _ error) bool { _, recorded := found[id]; return recorded })
	for _, id := range slices.Sorted(maps.Keys(wrong)) {
		refused = append(refused, wrong[id])
	}
	return slices.SortedFunc(maps.Values(found), func(a, b jit.Grant) int {
		return cmp.Or(a.End.Compare(b.End), cmp.Compare(a.ID, b.ID))
	}), refused, nil
}

// ours yields the bindings with a marker of this owner, ordered by place.
func (b *Broker) ours(observed map[jit.Place]jit.Snapshot) iter.Seq2[jit.Place, jit.Observed] {
	return func(yield func(jit.Place, jit.Observed) bool) {
		for _, at := range slices.SortedFunc(maps.Keys(observed), jit.Place.Compare) {
			for _, o := range observed[at].Ours {
				if o.Marker.Owner == b.Owner && !yield(at, o) {
					return
				}
			}
		}
	}
}

// marked returns the ids in the markers of this owner.
func (b *Broker) marked(observed map[jit.Place]jit.Snapshot) []jit.ID {
	ids := map[jit.ID]bool{}
	for _, o := range b.ours(observed) {
		ids[o.Marker.ID] = true
	}
	return slices.Collect(maps.Keys(ids))
}

// unrecorded rebuilds the record of a grant that nobody asks for from one binding. Anyone who can write on a target can
// write a marker, so a live grant longer than max_ttl is refused. One that is over is always recorded, so that it never
// comes back.
func (b *Broker) unrecorded(at jit.Place, s jit.Snapshot, o jit.Observed) (jit.Grant, error) {
	p, err := b.Target(at.Target)
	if err != nil {
		return jit.Grant{}, err
	}
	binding, traits, err := p.Check(at.Binding(o.Principal, o.Role))
	if err != nil {
		return jit.Grant{}, err
	}
	if w := o.Marker.Window; !w.Over(b.Now()) && w.Length() > b.MaxTTL {
		const hint = "if that was granted, write that max_ttl into jit.hcl and adopt again; " +
			"else remove the binding from the target"
		return jit.Grant{}, jit.Invalid("", hint, "its marker says %s to %s, which is %s; max_ttl is %s",
			jit.FormatTime(w.Start), jit.FormatTime(w.End),
			jit.FormatDuration(w.Length()), jit.FormatDuration(b.MaxTTL))
	}
	return b.recordFromMarker(o.Marker, binding, traits, s), nil
}

// recordFromMarker rebuilds the record of a grant from its marker, which holds no reason.
func (b *Broker) recordFromMarker(m jit.Marker, binding jit.Binding, traits jit.Traits, s jit.Snapshot) jit.Grant {
	g := m.Grant(binding)
	g.Renewal, g.TTL = 1, jit.RecordedTTL(jit.FormatDuration(m.Window.Length()))
	g.Enforcement, g.SessionTail = traits.Enforcement, traits.SessionTail
	g.NoStandingBefore = noStanding(s, binding, traits)
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

// lostRecord rebuilds the record of the requested grant from its marker in the snapshot: of several bindings, from the
// one that ends first. It refuses a live grant that is longer than max_ttl, or longer or later than requested.
func (b *Broker) lostRecord(d *Decision, r Request) (found bool, err error) {
	g := &d.recorded
	for _, o := range d.snapshot.Of(d.asked) {
		if !found || o.Marker.Window.End.Before(g.End) {
			*g, found = b.recordFromMarker(o.Marker, d.asked.Binding, d.traits, d.snapshot), true
		}
	}
	if !found {
		return false, nil
	}
	*g, _ = completed(*g, d.asked)
	g.TTL, g.StartAsked = d.asked.TTL, d.asked.StartAsked
	return true, b.credible(*g, r)
}

// credible refuses the window of a live grant in a marker if the request does not ask for as much.
func (b *Broker) credible(g jit.Grant, r Request) error {
	now := b.Now()
	if g.Window.Over(now) {
		return nil
	}
	ttl, begin := b.MaxTTL, later(r.StartsAt, now)
	if !r.TTL.IsZero() {
		ttl = r.TTL.Length()
	}
	var rule string
	hint := "record it with `jit adopt`"
	switch {
	case g.Length() > b.MaxTTL:
		rule = "max_ttl of the provider is " + jit.FormatDuration(b.MaxTTL)
		hint = "have max_ttl raised, record it with `jit adopt`"
	case g.Length() > ttl:
		rule = "ttl is " + jit.FormatDuration(ttl)
	case !r.TTL.IsZero() && g.Start.After(begin.Add(jit.MaxSkew)): // another clock may have set the beginning
		rule = "it would begin at " + jit.FormatTime(begin)
	default:
		return nil
	}
	return jit.Invalid(endAttribute(g),
		"take the binding off the target and apply again; or, if that was granted, "+hint+" and apply again",
		"the ledger has no record of grant %s, and its marker on target %q says %s to %s, which is %s; %s",
		g.ID, g.Target, jit.FormatTime(g.Start), jit.FormatTime(g.End), jit.FormatDuration(g.Length()), rule)
}

// completed adds facts of the same grant as requested that a record lacks: those that no marker holds, if the record
// was rebuilt from one, and the principal's name, which older records lack.
func completed(g, asked jit.Grant) (_ jit.Grant, added bool) {
	if asked.ID != g.ID {
		return g, false
	}
	if g.PrincipalName == "" && asked.PrincipalName != "" {
		g.PrincipalName, added = asked.PrincipalName, true
	}
	if g.ReasonLost() {
		g.Reason, g.Renewal = asked.Reason, asked.Renewal // the id is made of them
		g.Terms, added = asked.Terms, true
	}
	return g, added
}

// Adopt records grants that [Broker.Unrecorded] returned, and returns an error for each. A grant that is recorded
// meanwhile stays as it is.
func (b *Broker) Adopt(ctx context.Context, grants []jit.Grant) []error {
	entries := make([]jit.Entry, len(grants))
	for i, g := range grants {
		entries[i] = jit.Rewrite(jit.Grant{}, g, b.window(jit.EventAdopted, g, "state", string(g.State(b.Now())),
			"owner", g.Owner, "target", g.Target, "principal", g.Principal, "role", g.Role, "scope", g.Scope,
			"from", "marker"))
		entries[i].Current = true
	}
	errs := b.Ledger.Write(ctx, entries)
	for i, err := range errs {
		if errors.Is(err, jit.ErrStale) {
			errs[i] = nil
		}
	}
	return errs
}
