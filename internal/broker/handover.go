package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// takeOver makes the caller the holder of the recorded grant that its request met. A live grant goes on within its
// recorded window; a grant that is over stays over.
func (b *Broker) takeOver(ctx context.Context, d Decision, r Request) (g jit.Grant, err error) {
	recorded := d.Grant
	resumes := r.Successor && d.recorded.Destroyed()
	if resumes {
		if recorded, err = b.resume(ctx, d.recorded, d.traits); err != nil {
			return recorded, err
		}
	}
	g, err = b.adopt(ctx, recorded, d)
	now := b.Now()
	if err != nil || resumes || recorded.GrantedAt.IsZero() || !g.Live(now) || !g.Window.Contains(now) {
		return g, err
	}
	// Nothing has been put on the target. Repair drift there; if the target does not answer, the next read finds it.
	if s, err := b.read(ctx, g); err == nil {
		return b.repairBy(ctx, g, s)
	}
	return g, nil
}

// MayReplace waits, as Grant does, until the request that replaces a live grant may begin. It grants nothing. If people
// or policies do not permit the request, the error is a [jit.ErrDenied]; the live grant can go on then.
func (b *Broker) MayReplace(ctx context.Context, live jit.Grant, r Request) error {
	_, err := b.untilApproved(ctx, func() (Decision, error) { return b.decide(ctx, r, false, false) })
	var refused *jit.Error
	if !errors.Is(err, jit.ErrDenied) || !errors.As(err, &refused) {
		return err
	}
	more := *refused
	more.Hint += ".\n\n" + fmt.Sprintf("The grant that it replaces goes on and ends at %s; `jit revoke %s` ends it now",
		jit.FormatTime(live.End), live.ID)
	return &more
}

// HandOver records that the resource of a grant was destroyed and that its access, if live, is left to the resource
// that the same run creates. The record then explains the access even if that resource never exists.
func (b *Broker) HandOver(ctx context.Context, g jit.Grant) error {
	if g.Over(b.Now()) {
		return nil
	}
	recorded, known, err := b.Lookup(ctx, g.ID, g)
	if errors.Is(err, ErrOtherOwner) {
		return nil // their record
	}
	if err != nil || !known || !recorded.Live(b.Now()) {
		return err
	}
	note := b.event(jit.EventChanged, recorded,
		"note", Destroyed+"; its access was left to the resource that the same apply creates")
	return b.write(ctx, jit.Entry{Events: []jit.Event{note}})
}

// undestroyed returns the record of a destroyed grant as if it had not been destroyed. Only access that the destroy
// itself ended comes back, and only within its window.
func (b *Broker) undestroyed(g jit.Grant) jit.Grant {
	if !g.Destroyed() {
		return g
	}
	g.Holder = -g.Holder
	if g.RevokeReason == Destroyed && !g.Window.Over(b.Now()) {
		g.RevokedAt, g.RevokedBy, g.RevokeReason, g.EndedAt, g.Remains = time.Time{}, "", "", time.Time{}, ""
	}
	return g
}

// destroyAgain is how long ending a grant that could not be resumed may take, even after the time of the create is up.
// It is longer than the 15 seconds that a platform may need to rule out a creation whose outcome is unknown.
const destroyAgain = 20 * time.Second

// resume takes back the destruction of a grant: one apply destroyed it under one address and creates it under another.
// If the access cannot be given back, the grant is destroyed again.
func (b *Broker) resume(ctx context.Context, g jit.Grant, traits jit.Traits) (jit.Grant, error) {
	g, err := b.update(ctx, g, func(g *jit.Grant) ([]jit.Event, bool) {
		if !g.Destroyed() {
			return nil, false
		}
		*g = b.undestroyed(*g)
		return []jit.Event{b.window(jit.EventAdopted, *g, "state", string(g.State(b.Now())),
			"note", "the apply that destroyed the resource creates it again")}, true
	})
	failpoint.Hit("resume.after-intent")
	now := b.Now()
	there := !g.Over(now) && !g.GrantedAt.IsZero() && (g.Window.Contains(now) || traits.NativeStart)
	if err != nil || !there {
		return g, err
	}
	resumed, err := b.ensure(ctx, g, jit.EventGranted)
	if err == nil {
		return resumed, nil
	}
	// No resource holds the grant now: without a recorded end, a sweep would put the access back.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), destroyAgain)
	defer stop()
	ended, _, notEnded := b.Revoke(ctx, Revocation{Grant: g, Reason: Destroyed, Destroys: true})
	if failed(notEnded) {
		err = errors.Join(err, notEnded)
	}
	return ended, err
}
