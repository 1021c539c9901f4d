package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// Change changes the end, the start, the policy or the flags of a live grant to what the request says, and in any case
// repairs the grant on its platform; drift is recorded before it is repaired. An end in the past ends the grant now. A
// grant that is over stays as it is if the request asks for nothing new, else the error is [jit.ErrOver]. g holds the
// facts that the caller remembers, for a ledger that has lost them.
func (b *Broker) Change(ctx context.Context, g jit.Grant, r Request) (jit.Grant, error) {
	failpoint.Hit("change.before-intent")
	var d Decision
	err := jit.ErrStale
	for try := 0; errors.Is(err, jit.ErrStale) && try < maxRetries; try++ {
		if d, err = b.decideChange(ctx, g, r, false); err == nil {
			err = b.recordChange(ctx, &d)
		}
	}
	if err != nil {
		return g, err
	}
	failpoint.Hit("change.after-intent")
	g = d.Grant
	now := b.Now()
	begins := !g.Start.Equal(d.current.Start) && !g.Start.After(now)
	switch {
	case !g.RevokedAt.IsZero() && g.EndedAt.IsZero():
		if err := b.end(ctx, g); err != nil && !errors.Is(err, jit.ErrRemains) {
			return g, err
		}
		g, _, err = b.Recall(ctx, g.ID, g)
		return g, err
	case g.Over(now), g.GrantedAt.IsZero() && startsBySweeper(g, d.traits) && !begins:
		return g, nil
	case d.altersAccess(), g.GrantedAt.IsZero():
		return b.ensure(ctx, g, jit.EventGranted)
	case !g.Window.Contains(now): // it begins by itself
		return b.ensure(ctx, g, jit.EventRepaired)
	}
	return b.repairOne(ctx, g)
}

// alters reports whether a change alters the record of a grant.
func (d *Decision) alters() bool {
	return d.altersAccess() || !d.Over && d.Grant.StartAsked != d.current.StartAsked
}

// altersAccess reports whether it alters more than how the beginning was asked for.
func (d *Decision) altersAccess() bool {
	was, is := d.current, d.Grant
	return !d.Over && (len(d.changes) > 0 ||
		is.StartBy != was.StartBy || is.TerminateSessions != was.TerminateSessions || is.TTL != was.TTL)
}

// recordChange records a change. Where nothing changes it records no more than what the ledger has lost.
func (b *Broker) recordChange(ctx context.Context, d *Decision) error {
	g := &d.Grant
	var event jit.Event
	switch {
	case !d.alters():
		if *g = d.current; g.Version > 0 && !d.completed {
			return nil
		}
		event = b.window(jit.EventAdopted, *g)
	case !g.RevokedAt.IsZero():
		event = b.event(jit.EventRevokeAsked, *g, "reason", g.RevokeReason)
	default:
		kind := jit.EventChanged
		if g.End.After(d.current.End) {
			kind = jit.EventExtended
		}
		event = b.window(kind, *g, "from", jit.FormatTime(d.current.End))
	}
	err := b.Ledger.Write(ctx, []jit.Entry{jit.Rewrite(d.recorded, *g, event)})[0]
	if err == nil {
		g.Version++
	}
	return err
}

// repairOne reads the scope of a grant inside its window and repairs the grant there.
func (b *Broker) repairOne(ctx context.Context, g jit.Grant) (jit.Grant, error) {
	p, err := b.Target(g.Target)
	if err != nil {
		return g, err
	}
	s, err := p.Read(ctx, g.Scope)
	if err != nil {
		return g, fmt.Errorf("read %s of target %q: %w", g.Scope, g.Target, err)
	}
	return b.repairBy(ctx, g, s)
}

// repairBy repairs the drift that a snapshot of the grant's scope shows.
func (b *Broker) repairBy(ctx context.Context, g jit.Grant, s jit.Snapshot) (jit.Grant, error) {
	d := g.Differs(s)
	if d.Kind == "" {
		return g, nil
	}
	step := reconcile.Drifted(reconcile.Repair, g.Place(), g, d.Kind, d.Words)
	if err := b.Execute(ctx, []reconcile.Step{step})[0]; err != nil {
		return g, err
	}
	g, _, err := b.Recall(ctx, g.ID, g)
	return g, err
}

// changed returns the recorded grant as the request wants it, and the names of the attributes that differ in substance.
// It judges and writes nothing. An end in the past makes the grant revoked now.
func (b *Broker) changed(g jit.Grant, r Request, traits jit.Traits) (next jit.Grant, attributes []string, err error) {
	now := b.Now()
	next = g
	if next.Start, err = b.beginning(g, r, traits); err != nil {
		return g, nil, err
	}
	if !next.Start.Equal(g.Start) {
		attributes = append(attributes, "starts_at")
	}
	next.TTL, next.StartBy, next.TerminateSessions = r.TTL, r.StartBy, r.TerminateSessions
	if r.StartNow || !r.StartsAt.IsZero() {
		next.StartAsked = jit.StartAsked(r.StartsAt)
	}
	next.End = r.ExpiresAt
	if !r.TTL.IsZero() {
		next.End = next.Start.Add(r.TTL.Length())
		if g.TTL.Length() == r.TTL.Length() && next.Start.Equal(g.Start) {
			next.End = g.End // the same length: an adopted or shortened window stays as it is
		}
	}
	if !next.End.Equal(g.End) {
		attributes = append(attributes, endAttribute(next))
	}
	if len(attributes) > 0 && g.Over(now) {
		return g, nil, errOver(g, now, attributes[len(attributes)-1])
	}
	_, asks := jit.Asks(b.Targets[g.Target])
	if asks && !g.GrantedAt.IsZero() && !next.Window.Equal(g.Window) && next.End.After(now) {
		return g, nil, jit.Invalid("ttl",
			fmt.Sprintf("set renewal = %d to ask for it anew, or destroy the grant to end it now", g.Renewal+1),
			"people approved the grant on target %q from %s to %s, and an approved window cannot change",
			g.Target, jit.FormatTime(g.Start), jit.FormatTime(g.End))
	}
	if r.Policy != "" && r.Policy != g.Policy || r.AnyPolicy && g.Policy != "" {
		attributes = append(attributes, "policy")
	}
	if !next.End.After(next.Start) {
		return g, nil, jit.Invalid("expires_at", "write an end after the beginning; one in the past ends the grant now",
			"%s is not after the beginning of the grant, %s", jit.FormatTime(next.End), jit.FormatTime(next.Start))
	}
	if len(attributes) > 0 && !next.End.After(now) {
		b.revoked(&next, now, "the end was moved to the past")
	}
	return next, attributes, nil
}

// beginning returns when the recorded grant begins according to the request. The beginning can move until it has come,
// also on a platform that begins access by itself.
func (b *Broker) beginning(g jit.Grant, r Request, traits jit.Traits) (time.Time, error) {
	now := b.Now()
	ahead := g.Deferred() && g.GrantedAt.IsZero() || traits.NativeStart && now.Before(g.Start)
	switch {
	case r.StartsAt.IsZero() && !r.StartNow, r.StartsAt.Equal(g.Start):
		return g.Start, nil
	case ahead && !g.Over(now):
		start := later(r.StartsAt, jit.Second(now))
		return start, r.mayBegin(start, now)
	case r.StartNow, r.StartsAt.Before(g.Start) && !g.Deferred():
		return g.Start, nil // it has begun, at once
	case g.Over(now):
		return g.Start, errOver(g, now, "starts_at")
	}
	return g.Start, jit.Invalid("starts_at",
		fmt.Sprintf("write starts_at = %q or leave it out, and set renewal = %d to grant the same at another time",
			jit.FormatTime(g.Start), g.Renewal+1),
		"the grant began at %s; it cannot begin at %s any more", jit.FormatTime(g.Start), jit.FormatTime(r.StartsAt))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
