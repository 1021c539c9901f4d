package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Grant makes the grant, or adopts a recorded one. A live grant keeps its window. A grant that is over stays over: no
// platform is written to, and the returned record is Over. A grant that begins later on a platform that cannot begin
// access by itself is only recorded; the sweeper starts it.
func (b *Broker) Grant(ctx context.Context, r Request) (jit.Grant, error) {
	var d Decision
	var err error
	for range maxRetries {
		if d, err = b.untilApproved(ctx, func() (Decision, error) { return b.decide(ctx, r, false, true) }); err != nil {
			return jit.Grant{}, err
		}
		if d.Met {
			return b.takeOver(ctx, d, r)
		}
		made, err := b.recordIntent(ctx, d)
		if errors.Is(err, jit.ErrStale) {
			continue // another process made the same grant meanwhile, or broke the glass: decide again
		}
		if err != nil {
			return jit.Grant{}, err
		}
		if startsBySweeper(made, d.traits) {
			return made, nil
		}
		// The scope had no binding of the grant. Access without an end that has appeared since does not belong to the
		// grant.
		access := made.Access()
		access.NoStandingBefore = false
		return b.put(ctx, made, access, jit.EventGranted)
	}
	return jit.Grant{}, fmt.Errorf("grant %s: %w", d.asked.ID, jit.ErrStale)
}

// recordIntent records a new grant, the verdict and what the principal had before.
func (b *Broker) recordIntent(ctx context.Context, d Decision) (jit.Grant, error) {
	g := d.Grant
	g.Holder = 1
	failpoint.Hit("grant.before-intent")
	entry := jit.Rewrite(d.recorded, g, append([]jit.Event{b.requested(g, d.standing)}, b.verdictOn(d)...)...)
	entry.OnlyUnsigned, entry.Current = breaksGlass(&d), true
	if err := b.write(ctx, entry); err != nil {
		return g, err
	}
	failpoint.Hit("grant.after-intent")
	g.Version++
	return g, nil
}

// adopt makes the caller the holder of an existing grant. If the process died before the platform confirmed the grant,
// adopt puts it there with its recorded window. The request of the decision completes the record. If the grant needs
// approval and only a marker told of it, its first record also says who approved it.
func (b *Broker) adopt(ctx context.Context, g jit.Grant, d Decision) (jit.Grant, error) {
	asked, traits := d.asked, d.traits
	unconfirmed := func() bool { return g.GrantedAt.IsZero() && !startsBySweeper(g, traits) && !g.Over(b.Now()) }
	if unconfirmed() && !g.Failed() {
		if err := mayStillBegin(g, b.Now()); err != nil {
			return g, err
		}
	}
	g, err := b.update(ctx, g, func(g *jit.Grant) ([]jit.Event, bool) {
		events, changes := b.adoption(g, asked)
		return append(events, b.decidedAnew(d)...), changes
	})
	if err != nil || !unconfirmed() {
		return g, err
	}
	return b.ensure(ctx, g, jit.EventGranted)
}

// adoption makes another resource the holder of a live grant. It records a grant that is over only if the ledger has
// lost facts of it.
func (b *Broker) adoption(g *jit.Grant, asked jit.Grant) ([]jit.Event, bool) {
	if g.ReasonLost() {
		g.StartAsked = asked.StartAsked
	}
	var added bool
	*g, added = completed(*g, asked)
	state := string(g.State(b.Now()))
	if g.Over(b.Now()) {
		return []jit.Event{b.window(jit.EventAdopted, *g, "state", state, "reason", g.Reason)}, g.Version == 0 || added
	}
	g.Holder++
	return []jit.Event{b.window(jit.EventAdopted, *g, "state", state)}, true
}

// startsBySweeper reports whether the sweeper, not the platform, begins a grant at its start.
func startsBySweeper(g jit.Grant, traits jit.Traits) bool { return g.Deferred() && !traits.NativeStart }

// ensure puts the recorded grant on its platform, unless its record was altered, and records the outcome as kind.
func (b *Broker) ensure(ctx context.Context, g jit.Grant, kind jit.EventKind) (jit.Grant, error) {
	if err := b.checkAltered(ctx, []jit.Grant{g})[0]; err != nil {
		return g, err
	}
	if err := b.mayGive(ctx, g.Place(), []jit.Grant{g})[0]; err != nil {
		return g, err
	}
	return b.put(ctx, g, g.Access(), kind)
}

// put puts access on the grant's platform and records the outcome as kind. If people decide there, it asks them first.
func (b *Broker) put(ctx context.Context, g jit.Grant, access jit.Access, kind jit.EventKind) (jit.Grant, error) {
	p, err := b.Target(g.Target)
	if err != nil {
		return g, err
	}
	if err := b.mayBegin(ctx, g.Place()); err != nil {
		return g, err
	}
	if k, asks := jit.Asks(p); asks && g.GrantedAt.IsZero() {
		next, begins, err := b.askPeople(ctx, k, g)
		if err != nil && !errors.Is(err, jit.ErrDenied) {
			return next, b.attemptFailed(ctx, g, err)
		}
		if err != nil || !begins {
			return next, err
		}
		g, access.Marker = next, next.Marker()
	}
	failpoint.Hit("ensure.before-platform")
	err = p.Apply(ctx, g.Scope, []jit.Change{{Op: jit.Ensure, Access: access, Held: g.Held(), GrantedAt: g.GrantedAt}})[0]
	failpoint.Hit("ensure.after-platform")
	if err != nil {
		return g, b.attemptFailed(ctx, g, err)
	}
	ensured := g.Access()
	g, err = b.update(ctx, g, func(g *jit.Grant) ([]jit.Event, bool) {
		b.confirm(g)
		clearFailure(g)
		return []jit.Event{b.window(kind, *g)}, true
	})
	if err != nil {
		return g, fmt.Errorf("the access is on target %q, but the ledger could not record it; apply again: %w",
			g.Target, err)
	}
	g, err = b.followRecord(ctx, ensured, g)
	failpoint.Hit("ensure.after-outcome")
	return g, err
}

// followRecord adapts access that was put on its platform to a record that others changed meanwhile. It removes the
// access if the grant has ended or now begins later, and puts it there again if its window differs.
func (b *Broker) followRecord(ctx context.Context, ensured jit.Access, g jit.Grant) (jit.Grant, error) {
	switch now := b.Now(); {
	case g.Over(now):
		return g, b.end(ctx, g)
	case g.Access() == ensured:
		return g, nil
	case g.Window.Contains(now), b.beginsByItself(g):
		return b.ensure(ctx, g, jit.EventRepaired)
	}
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
	_, traits, err := b.checkBinding(g)
	return err == nil && traits.NativeStart
}

// attemptFailed closes the record of a failed attempt to grant if a read that began after the attempt shows that it
// gave nothing, and, where reads lag, the attempt was refused. Otherwise the outcome is unknown: the record stays
// pending, and the sweeper ends the access with its window.
func (b *Broker) attemptFailed(ctx context.Context, g jit.Grant, cause error) error {
	cause = fmt.Errorf("grant %s to %s on target %q: %w", g.Role, g.Principal, g.Target, cause)
	unknown := fmt.Errorf(
		"%w; nevertheless the access may be in force: `jit revoke %s` ends it, and `jit sweep` does at %s",
		cause, g.ID, jit.FormatTime(g.End))
	if !g.GrantedAt.IsZero() || ctx.Err() != nil {
		return unknown // an attempt that was cut off may still be in progress
	}
	if p, err := b.Target(g.Target); err != nil || jit.Lag(p) > 0 && !refused(cause) {
		return unknown // a read may miss what the attempt wrote
	}
	s, err := b.read(ctx, g)
	if err != nil || g.Drift(s) != jit.Missing {
		return unknown
	}
	return errors.Join(cause, b.closeFailed(ctx, g, cause))
}

// refused reports whether an attempt failed because of the clocks, of a value that is to blame, or of a refusal that the
// platform is sure of.
func refused(err error) bool {
	var problem *jit.Error
	return errors.Is(err, jit.ErrSkew) || errors.Is(err, jit.ErrRefused) || errors.As(err, &problem) &&
		problem.Attribute != ""
}

// closeFailed records that a grant gave nothing, because of cause.
func (b *Broker) closeFailed(ctx context.Context, g jit.Grant, cause error) error {
	_, err := b.update(ctx, g, func(g *jit.Grant) ([]jit.Event, bool) {
		open := g.GrantedAt.IsZero() && g.RevokedAt.IsZero() && g.FailedAt.IsZero()
		g.FailedAt, g.Failure = b.Now(), cause.Error()
		return []jit.Event{b.event(jit.EventGrantFailed, *g, "error", cause.Error())}, open
	})
	return err
}
