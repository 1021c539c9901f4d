package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Revocation asks for the end of one grant.
type Revocation struct {
	// Grant is the record, or the remembered part of it: id, owner, binding and window at least.
	Grant  jit.Grant
	Reason string
	// Holder, unless 0, restricts the revocation to that holder of the grant: a newer holder keeps it.
	Holder int64
	// TerminateSessions also ends open sessions, if the platform can, whatever the grant says.
	TerminateSessions bool
	// Destroys reports whether Terraform destroys the resource. That is recorded even if the grant is over.
	Destroys bool
}

// Destroyed is the recorded reason for a grant whose resource Terraform destroys.
const Destroyed = "the resource was destroyed"

// ErrUnrecorded is the error for access that ended on its target when the ledger could not record that.
var ErrUnrecorded = errors.New("the ledger could not record it")

// Revoke ends a grant of this owner now; a grant of another owner is refused. A grant that is absent, over, failed or
// unknown to the ledger is a success. kept is true if a newer holder has the grant, which then lives on. If the ledger
// cannot be reached, access ends all the same and the error is [ErrUnrecorded].
//
// [jit.ErrRemains] says that access has ended, which is recorded, and that something remains to be cleaned up, or that
// the target of a failed grant could not be asked. [jit.ErrOver] says that the grant's window had passed before, and
// that the target could not be cleared; the sweeper tries again. After any other error the returned grant says whether
// the revocation is recorded: if so, the sweeper ends the access.
func (b *Broker) Revoke(ctx context.Context, r Revocation) (g jit.Grant, kept bool, err error) {
	if err := b.owns(r.Grant); err != nil {
		return r.Grant, false, err
	}
	g, known, err := b.Lookup(ctx, r.Grant.ID, r.Grant)
	if errors.Is(err, ErrOtherOwner) {
		return g, false, err
	}
	if err == nil && !known {
		if err := b.CheckForgotten(ctx, g); err != nil {
			return g, false, err
		}
	}
	first := g
	check := sync.OnceValues(func() (endCheck, error) { return b.checkEnd(ctx, first) })
	if err == nil {
		failpoint.Hit("revoke.before-intent")
		g, kept, err = b.recordRevocation(ctx, r, first, check)
	}
	if err != nil {
		return g, false, b.endUnrecorded(ctx, r, err)
	}
	if !kept {
		failpoint.Hit("revoke.after-intent")
		g, err = b.endRevoked(ctx, r, g, check)
	}
	return g, kept, err
}

// CheckForgotten returns an error if a grant without a record may have its access still: where a binding takes no
// marker, only the ledger tells it from those of others, so it can be neither ended nor called absent. For a grant that
// is over, the error is [jit.ErrOver].
func (b *Broker) CheckForgotten(ctx context.Context, g jit.Grant) error {
	_, traits, err := b.checkBinding(g)
	if err != nil || !traits.Remembered {
		return nil //nolint:nilerr // an unknown target is told of before, and an impossible binding gives nothing
	}
	s, err := b.read(ctx, g)
	standing, there := s.StandingOf(g.Binding)
	if err == nil && !there {
		return nil
	}
	found := fmt.Sprintf("it has that access (%s)", standing.Detail)
	var kind error
	switch {
	case err != nil:
		found, kind = fmt.Sprintf("the target cannot be read: %v", err), err
	case g.Window.Over(b.Now()):
		kind = jit.ErrOver
	}
	return jit.Errorf(kind, "", "take it away on the target unless somebody else gave it, and destroy again; "+
		"or keep the access: `terraform state rm`", "the ledger has no record of grant %s of %s to %s on %s of target %q, "+
		"and nothing else tells it from the access of others; %s", g.ID, g.Role, g.Principal, g.Scope, g.Target, found)
}

// endRevoked ends the access of a grant whose revocation is recorded.
func (b *Broker) endRevoked(
	ctx context.Context, r Revocation, g jit.Grant, check func() (endCheck, error),
) (jit.Grant, error) {
	if g.Failed() {
		return g, b.removeUngranted(ctx, g)
	}
	if !g.EndedAt.IsZero() {
		return g, nil
	}
	over := false
	if g.Window.Over(b.Now()) {
		c, err := check()
		if err != nil {
			return g, b.endUnrecorded(ctx, r, err)
		}
		now := b.Now().Add(-c.behind)
		over = g.Window.Over(now)
		switch native := over && g.Enforcement == jit.Native; {
		case native && c.unread != nil:
			return g, errUncleared(c.unread)
		case native && c.endedByItself(g, now):
			return g, nil // the sweeper removes the rest
		}
	}
	remains := b.end(ctx, g)
	if failed(remains) {
		if over {
			remains = errUncleared(remains)
		}
		return g, remains
	}
	g, _, err := b.Lookup(ctx, g.ID, g)
	return g, errors.Join(remains, err)
}

// recordRevocation records that a grant is revoked. A grant whose end is recorded or long past stays as it is.
func (b *Broker) recordRevocation(ctx context.Context, r Revocation, first jit.Grant, check func() (endCheck, error)) (
	g jit.Grant, kept bool, err error,
) {
	var unsure error
	g, err = b.update(ctx, first, func(g *jit.Grant) ([]jit.Event, bool) {
		now := b.Now()
		if kept = r.Holder != 0 && g.Holder > r.Holder; kept || g.Failed() {
			return nil, false
		}
		if g.RevokedAt.IsZero() && g.EndedAt.IsZero() && g.Window.Over(now) {
			// If our clock is ahead, the grant is live, and a sweep would put it back unless its revocation is
			// recorded.
			var c endCheck
			if c, unsure = check(); unsure != nil {
				return nil, false
			}
			now = now.Add(-c.behind)
		}
		return b.revocationOf(g, r, now)
	})
	return g, kept, errors.Join(err, unsure)
}

// revocationOf changes the record of a grant that a revocation asks to end at now, and returns the event for it, if
// there is anything to record.
func (b *Broker) revocationOf(g *jit.Grant, r Revocation, now time.Time) ([]jit.Event, bool) {
	lost, destroys := g.Version == 0, r.Destroys && !g.Destroyed()
	if destroys {
		g.Holder = -max(g.Holder, 1)
	}
	switch {
	case !g.Over(now):
		g.TerminateSessions = g.TerminateSessions || r.TerminateSessions
		return []jit.Event{b.revoked(g, now, r.Reason)}, true
	case lost:
		return []jit.Event{b.window(jit.EventAdopted, *g, "state", string(g.State(now)))}, true
	}
	return []jit.Event{b.event(jit.EventChanged, *g, "note", Destroyed+"; the grant was over")}, destroys
}

// removeUngranted removes what the target holds of a grant whose attempt is recorded to have given nothing. If the
// target cannot be asked, that is a note of the kind [jit.ErrRemains], not a failure: the record is closed.
func (b *Broker) removeUngranted(ctx context.Context, g jit.Grant) error {
	err := b.remove(ctx, g)
	if !failed(err) {
		return err
	}
	return jit.Errorf(jit.ErrRemains, "", "revoke it again when the target answers, to be sure",
		"grant %s is recorded to have given nothing, and target %q could not be asked: %v", g.ID, g.Target, err)
}

// errUncleared is the error for a grant that is over when its target cannot be cleared.
func errUncleared(err error) error {
	return jit.Errorf(jit.ErrOver, "", "a `jit sweep` that reaches the target clears it",
		"the grant is over, and its target could not be cleared: %v", err)
}

// endUnrecorded ends access although the ledger, with the given error, cannot record it.
func (b *Broker) endUnrecorded(ctx context.Context, r Revocation, ledger error) error {
	p, err := b.Target(r.Grant.Target)
	if err != nil {
		return errors.Join(ledger, err)
	}
	g, access := r.Grant, r.Grant.Access()
	access.TerminateSessions = access.TerminateSessions || r.TerminateSessions
	err = p.Apply(ctx, g.Scope, []jit.Change{{Op: jit.Remove, Access: access, Held: g.Held()}})[0]
	if err != nil {
		return errors.Join(fmt.Errorf("revoke grant %s on target %q: %w", g.ID, g.Target, err), ledger)
	}
	return fmt.Errorf("the access of grant %s was ended, but %w; "+
		"repeat this when the ledger is back, or the sweeper puts the access back: %w", g.ID, ErrUnrecorded, ledger)
}

// endCheck holds the answers of the ledger's server and the target about a grant whose window is over by our clock.
type endCheck struct {
	// behind is how far our clock is ahead of the earlier of the other two, if they disagree.
	behind time.Duration
	// snapshot is the grant's scope; unread says why it could not be read.
	snapshot jit.Snapshot
	unread   error
}

// checkEnd asks the ledger's server and the target for their time, and reads the grant's scope. err is the ledger's.
func (b *Broker) checkEnd(ctx context.Context, g jit.Grant) (c endCheck, err error) {
	before := b.Now()
	clock, _, err := b.Ledger.Clock(ctx)
	if err != nil {
		return c, err
	}
	c.compare(before, clock)
	before = b.Now()
	c.snapshot, c.unread = b.read(ctx, g)
	c.compare(before, c.snapshot.Clock)
	return c, nil
}

// compare takes another clock into account.
func (c *endCheck) compare(now, clock time.Time) {
	sound, _ := jit.EarlierTime(now, clock)
	c.behind = max(c.behind, now.Sub(sound))
}

// endedByItself reports whether a platform with native enforcement has ended the grant, whose window is over at now. It
// has not if somebody moved or removed the end.
func (c *endCheck) endedByItself(g jit.Grant, now time.Time) bool {
	for _, o := range c.snapshot.Of(g) {
		if o.End.IsZero() || now.Before(o.End) {
			return false
		}
	}
	return !strings.HasPrefix(g.Drift(c.snapshot), jit.Stripped)
}
