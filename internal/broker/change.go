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
		d, err = b.untilApproved(ctx, func() (Decision, error) { return b.decideChange(ctx, g, r, false) })
		if err == nil && d.alters() {
			err = b.mayBegin(ctx, g.Place())
		}
		if err == nil {
			err = b.recordChange(ctx, &d)
		}
	}
	if err != nil {
		return g, err
	}
	failpoint.Hit("change.after-intent")
	return b.carryOut(ctx, d)
}

// carryOut brings the platform in line with a recorded change.
func (b *Broker) carryOut(ctx context.Context, d Decision) (jit.Grant, error) {
	g, now := d.Grant, b.Now()
	granted := !g.GrantedAt.IsZero()
	begins := !g.Start.Equal(d.current.Start) && !g.Start.After(now)
	switch {
	case !g.RevokedAt.IsZero() && g.EndedAt.IsZero():
		if err := b.end(ctx, g); failed(err) {
			return g, err
		}
		g, _, err := b.Lookup(ctx, g.ID, g)
		return g, err
	case g.Over(now), !granted && startsBySweeper(g, d.traits) && !begins:
		return g, nil
	case !granted:
		return b.ensure(ctx, g, jit.EventGranted)
	case d.altersAccess():
		return b.ensureAgain(ctx, g, jit.EventGranted)
	case !g.Window.Contains(now): // it begins by itself
		return b.ensureAgain(ctx, g, jit.EventRepaired)
	}
	s, err := b.read(ctx, g)
	if err != nil {
		return g, err
	}
	return b.repairBy(ctx, g, s)
}

// ensureAgain is ensure for a grant that has begun. It refuses to put access back that nobody proves to have been
// approved; access that is there may change.
func (b *Broker) ensureAgain(ctx context.Context, g jit.Grant, kind jit.EventKind) (jit.Grant, error) {
	putBack := []task{{Step: reconcile.Drifted(reconcile.Repair, g.Place(), g, jit.Missing, "")}}
	if b.refuseUnapproved(ctx, putBack); putBack[0].err != nil {
		if s, err := b.read(ctx, g); err != nil || g.Drift(s) == jit.Missing {
			return g, errors.Join(putBack[0].err, err)
		}
	}
	return b.ensure(ctx, g, kind)
}

// alters reports whether a change alters the record of a grant.
func (d *Decision) alters() bool {
	return d.altersAccess() || !d.Over && (d.newlyNamed || d.Grant.StartAsked != d.current.StartAsked)
}

// altersAccess reports whether a change alters more than the recorded wish for the beginning.
func (d *Decision) altersAccess() bool {
	was, is := d.current, d.Grant
	return !d.Over && (len(d.changes) > 0 || is.Terms != was.Terms || is.TTL != was.TTL)
}

// recordChange records a change. If nothing changes, it records only facts that the ledger has lost.
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
		details := []string{"from", jit.FormatTime(d.current.End), policyNamed, d.namesPolicy}
		if widened(d) {
			details = append(append(details, "permitted_by", d.Verdict.Policy), d.approvalDetails()...)
		}
		event = b.window(kind, *g, details...)
	}
	events := append(b.decisions(*d), event)
	if decided := b.decidedAnew(*d); len(decided) > 0 {
		events = append(append([]jit.Event{b.window(jit.EventAdopted, *g)}, decided...), event)
	}
	entry := jit.Rewrite(d.recorded, *g, events...)
	entry.OnlyUnsigned, entry.Current = breaksGlass(d), g.RevokedAt.IsZero()
	err := b.write(ctx, entry)
	if err == nil {
		g.Version++
	}
	return err
}

// repairBy repairs the drift that a snapshot of the grant's scope shows. If the snapshot may miss a recent write, that
// is no drift: the access is put there again, in case that write was never made.
func (b *Broker) repairBy(ctx context.Context, g jit.Grant, s jit.Snapshot) (jit.Grant, error) {
	d := g.Differs(s)
	if d.Kind == "" || d.Kind == jit.DriftGone { // the sweeper ends what nobody can have
		return g, nil
	}
	switch settled, err := b.settled(ctx, g, d); {
	case err != nil:
		return g, err
	case settled.Kind == "":
		return b.ensureAgain(ctx, g, jit.EventGranted)
	}
	step := reconcile.Drifted(reconcile.Repair, g.Place(), g, d.Kind, d.Words)
	if err := b.Execute(ctx, []reconcile.Step{step})[0]; err != nil {
		return g, err
	}
	g, _, err := b.Lookup(ctx, g.ID, g)
	return g, err
}

// changed returns the recorded grant as the request wants it, and the names of the attributes that differ in substance.
// It neither judges nor writes. An end in the past makes the grant revoked now.
func (b *Broker) changed(g jit.Grant, r Request, traits jit.Traits) (next jit.Grant, attributes []string, err error) {
	now := b.Now()
	next = g
	if err := r.keepsGlass(g, now); err != nil {
		return g, nil, err
	}
	if next.Start, err = b.beginning(g, r, traits); err != nil {
		return g, nil, err
	}
	next.TTL, next.Terms = r.TTL, r.Terms
	if r.StartNow || !r.StartsAt.IsZero() {
		next.StartAsked = jit.StartAsked(r.StartsAt)
	}
	next.End = r.end(g, next.Start)
	if !next.Start.Equal(g.Start) {
		attributes = append(attributes, "starts_at")
	}
	if !next.End.Equal(g.End) {
		attributes = append(attributes, endAttribute(next))
	}
	if len(attributes) > 0 {
		if err := b.checkMove(g, next, attributes[len(attributes)-1]); err != nil {
			return g, nil, err
		}
	}
	if r.changesPolicy(g) {
		attributes = append(attributes, "policy")
	}
	if len(attributes) > 0 && !next.End.After(now) {
		b.revoked(&next, now, "the end was moved to the past")
	}
	return next, attributes, nil
}

// keepsGlass refuses to turn a live grant into one that broke the glass or the other way round, and to change who
// answers for one that nobody has signed off.
func (r Request) keepsGlass(g jit.Grant, now time.Time) error {
	switch {
	case g.Over(now) || g.ReasonLost():
		return nil
	case r.BreakGlass != g.BreakGlass:
		return errGlass(g)
	case g.Unsigned() && !jit.SameName(r.Requester, g.Requester):
		return jit.Invalid("requester", "have the grant signed off first: jit approve --sign-off "+string(g.ID),
			"requester %q broke the glass for this grant, and nobody has signed that off", g.Requester)
	}
	return nil
}

// errGlass refuses to change break_glass of a live grant.
func errGlass(g jit.Grant) error {
	return jit.Invalid("break_glass",
		fmt.Sprintf("write break_glass = %t, or set renewal = %d to ask again", g.BreakGlass, g.Renewal+1),
		"this grant is live, and how it began cannot change")
}

// changesPolicy reports whether the request names another policy than the record, or none after one.
func (r Request) changesPolicy(g jit.Grant) bool {
	return r.Policy != "" && r.Policy != g.Policy || r.AnyPolicy && g.Policy != ""
}

// end returns when the recorded grant ends according to the request, if it begins at start. The same length as before
// keeps an adopted or shortened window as it is.
func (r Request) end(g jit.Grant, start time.Time) time.Time {
	switch {
	case r.TTL.IsZero():
		return r.ExpiresAt
	case g.TTL.Length() == r.TTL.Length() && start.Equal(g.Start):
		return g.End
	}
	return start.Add(r.TTL.Length())
}

// checkMove refuses to move a window that cannot move, or to an end before its beginning.
func (b *Broker) checkMove(g, next jit.Grant, attribute string) error {
	now := b.Now()
	if g.Over(now) {
		return errOver(g, now, attribute)
	}
	if _, asks := jit.Asks(b.Targets[g.Target]); asks && !g.GrantedAt.IsZero() && next.End.After(now) {
		return jit.Invalid("ttl",
			fmt.Sprintf("set renewal = %d to request it again, or destroy the grant to end it now", g.Renewal+1),
			"people approved the grant on target %q from %s to %s, and an approved window cannot change",
			g.Target, jit.FormatTime(g.Start), jit.FormatTime(g.End))
	}
	if !next.End.After(next.Start) {
		return jit.Invalid("expires_at", "write an end after the beginning; one in the past ends the grant now",
			"%s is not after the beginning of the grant, %s", jit.FormatTime(next.End), jit.FormatTime(next.Start))
	}
	return nil
}

// beginning returns when the recorded grant begins according to the request. The beginning can move until it has come,
// also on a platform that begins access by itself.
func (b *Broker) beginning(g jit.Grant, r Request, traits jit.Traits) (time.Time, error) {
	now := b.Now()
	switch {
	case r.StartsAt.IsZero() && !r.StartNow, r.StartsAt.Equal(g.Start):
		return g.Start, nil
	case movable(g, traits, now):
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

// movable reports whether the beginning of a grant has yet to come.
func movable(g jit.Grant, traits jit.Traits, now time.Time) bool {
	return !g.Over(now) && (g.Deferred() && g.GrantedAt.IsZero() || traits.NativeStart && now.Before(g.Start))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
