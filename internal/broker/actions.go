package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// mayEnd refuses a grant that is not over by the clock of its target. A grant that people have approved meanwhile
// continues.
func (b *Broker) mayEnd(ctx context.Context, t *task) error {
	var approved bool
	t.Grant, approved = b.approvedMeanwhile(ctx, t.Grant)
	now := b.sharedTime(t.Target)
	_, skew := b.KnownTime(t.Target)
	switch t.closed = approved && t.Grant.Live(now); {
	case t.closed, t.Grant.Over(now):
		return nil
	case skew != nil:
		return fmt.Errorf("grant %s is not over: %w", t.Grant.ID, skew)
	}
	return fmt.Errorf("grant %s is not over", t.Grant.ID)
}

// ended records that the access of a grant that is over has ended, and its remains.
func (b *Broker) ended(g *jit.Grant, t *task) []jit.Event {
	events := b.endedWith(g, t.err)
	if len(events) > 0 && t.Drift != "" && t.Kind == reconcile.End {
		events = append([]jit.Event{b.found(*g, t.Step)}, events...)
	}
	return events
}

// endedWith is [Broker.ended] with the error that names the remains, or nil.
func (b *Broker) endedWith(g *jit.Grant, remains error) []jit.Event {
	switch {
	case !g.Over(b.sharedTime(g.Target)):
		return nil
	case g.CleanupOpen() && remains == nil:
		g.Remains = ""
		return []jit.Event{b.event(jit.EventCleanedUp, *g)}
	case !g.EndedAt.IsZero():
		return nil
	}
	g.EndedAt = b.recordTime(g.Target)
	g.Remains = describeRemains(remains)
	if g.RevokedAt.IsZero() {
		return []jit.Event{b.window(jit.EventExpired, *g, "remains", g.Remains, "enforcement", string(g.Enforcement))}
	}
	return []jit.Event{b.window(jit.EventRevoked, *g,
		"remains", g.Remains, "reason", g.RevokeReason, "by", g.RevokedBy)}
}

// describeRemains returns the text of an error that names remains; empty for none.
func describeRemains(err error) string {
	if err == nil {
		return ""
	}
	if problem := (*jit.Error)(nil); errors.As(err, &problem) {
		return problem.Error()
	}
	return err.Error()
}

func (b *Broker) revokeFailed(t *task) jit.Event {
	return b.event(jit.EventRevokeFailed, t.Grant, "error", t.err.Error())
}

// mayStart refuses a grant that is not due to start, or that today's policies do not permit.
func (b *Broker) mayStart(ctx context.Context, t *task) error {
	if !t.Grant.DueToStart(b.Now()) {
		return fmt.Errorf("grant %s is not due to start", t.Grant.ID)
	}
	return b.rejudge(ctx, t.Grant)
}

// started records that the platform has begun access, unless another sweeper has recorded that or the end.
func (b *Broker) started(g *jit.Grant, _ *task) []jit.Event {
	if g.Held() || !g.EndedAt.IsZero() { // access given after the end is taken back
		return nil
	}
	b.confirm(g)
	return []jit.Event{b.window(jit.EventGranted, *g)}
}

func (b *Broker) startFailed(t *task) jit.Event {
	return b.event(jit.EventGrantFailed, t.Grant, "error", t.err.Error())
}

// mayRepair refuses a grant outside its window. It also refuses a grant longer than max_ttl, unless the drift is
// critical: a repair must not give such access back.
func (b *Broker) mayRepair(_ context.Context, t *task) error {
	g, now := t.Grant, b.Now()
	if !g.Live(now) || !g.Window.Contains(now) {
		return fmt.Errorf("grant %s is not inside its window", g.ID)
	}
	if g.Length() <= b.MaxTTL || t.Drift.Severity() == jit.Critical {
		return nil
	}
	return jit.Errorf(jit.ErrDenied, "", "have max_ttl raised, or ask for a shorter grant",
		"grant %s lasts %s and is not put back: max_ttl is %s",
		g.ID, jit.FormatDuration(g.Length()), jit.FormatDuration(b.MaxTTL))
}

// repairIntent records the drift, unless it is recorded already.
func (b *Broker) repairIntent(t *task) jit.Entry {
	if t.Grant.OpenDrift == t.Drift {
		return jit.Entry{}
	}
	next := t.Grant
	next.OpenDrift = t.Drift
	return jit.Rewrite(t.Grant, next, b.found(next, t.Step))
}

// repaired records that a grant is right again, unless its record has changed since the drift was found.
func (b *Broker) repaired(g *jit.Grant, t *task) []jit.Event {
	if g.Version != t.Grant.Version && !g.GrantedAt.IsZero() || !g.EndedAt.IsZero() {
		return nil
	}
	b.confirm(g)
	events := []jit.Event{b.window(jit.EventRepaired, *g, "drift", t.Reason)}
	if g.OpenDrift != t.Drift { // the intent could not be recorded
		events = append([]jit.Event{b.found(*g, t.Step)}, events...)
	}
	clearFailure(g)
	return events
}

func (b *Broker) repairFailed(t *task) jit.Event {
	return b.aboutDrift(jit.EventRepairFailed, t.Grant, t.Step, "error", t.err.Error())
}

// mayRevoke refuses a grant of another owner. A grant that has ended meanwhile needs no revocation.
func (b *Broker) mayRevoke(_ context.Context, t *task) error {
	t.closed = !t.Grant.Live(b.Now())
	return b.owns(t.Grant)
}

// revokeIntent records the drift and the revocation.
func (b *Broker) revokeIntent(t *task) jit.Entry {
	next := t.Grant
	reason := "drift: " + t.Reason
	switch t.Drift {
	case jit.DriftViolation:
		reason = "today's policies do not permit it: " + t.Reason
	case jit.DriftUnapproved:
		reason = "its approval is not proved: " + t.Reason
	}
	asked := b.revoked(&next, b.Now(), reason)
	if t.Grant.OpenDrift == t.Drift { // the repair that failed has recorded it
		return jit.Rewrite(t.Grant, next, asked)
	}
	return jit.Rewrite(t.Grant, next, b.found(next, t.Step), asked)
}

// mayRemove permits every removal of bindings with the marker, and of nothing else.
func (b *Broker) mayRemove(_ context.Context, t *task) error {
	t.Grant.NoStandingBefore = false
	return nil
}

// removeIntent records the stray, unless a failed removal of it is recorded.
func (b *Broker) removeIntent(t *task) jit.Entry {
	if b.failures.isLast(t.Grant.ID, jit.EventRevokeFailed) {
		return jit.Entry{}
	}
	return b.finding(t.Step, "to be removed")
}

func (b *Broker) removed(_ *jit.Grant, t *task) []jit.Event {
	if t.Dedup.Name == "" {
		return nil
	}
	return []jit.Event{b.aboutBinding(jit.EventRepaired, t.Step, "done", "removed")}
}

func (b *Broker) removeFailed(t *task) jit.Event {
	return b.aboutBinding(jit.EventRevokeFailed, t.Step, "error", t.err.Error())
}

// reported records a finding that is only reported. A foreign finding is not about a grant of this ledger, so it is not
// recorded.
func (b *Broker) reported(t *task) jit.Entry {
	if t.Foreign {
		return jit.Entry{}
	}
	done := "nothing"
	if t.Held {
		done = "held back"
	}
	return b.finding(t.Step, done)
}

// finding returns the entry for a finding under its dedup key; without a key nothing is recorded.
func (b *Broker) finding(s reconcile.Step, done string) jit.Entry {
	if s.Dedup.Name == "" {
		return jit.Entry{}
	}
	found := b.aboutBinding(jit.EventDrift, s, "done", done)
	return jit.Entry{Events: []jit.Event{found}, Owner: s.Grant.Owner, Dedup: s.Dedup}
}

// confirm records that the platform holds the access.
func (b *Broker) confirm(g *jit.Grant) {
	if g.GrantedAt.IsZero() {
		g.GrantedAt = b.Now()
	}
}

// clearFailure clears an earlier failure, or drift, from the record of a grant that is right again.
func clearFailure(g *jit.Grant) {
	g.FailedAt, g.Failure, g.EndedAt, g.Remains, g.OpenDrift = time.Time{}, "", time.Time{}, "", ""
}
