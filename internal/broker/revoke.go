package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Revocation asks for the end of one grant.
type Revocation struct {
	// Grant is the record, or as much of it as is remembered: id, owner, binding and window at least.
	Grant  jit.Grant
	Reason string
	// Holder, when not 0, restricts the revocation to that holder of the grant: a newer holder keeps it.
	Holder int64
	// TerminateSessions also ends open sessions, where the platform can, whatever the grant says.
	TerminateSessions bool
	// Destroys: Terraform destroys the resource, which is recorded of a grant that is over, too.
	Destroys bool
}

// Destroyed is the reason recorded for a grant whose resource Terraform destroys.
const Destroyed = "the resource was destroyed"

// ErrUnrecorded says that access was ended on its target and that the ledger could not record it.
var ErrUnrecorded = errors.New("the ledger could not record it")

// Revoke ends a grant of this owner now; one of another's is refused. Absent, over, failed or unknown to the ledger is success. kept is
// true when a newer holder has the grant, which then lives on. If the ledger
// cannot be reached, access is ended all the same and the error is of the kind [ErrUnrecorded].
// An error of the kind [jit.ErrRemains] says that the access has ended, which is recorded, and that something is left to be cleaned up, or
// that the target of a failed grant could not be asked.
// An error of the kind [jit.ErrOver] says that the window of the grant had passed before and that the target could not be
// cleared of what may be left; the sweeper tries again. After any other error the returned grant says whether the
// revocation is on record: the sweeper then ends the access.
func (b *Broker) Revoke(ctx context.Context, r Revocation) (g jit.Grant, kept bool, err error) {
	if err := b.owns(r.Grant); err != nil {
		return r.Grant, false, err
	}
	first, _, err := b.Recall(ctx, r.Grant.ID, r.Grant)
	if errors.Is(err, ErrOtherOwner) {
		return r.Grant, false, err
	}
	if err != nil {
		return r.Grant, false, b.endUnrecorded(ctx, r, err)
	}
	ask := sync.OnceValues(func() (passed, error) { return b.askAbout(ctx, first) })
	var clocks error
	failpoint.Hit("revoke.before-intent")
	g, err = b.update(ctx, first, func(g *jit.Grant) ([]jit.Event, bool) {
		now := b.Now()
		kept = r.Holder != 0 && g.Holder > r.Holder
		if kept || g.Failed() {
			return nil, false
		}
		if g.RevokedAt.IsZero() && g.EndedAt.IsZero() && g.Window.Over(now) {
			// If our clock is ahead, it is live: what is not recorded as revoked would be put back.
			var p passed
			if p, clocks = ask(); clocks != nil {
				return nil, false
			}
			now = now.Add(-p.behind)
		}
		if g.Over(now) {
			// Its end is recorded, or so long past that it follows from the window; a lost record is made good.
			lost, first := g.Version == 0, r.Destroys && !g.Destroyed()
			r.destroy(g)
			if lost {
				return []jit.Event{b.window(jit.EventAdopted, *g, "state", string(g.State(now)))}, true
			}
			return []jit.Event{b.event(jit.EventChanged, *g, "note", Destroyed+"; the grant was over")}, first
		}
		r.destroy(g)
		g.RevokedAt, g.RevokedBy, g.RevokeReason = now, b.Actor.Name, r.Reason
		g.TerminateSessions = g.TerminateSessions || r.TerminateSessions
		return []jit.Event{b.event(jit.EventRevokeAsked, *g, "reason", r.Reason)}, true
	})
	if kept {
		return g, true, nil
	}
	if err = errors.Join(err, clocks); err != nil {
		return g, false, b.endUnrecorded(ctx, r, err)
	}
	failpoint.Hit("revoke.after-intent")
	if g.Failed() {
		return g, false, b.removeUngranted(ctx, g)
	}
	if !g.EndedAt.IsZero() {
		return g, false, nil
	}
	over := false
	if g.Window.Over(b.Now()) {
		p, err := ask()
		if err != nil {
			return g, false, b.endUnrecorded(ctx, r, err)
		}
		now := b.Now().Add(-p.behind)
		over = g.Window.Over(now)
		switch native := g.Enforcement == jit.Native; {
		case over && native && p.unread != nil:
			return g, false, leftOver(p.unread)
		case over && native && p.endedByItself(g, now):
			return g, false, nil // what is left is the sweeper's to clear away
		}
	}
	remains := b.end(ctx, g)
	if remains != nil && !errors.Is(remains, jit.ErrRemains) {
		if over {
			remains = leftOver(remains)
		}
		return g, false, remains
	}
	g, _, err = b.Recall(ctx, g.ID, g)
	return g, false, errors.Join(remains, err)
}

// removeUngranted looks at the target of a grant whose attempt is recorded to have given nothing, and takes away what is there all the same.
// A target that cannot be asked is no failure but a note, an error of the kind [jit.ErrRemains]: the record is closed.
func (b *Broker) removeUngranted(ctx context.Context, g jit.Grant) error {
	err := b.remove(ctx, g)
	if err == nil || errors.Is(err, jit.ErrRemains) {
		return err
	}
	return &jit.Error{
		Problem: fmt.Sprintf("grant %s is recorded to have given nothing, and target %q could not be asked: %v", g.ID, g.Target, err),
		Hint:    "revoke it again when the target answers, to be sure", Err: jit.ErrRemains,
	}
}

// destroy notes in a record that its resource was destroyed, if it was.
func (r *Revocation) destroy(g *jit.Grant) {
	if r.Destroys && !g.Destroyed() {
		g.Holder = -max(g.Holder, 1)
	}
}

func leftOver(err error) error {
	return &jit.Error{
		Problem: fmt.Sprintf("the grant is over, and its target could not be checked for what is left of it: %v", err),
		Hint:    "a `jit sweep` that reaches the target clears it", Err: jit.ErrOver,
	}
}

// endUnrecorded ends access although the ledger cannot take it down: revoking has to work even then.
func (b *Broker) endUnrecorded(ctx context.Context, r Revocation, ledger error) error {
	p, err := b.Target(r.Grant.Target)
	if err != nil {
		return errors.Join(ledger, err)
	}
	access := r.Grant.Access()
	access.TerminateSessions = access.TerminateSessions || r.TerminateSessions
	if err := p.Apply(ctx, r.Grant.Scope, []jit.Change{{Op: jit.Remove, Access: access, Held: r.Grant.Held()}})[0]; err != nil {
		return errors.Join(fmt.Errorf("revoke grant %s on target %q: %w", r.Grant.ID, r.Grant.Target, err), ledger)
	}
	return fmt.Errorf("the access of grant %s was ended, but %w; repeat this when the ledger is back, or the sweeper puts the access back: %w", r.Grant.ID, ErrUnrecorded, ledger)
}
