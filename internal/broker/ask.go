package broker

import (
	"context"
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// checkAsked refuses what a grant cannot have on a target on which people decide when it begins.
func checkAsked(p jit.Platform, r Request) error {
	if _, asks := jit.Asks(p); !asks {
		return nil
	}
	switch {
	case r.TTL == "":
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
// on stays as it is.
func (b *Broker) TakeUp(ctx context.Context, g jit.Grant) (jit.Grant, error) {
	g, _, err := b.Recall(ctx, g.ID, g)
	if err != nil || !b.Waiting(g) {
		return g, err
	}
	return b.ensure(ctx, g, jit.EventGranted)
}

// ask puts the grant before those who decide. When they have approved it, its window is what they made it: begins is true then.
func (b *Broker) ask(ctx context.Context, k jit.Gatekeeper, g jit.Grant) (_ jit.Grant, begins bool, err error) {
	if now := b.Now(); !g.StartBy.IsZero() && now.After(g.StartBy) {
		return g, false, b.closeAsked(ctx, g, fmt.Sprintf("nobody approved it by start_by, %s", jit.FormatTime(g.StartBy)))
	}
	d, err := k.Ask(ctx, g.Access())
	switch {
	case err != nil:
		return g, false, err
	case d.Denied != "":
		return g, false, b.closeAsked(ctx, g, d.Denied)
	case d.Window.Start.IsZero():
		return g, false, nil
	}
	g, err = b.update(ctx, g, func(g *jit.Grant) ([]jit.Event, bool) {
		if g.Over(b.Now()) || g.Window.Equal(d.Window) {
			return nil, false
		}
		g.Window = d.Window
		return []jit.Event{b.window(jit.EventChanged, *g, "approved_by", d.By)}, true
	})
	if err == nil && g.Over(b.Now()) {
		err = b.Finish(ctx, []jit.Grant{g}, nil)[0] // it was ended before it was approved
	}
	return g, err == nil && g.Live(b.Now()), err
}

// closeAsked takes the request back and closes its record: nothing was given.
func (b *Broker) closeAsked(ctx context.Context, g jit.Grant, why string) error {
	cause := &jit.Error{
		Problem: fmt.Sprintf("%s on %s for %s was not granted: %s", g.Role, g.Scope, g.Principal, why),
		Hint:    fmt.Sprintf("set renewal = %d to ask again", g.Renewal+1), Err: jit.ErrDenied,
	}
	if err := b.applyAll(ctx, g.Place(), jit.Remove, []jit.Grant{g}, []int{0})[0]; err != nil {
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
