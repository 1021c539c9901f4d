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

// Grant makes the grant, or adopts the one that it meets: a live one keeps its
// window; one that is over stays over, no platform is written to and the returned
// record is Over. A grant that begins later on a platform that cannot begin
// access by itself is recorded only; the sweeper starts it.
func (b *Broker) Grant(ctx context.Context, r Request) (jit.Grant, error) {
	g, traits, err := b.Check(r)
	if err != nil {
		return jit.Grant{}, err
	}
	for range maxRetries {
		recorded, known, err := b.Ledger.Lookup(ctx, g.ID)
		if err != nil {
			return jit.Grant{}, err
		}
		if !known {
			if err := b.boundedAtOnce(g, traits); err != nil {
				return jit.Grant{}, err
			}
		}
		var before jit.Standing
		if !known || recorded.Failed() {
			s, err := b.look(ctx, g)
			if err != nil {
				return jit.Grant{}, err
			}
			if before, _, err = b.standing(ctx, s, g, time.Time{}); err != nil {
				return jit.Grant{}, err
			}
			_, stands := s.StandingOf(g.Binding)
			g.NoStandingBefore = traits.StrippedTo != "" && !stands
			if !known {
				if recorded, known, err = b.remade(g, s, r); err != nil {
					return jit.Grant{}, err
				}
			}
		}
		if known && !recorded.Failed() {
			return b.takeOver(ctx, recorded, g, traits, r)
		}
		g.Version = recorded.Version
		made, err := b.intend(ctx, recorded, g, before, traits, r)
		if errors.Is(err, jit.ErrStale) {
			continue // somebody else made the same grant meanwhile: meet it
		}
		if err != nil {
			return jit.Grant{}, err
		}
		if waits(made, traits) {
			return made, nil
		}
		// There was nothing of it until now: what gives the same without an end has come since the look.
		access := made.Access()
		access.NoStandingBefore = false
		return b.put(ctx, made, access, jit.EventGranted)
	}
	return jit.Grant{}, fmt.Errorf("grant %s: %w", g.ID, jit.ErrStale)
}

// intend judges the new grant, fixes its window and records the intent, and what the principal had before. failed is the record of the
// attempt before, if there was one.
func (b *Broker) intend(ctx context.Context, failed, g jit.Grant, before jit.Standing, traits jit.Traits, r Request) (jit.Grant, error) {
	now := b.Now()
	var err error
	if g.Window, err = r.window(now); err != nil {
		return g, err
	}
	v, traits, err := b.judge(ctx, g, traits, r.Policy, g.Start, g.Length())
	if err != nil {
		return g, err
	}
	g.SessionTail = traits.SessionTail
	g.Policy, g.RequestedAt, g.Holder = v.Policy, jit.Second(now), 1
	failpoint.Hit("grant.before-intent")
	err = b.Ledger.Write(ctx, []jit.Entry{
		jit.Rewrite(failed, g, b.requested(g, before), b.event(jit.EventDecided, g, "verdict", v.Outcome.String(), "rule", v.Rule)),
	})[0]
	if err != nil {
		return g, err
	}
	failpoint.Hit("grant.after-intent")
	g.Version++
	return g, nil
}

// adopt makes the caller the holder of a grant that exists. One whose platform never confirmed it
// (the process died in between) is put there with its recorded window. asked is the same grant as it was asked for: it
// makes a record whole that was made from a marker.
func (b *Broker) adopt(ctx context.Context, g, asked jit.Grant, traits jit.Traits) (jit.Grant, error) {
	unfinished := g.GrantedAt.IsZero() && !waits(g, traits) && g.Live(b.Now())
	if unfinished {
		if err := b.rejudge(ctx, g); err != nil {
			return g, err
		}
	}
	g, err := b.update(ctx, g, func(g *jit.Grant) ([]jit.Event, bool) {
		var made bool
		*g, made = whole(*g, asked)
		if g.Over(b.Now()) {
			// What is over is only recorded where the ledger has lost it.
			return []jit.Event{b.window(jit.EventAdopted, *g, "state", string(g.State(b.Now())), "reason", g.Reason)}, g.Version == 0 || made
		}
		g.Holder++
		return []jit.Event{b.window(jit.EventAdopted, *g, "state", string(g.State(b.Now())))}, true
	})
	if err != nil || g.Over(b.Now()) {
		return g, err
	}
	if g.GrantedAt.IsZero() && !waits(g, traits) {
		return b.ensure(ctx, g, jit.EventGranted)
	}
	return g, nil
}

// waits reports whether it is the sweeper that begins a grant at its start.
func waits(g jit.Grant, traits jit.Traits) bool { return g.Deferred() && !traits.NativeStart }

// ensure puts the recorded grant on its platform, if it is what its events tell, and records the outcome as kind.
func (b *Broker) ensure(ctx context.Context, g jit.Grant, kind jit.EventKind) (jit.Grant, error) {
	if err := b.vouched(ctx, []jit.Grant{g})[0]; err != nil {
		return g, err
	}
	return b.put(ctx, g, g.Access(), kind)
}

// put is [Broker.ensure] with the access spelt out.
func (b *Broker) put(ctx context.Context, g jit.Grant, access jit.Access, kind jit.EventKind) (jit.Grant, error) {
	p, err := b.Target(g.Target)
	if err != nil {
		return g, err
	}
	if k, asks := jit.Asks(p); asks && g.GrantedAt.IsZero() {
		next, begins, err := b.ask(ctx, k, g)
		switch {
		case errors.Is(err, jit.ErrDenied):
			return next, err
		case err != nil:
			return next, b.failed(ctx, p, g, err)
		case !begins:
			return next, nil
		}
		g, access.Marker = next, next.Marker()
	}
	failpoint.Hit("ensure.before-platform")
	err = p.Apply(ctx, g.Scope, []jit.Change{{Op: jit.Ensure, Access: access, Held: g.Held()}})[0]
	failpoint.Hit("ensure.after-platform")
	if err != nil {
		return g, b.failed(ctx, p, g, err)
	}
	done, err := b.confirm(ctx, g, kind)
	failpoint.Hit("ensure.after-outcome")
	return done, err
}

// confirm records that the platform has the grant. If it was ended meanwhile the access is taken back.
func (b *Broker) confirm(ctx context.Context, g jit.Grant, kind jit.EventKind) (jit.Grant, error) {
	ensured := g.Access()
	g, err := b.update(ctx, g, func(g *jit.Grant) ([]jit.Event, bool) {
		if g.GrantedAt.IsZero() {
			g.GrantedAt = b.Now()
		}
		clearFailure(g)
		return []jit.Event{b.window(kind, *g)}, true
	})
	if err != nil {
		return g, fmt.Errorf("the access was given on target %q and the ledger could not record it; apply again: %w", g.Target, err)
	}
	return b.settle(ctx, ensured, g)
}

// settle makes good for what somebody else recorded while a grant was put on its platform:
// ended, the access is taken back; with another window, that one is put there instead.
func (b *Broker) settle(ctx context.Context, ensured jit.Access, g jit.Grant) (jit.Grant, error) {
	now := b.Now()
	switch {
	case g.Over(now):
		return g, b.end(ctx, g)
	case g.Access() == ensured:
		return g, nil
	case g.Window.Contains(now), b.beginsByItself(g):
		return b.ensure(ctx, g, jit.EventRepaired)
	}
	// It begins later now.
	if err := b.remove(ctx, g); err != nil {
		return g, err
	}
	return b.update(ctx, g, func(g *jit.Grant) ([]jit.Event, bool) {
		g.GrantedAt = time.Time{}
		return []jit.Event{b.window(jit.EventRepaired, *g, "drift", "it was begun too early")}, true
	})
}

// beginsByItself reports whether the platform itself begins the grant's access.
func (b *Broker) beginsByItself(g jit.Grant) bool {
	p, err := b.Target(g.Target)
	if err != nil {
		return false
	}
	_, traits, err := p.Check(g.Binding)
	return err == nil && traits.NativeStart
}

// failed closes the record of an attempt to grant if a read begun after the attempt shows that it gave nothing.
// Otherwise the outcome is unknown: the record stays pending, and the sweeper ends the access with its window.
func (b *Broker) failed(ctx context.Context, p jit.Platform, g jit.Grant, cause error) error {
	cause = fmt.Errorf("grant %s to %s on target %q: %w", g.Role, g.Principal, g.Target, cause)
	unknown := fmt.Errorf("%w; the access may be in force all the same: `jit revoke %s` ends it, and `jit sweep` does at %s", cause, g.ID, jit.FormatTime(g.End))
	if !g.GrantedAt.IsZero() || ctx.Err() != nil {
		return unknown // an attempt that was cut off may still be under way
	}
	s, err := p.Read(ctx, g.Scope)
	if err != nil || g.Drift(s) != jit.Missing {
		return unknown
	}
	_, err = b.update(ctx, g, func(g *jit.Grant) ([]jit.Event, bool) {
		g.FailedAt, g.Failure = b.Now(), cause.Error()
		return []jit.Event{b.event(jit.EventGrantFailed, *g, "error", cause.Error())}, g.GrantedAt.IsZero() && g.RevokedAt.IsZero()
	})
	return errors.Join(cause, err)
}

// Change changes the end, the start, the policy or the flags of a live grant to
// what the request says, and puts its platform right in any case; drift is recorded before it is repaired. An end in the past ends the
// grant now. A grant that is over is left alone if the request asks for nothing else
// than it had, else the error is [jit.ErrOver]. g holds the facts that the caller
// remembers, for a ledger that has lost them.
func (b *Broker) Change(ctx context.Context, g jit.Grant, r Request) (jit.Grant, error) {
	if _, err := b.PreviewChange(ctx, g, r); err != nil {
		return g, err
	}
	asked, traits, err := b.Check(r)
	if err != nil {
		return g, err
	}
	first, known, err := b.Recall(ctx, g.ID, g)
	if err != nil {
		return g, err
	}
	if !known && traits.StrippedTo != "" { // what the caller does not remember
		s, err := b.look(ctx, first)
		if err != nil {
			return g, err
		}
		_, stands := s.StandingOf(first.Binding)
		first.NoStandingBefore = !stands
	}
	var refused error
	var altered, begins bool
	failpoint.Hit("change.before-intent")
	g, err = b.update(ctx, first, func(g *jit.Grant) ([]jit.Event, bool) {
		var made bool
		*g, made = whole(*g, asked)
		next, what, err := b.changed(*g, r, traits)
		if err != nil {
			refused = err
			return nil, false
		}
		flags := next.StartBy != g.StartBy || next.TerminateSessions != g.TerminateSessions || next.TTL != g.TTL
		if g.Over(b.Now()) || len(what) == 0 && !flags {
			return []jit.Event{b.window(jit.EventAdopted, *g)}, g.Version == 0 || made
		}
		altered, begins = true, !next.Start.Equal(g.Start) && !next.Start.After(b.Now())
		if len(what) > 0 && next.RevokedAt.IsZero() {
			// The record may be another than the one that was judged a moment ago.
			if _, _, refused = b.judge(ctx, next, traits, r.Policy, next.Start, next.Length()); refused != nil {
				return nil, false
			}
		}
		kindOfChange := jit.EventChanged
		if next.End.After(g.End) {
			kindOfChange = jit.EventExtended
		}
		event := b.window(kindOfChange, next, "from", jit.FormatTime(g.End))
		if !next.RevokedAt.IsZero() {
			event = b.event(jit.EventRevokeAsked, next, "reason", next.RevokeReason)
		} else if r.Policy != "" {
			next.Policy = r.Policy
		}
		*g = next
		return []jit.Event{event}, true
	})
	if err = errors.Join(refused, err); err != nil {
		return g, err
	}
	failpoint.Hit("change.after-intent")
	switch {
	case !g.RevokedAt.IsZero() && g.EndedAt.IsZero():
		return b.finishOne(ctx, g)
	case g.Over(b.Now()), g.GrantedAt.IsZero() && waits(g, traits) && !begins:
		return g, nil
	case altered, g.GrantedAt.IsZero():
		return b.ensure(ctx, g, jit.EventGranted)
	case !g.Window.Contains(b.Now()): // it begins by itself
		return b.ensure(ctx, g, jit.EventRepaired)
	}
	return b.repairOne(ctx, g)
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

func (b *Broker) finishOne(ctx context.Context, g jit.Grant) (jit.Grant, error) {
	if err := b.end(ctx, g); err != nil && !errors.Is(err, jit.ErrRemains) {
		return g, err
	}
	g, _, err := b.Recall(ctx, g.ID, g)
	return g, err
}
