package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// checkAsked refuses what a grant cannot have on a target on which people decide when it begins.
func checkAsked(p jit.Platform, r Request) error {
	if _, asks := jit.Asks(p); !asks {
		return nil
	}
	switch {
	case r.TTL.IsZero():
		return jit.Invalid("expires_at", `write for example ttl = "2h"; it is counted from the approval`,
			"people decide on target %q when the access begins, so its end cannot be fixed before", r.Binding.Target)
	case !r.StartsAt.IsZero():
		return jit.Invalid("starts_at", "leave it out", "people decide on target %q when the access begins", r.Binding.Target)
	}
	return nil
}

// Waiting reports whether people have yet to decide on the grant.
func (b *Broker) Waiting(g jit.Grant) bool {
	p, err := b.Target(g.Target)
	if err != nil || !g.GrantedAt.IsZero() || g.Failed() || !g.Live(b.Now()) {
		return false
	}
	_, asks := jit.Asks(p)
	return asks
}

// TakeUp looks what people have decided on a grant that waits, and begins or closes it accordingly. One that nobody has decided
// on stays as it is, unless today's policies do not permit it any more.
func (b *Broker) TakeUp(ctx context.Context, g jit.Grant) (jit.Grant, error) {
	g, _, err := b.Recall(ctx, g.ID, g)
	if err != nil || !b.Waiting(g) {
		return g, err
	}
	return b.ensure(ctx, g, jit.EventGranted)
}

// ask puts the grant before those who decide. When they have approved it, its window is what they made it: begins is true then. One
// that may not begin any more, by its start_by or by today's policies, is taken back.
func (b *Broker) ask(ctx context.Context, k jit.Gatekeeper, g jit.Grant) (_ jit.Grant, begins bool, err error) {
	d, err := k.Ask(ctx, g.Access())
	if err != nil {
		return g, false, err
	}
	approved := !d.Window.Start.IsZero()
	why := d.Denied
	if why == "" {
		why = b.mayNotBegin(ctx, g, d)
	}
	switch {
	case why != "" && !approved:
		return g, false, b.closeAsked(ctx, g, why)
	case !approved:
		return g, false, nil
	}
	g, err = b.update(ctx, g, func(g *jit.Grant) ([]jit.Event, bool) {
		if !g.RevokedAt.IsZero() || !g.EndedAt.IsZero() || g.Window.Equal(d.Window) && why == "" {
			return nil, false
		}
		g.Window = d.Window
		events := []jit.Event{b.window(jit.EventChanged, *g, "approved_by", d.By)}
		if why != "" { // it was given, and is taken back
			g.GrantedAt = d.Window.Start
			events = append(events, b.window(jit.EventGranted, *g))
		}
		return events, true
	})
	switch {
	case err != nil:
		return g, false, err
	case g.Over(b.Now()):
		return g, false, b.end(ctx, g) // it was ended before it was approved
	case why != "":
		g, _, err = b.Revoke(ctx, Revocation{Grant: g, Reason: why})
		return g, false, errors.Join(notGranted(g, "it was approved by "+d.By+" and ended at once: "+why), err)
	}
	return g, true, nil
}

// approvedMeanwhile looks whether people have approved a grant that is about to end with nothing given. If so it brings the record up
// to date and returns it. A grant that may not begin any more is recorded as given and revoked, and ends.
func (b *Broker) approvedMeanwhile(ctx context.Context, g jit.Grant) (_ jit.Grant, approved bool) {
	unanswered := func(g jit.Grant) bool { return g.GrantedAt.IsZero() && g.RevokedAt.IsZero() && g.EndedAt.IsZero() }
	k, asks := jit.Asks(b.Targets[g.Target])
	if !asks || !unanswered(g) || g.Failed() {
		return g, false
	}
	d, err := k.Ask(ctx, g.Access())
	if err != nil || d.Window.Start.IsZero() || d.Window.Start.After(g.End) {
		return g, false // it ends; a later approval is taken back with it
	}
	why := b.mayNotBegin(ctx, g, d)
	updated, err := b.update(ctx, g, func(g *jit.Grant) ([]jit.Event, bool) {
		if !unanswered(*g) {
			return nil, false
		}
		g.Window, g.GrantedAt = d.Window, d.Window.Start
		events := []jit.Event{b.window(jit.EventChanged, *g, "approved_by", d.By), b.window(jit.EventGranted, *g)}
		if why != "" {
			g.RevokedAt, g.RevokedBy, g.RevokeReason = b.Now(), b.Actor.Name, why
			events = append(events, b.event(jit.EventRevokeAsked, *g, "reason", why))
		}
		return events, true
	})
	if err != nil {
		return g, false
	}
	return updated, true
}

// mayNotBegin says why a grant may not begin that people have decided on, or still may; empty when it may.
func (b *Broker) mayNotBegin(ctx context.Context, g jit.Grant, d jit.Decision) string {
	begin, late := b.Now(), "nobody approved it"
	if !d.Window.Start.IsZero() {
		begin, late = d.Window.Start, "it was approved at "+jit.FormatTime(d.Window.Start)+", not"
	}
	if !g.StartBy.IsZero() && begin.After(g.StartBy) {
		return fmt.Sprintf("%s by start_by, %s", late, jit.FormatTime(g.StartBy))
	}
	if most := min(g.Length(), b.MaxTTL); d.Window.Length() > most {
		return fmt.Sprintf("it was approved for %s, and it may last %s", jit.FormatDuration(d.Window.Length()), jit.FormatDuration(most))
	}
	if err := b.rejudge(ctx, g); errors.Is(err, jit.ErrDenied) { // any other error comes up again
		return err.Error()
	}
	return ""
}

// notGranted is the error for a grant that people denied or that may not begin.
func notGranted(g jit.Grant, why string) error {
	return &jit.Error{
		Problem: fmt.Sprintf("%s on %s for %s was not granted: %s", g.Role, g.Scope, g.Principal, why),
		Hint:    fmt.Sprintf("set renewal = %d to ask again", g.Renewal+1), Err: jit.ErrDenied,
	}
}

// closeAsked takes the request back and closes its record: nothing was given.
func (b *Broker) closeAsked(ctx context.Context, g jit.Grant, why string) error {
	cause := notGranted(g, why)
	if err := b.remove(ctx, g); err != nil {
		return err
	}
	_, err := b.update(ctx, g, func(g *jit.Grant) ([]jit.Event, bool) {
		if !g.GrantedAt.IsZero() || !g.RevokedAt.IsZero() || g.Failed() {
			return nil, false
		}
		g.FailedAt, g.Failure = b.Now(), cause.Error()
		return []jit.Event{b.event(jit.EventGrantFailed, *g, "error", cause.Error())}, true
	})
	if err != nil {
		return err
	}
	return cause
}
