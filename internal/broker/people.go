package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// checkGatekept refuses fixed times on a target where people decide when the grant begins.
func checkGatekept(p jit.Platform, r Request) error {
	if _, asks := jit.Asks(p); !asks {
		return nil
	}
	switch {
	case r.TTL.IsZero():
		return jit.Invalid("expires_at", `write for example ttl = "2h"; it is counted from the approval`,
			"people decide on target %q when the access begins, so its end cannot be fixed in advance", r.Binding.Target)
	case !r.StartsAt.IsZero():
		return jit.Invalid("starts_at", "leave it out",
			"people decide on target %q when the access begins", r.Binding.Target)
	}
	return nil
}

// AwaitsApproval reports whether people have yet to decide on the grant.
func (b *Broker) AwaitsApproval(g jit.Grant) bool {
	p, err := b.Target(g.Target)
	if err != nil || !g.GrantedAt.IsZero() || !g.Live(b.Now()) {
		return false
	}
	_, asks := jit.Asks(p)
	return asks
}

// CheckApproval carries out the decision of people on a grant that awaits approval: it begins or closes. An undecided
// grant stays as it is, unless today's policies no longer permit it.
func (b *Broker) CheckApproval(ctx context.Context, g jit.Grant) (jit.Grant, error) {
	g, _, err := b.Lookup(ctx, g.ID, g)
	if err != nil || !b.AwaitsApproval(g) {
		return g, err
	}
	return b.ensure(ctx, g, jit.EventGranted)
}

// askPeople asks the people who decide for approval. If they have approved the grant, begins is true and the grant has
// the approved window. A grant that may no longer begin, by its start_by or by today's policies, is withdrawn.
func (b *Broker) askPeople(ctx context.Context, k jit.Gatekeeper, g jit.Grant) (_ jit.Grant, begins bool, err error) {
	d, err := k.Ask(ctx, g.Access())
	if err != nil {
		return g, false, err
	}
	why := d.Denied
	if why == "" {
		why = b.mayNotBegin(ctx, g, d)
	}
	if d.Window.Start.IsZero() { // nobody has approved it
		if why != "" {
			err = b.withdraw(ctx, g, why)
		}
		return g, false, err
	}
	g, err = b.update(ctx, g, func(g *jit.Grant) ([]jit.Event, bool) {
		if !g.RevokedAt.IsZero() || !g.EndedAt.IsZero() || g.Window.Equal(d.Window) && why == "" {
			return nil, false
		}
		return b.approved(g, d, why != ""), true // access that may not begin was given, and is taken back
	})
	switch {
	case err != nil:
		return g, false, err
	case g.Over(b.Now()):
		return g, false, b.end(ctx, g) // it ended before it was approved
	case why != "":
		g, _, err = b.Revoke(ctx, Revocation{Grant: g, Reason: why})
		return g, false, errors.Join(notGranted(g, "it was approved by "+d.By+" and ended at once: "+why), err)
	}
	return g, true, nil
}

// approved sets the approved window of a grant, with given also that access has begun, and returns the events.
func (b *Broker) approved(g *jit.Grant, d jit.Decision, given bool) []jit.Event {
	g.Window = d.Window
	events := []jit.Event{b.window(jit.EventChanged, *g, "approved_by", d.By)}
	if given {
		g.GrantedAt = d.Window.Start
		events = append(events, b.window(jit.EventGranted, *g))
	}
	return events
}

// approvedMeanwhile checks whether people have approved a grant that is about to end without having given access. If so
// it updates the record and returns it. A grant that may no longer begin is recorded as given and revoked, and ends.
func (b *Broker) approvedMeanwhile(ctx context.Context, g jit.Grant) (_ jit.Grant, approved bool) {
	k, asks := jit.Asks(b.Targets[g.Target])
	if !asks || !open(g) || g.Failed() {
		return g, false
	}
	d, err := k.Ask(ctx, g.Access())
	if err != nil || d.Window.Start.IsZero() || d.Window.Start.After(g.End) {
		return g, false // it ends, and with it a later approval
	}
	why := b.mayNotBegin(ctx, g, d)
	updated, err := b.update(ctx, g, func(g *jit.Grant) ([]jit.Event, bool) {
		if !open(*g) {
			return nil, false
		}
		events := b.approved(g, d, true)
		if why != "" {
			events = append(events, b.revoked(g, b.Now(), why))
		}
		return events, true
	})
	if err != nil {
		return g, false
	}
	return updated, true
}

// open reports whether nothing is recorded of the access of a grant and of its end.
func open(g jit.Grant) bool {
	return g.GrantedAt.IsZero() && g.RevokedAt.IsZero() && g.EndedAt.IsZero()
}

// mayNotBegin says why a grant on which people decide may not begin; empty if it may.
func (b *Broker) mayNotBegin(ctx context.Context, g jit.Grant, d jit.Decision) string {
	begin, late := b.Now(), "nobody approved it"
	if !d.Window.Start.IsZero() {
		begin, late = d.Window.Start, "it was approved at "+jit.FormatTime(d.Window.Start)+", not"
	}
	if !g.StartBy.IsZero() && begin.After(g.StartBy) {
		return fmt.Sprintf("%s by start_by, %s", late, jit.FormatTime(g.StartBy))
	}
	if most := min(g.Length(), b.MaxTTL); d.Window.Length() > most {
		return fmt.Sprintf("it was approved for %s, and it may last %s",
			jit.FormatDuration(d.Window.Length()), jit.FormatDuration(most))
	}
	if err := b.rejudge(ctx, g); errors.Is(err, jit.ErrDenied) { // the next attempt handles other errors
		return err.Error()
	}
	return ""
}

// notGranted is the error for a grant that people denied or that may not begin.
func notGranted(g jit.Grant, why string) error {
	return jit.Errorf(jit.ErrDenied, "", fmt.Sprintf("set renewal = %d to ask again", g.Renewal+1),
		"%s on %s for %s was not granted: %s", g.Role, g.Scope, g.Principal, why)
}

// withdraw withdraws the request for a grant and closes its record: nothing was given.
func (b *Broker) withdraw(ctx context.Context, g jit.Grant, why string) error {
	cause := notGranted(g, why)
	if err := b.remove(ctx, g); err != nil {
		return err
	}
	if err := b.closeFailed(ctx, g, cause); err != nil {
		return err
	}
	return cause
}
