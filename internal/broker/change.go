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

// Change changes the end, the start, the policy or the flags of a live grant to what the request says, and repairs the grant on its
// platform in any case; drift is recorded before it is repaired. An end in the past ends the grant now. A grant that is over stays as
// it is if the request asks for nothing else than it had, else the error is [jit.ErrOver]. g holds the facts that the caller
// remembers, for a ledger that has lost them.
func (b *Broker) Change(ctx context.Context, g jit.Grant, r Request) (jit.Grant, error) {
	failpoint.Hit("change.before-intent")
	var d Decision
	err := jit.ErrStale
	for try := 0; errors.Is(err, jit.ErrStale) && try < maxRetries; try++ {
		if d, err = b.decideChange(ctx, g, r, false); err == nil {
			err = b.recordChange(ctx, &d, r)
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
		return b.endNow(ctx, g)
	case g.Over(now), g.GrantedAt.IsZero() && startsBySweeper(g, d.traits) && !begins:
		return g, nil
	case d.alters(), g.GrantedAt.IsZero():
		return b.ensure(ctx, g, jit.EventGranted)
	case !g.Window.Contains(now): // it begins by itself
		return b.ensure(ctx, g, jit.EventRepaired)
	}
	return b.repairOne(ctx, g)
}

// alters reports whether a change alters the record of a grant.
func (d *Decision) alters() bool {
	was, is := d.current, d.Grant
	return !d.Over && (len(d.changes) > 0 ||
		is.StartBy != was.StartBy || is.TerminateSessions != was.TerminateSessions || is.TTL != was.TTL)
}

// recordChange records a change. Where nothing changes it records no more than what the ledger has lost.
func (b *Broker) recordChange(ctx context.Context, d *Decision, r Request) error {
	g := &d.Grant
	var event jit.Event
	switch {
	case !d.alters():
		if *g = d.current; g.Version > 0 && !d.rebuilt {
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
		if r.Policy != "" {
			g.Policy = r.Policy
		}
	}
	err := b.Ledger.Write(ctx, []jit.Entry{jit.Rewrite(d.recorded, *g, event)})[0]
	if err == nil {
		g.Version++
	}
	return err
}

// repairOne looks what is wrong with a grant inside of its window and puts it right.
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

// repairBy puts right what a snapshot of the grant's scope shows to be wrong.
func (b *Broker) repairBy(ctx context.Context, g jit.Grant, s jit.Snapshot) (jit.Grant, error) {
	d := g.Differs(s)
	if d.Kind == "" {
		return g, nil
	}
	step := reconcile.Drifted(reconcile.Repair, g.Place(), g, d.Kind, d.Words)
	if err := b.Execute(ctx, g.Place(), []reconcile.Step{step})[0]; err != nil {
		return g, err
	}
	g, _, err := b.Recall(ctx, g.ID, g)
	return g, err
}

func (b *Broker) endNow(ctx context.Context, g jit.Grant) (jit.Grant, error) {
	if err := b.end(ctx, g); err != nil && !errors.Is(err, jit.ErrRemains) {
		return g, err
	}
	g, _, err := b.Recall(ctx, g.ID, g)
	return g, err
}

// changed returns the recorded grant as the request wants it, and the names of the attributes
// that differ in substance: nothing is judged or written. An end that has passed
// makes the grant revoked now.
func (b *Broker) changed(g jit.Grant, r Request, traits jit.Traits) (jit.Grant, []string, error) {
	now := b.Now()
	next := g
	var what []string
	var err error
	if next.Start, err = b.beginning(g, r, traits); err != nil {
		return g, nil, err
	}
	if !next.Start.Equal(g.Start) {
		what = append(what, "starts_at")
	}
	w := jit.Window{Start: next.Start, End: r.ExpiresAt}
	if !r.TTL.IsZero() {
		w.End = next.Start.Add(r.TTL.Length())
		if g.TTL.Length() == r.TTL.Length() && next.Start.Equal(g.Start) {
			w.End = g.End // the same length: an adopted or shortened window stays as it is
		}
	}
	if !w.End.Equal(g.End) {
		what = append(what, endAttribute(jit.Grant{TTL: r.TTL}))
	}
	if len(what) > 0 && g.Over(now) {
		return g, nil, over(g, now, what[len(what)-1])
	}
	if _, asks := jit.Asks(b.Targets[g.Target]); asks && !g.GrantedAt.IsZero() && !w.Equal(g.Window) && w.End.After(now) {
		return g, nil, jit.Invalid("ttl", fmt.Sprintf("set renewal = %d to ask for it anew, or destroy the grant to end it now", g.Renewal+1),
			"people approved the grant on target %q from %s to %s, and what they approved is not changed", g.Target, jit.FormatTime(g.Start), jit.FormatTime(g.End))
	}
	next.TTL, next.Window = r.TTL, w
	next.StartBy, next.TerminateSessions = r.StartBy, r.TerminateSessions
	if r.Policy != "" && r.Policy != g.Policy {
		what = append(what, "policy")
	}
	if !w.End.After(w.Start) {
		return g, nil, jit.Invalid("expires_at", "write an end after the beginning; one in the past ends the grant now",
			"%s is not after the beginning of the grant, %s", jit.FormatTime(w.End), jit.FormatTime(w.Start))
	}
	if len(what) > 0 && !next.End.After(now) {
		next.RevokedAt, next.RevokedBy, next.RevokeReason = now, b.Actor.Name, "the end was moved to the past"
	}
	return next, what, nil
}

// beginning is when the recorded grant begins by what the request says. It can be moved until then, also on a
// platform that was told of it already.
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
		return g.Start, over(g, now, "starts_at")
	}
	return g.Start, jit.Invalid("starts_at", fmt.Sprintf("write starts_at = %q or leave it out, and set renewal = %d to grant the same at another time", jit.FormatTime(g.Start), g.Renewal+1),
		"the grant began at %s; a beginning that has come is not moved, to %s or elsewhere", jit.FormatTime(g.Start), jit.FormatTime(r.StartsAt))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
