package broker

import (
	"context"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// passed is what others say of a grant whose window is over by our clock.
type passed struct {
	// behind is how much later our clock is than the earlier one of the ledger's server and the target, where they disagree with it.
	behind time.Duration
	// snapshot is the grant's scope. Where unread says why there is none, the target tells no time either.
	snapshot jit.Snapshot
	unread   error
}

// askAbout asks the ledger's server and the target for their time, and what is left of a grant; err is the ledger's.
func (b *Broker) askAbout(ctx context.Context, g jit.Grant) (p passed, err error) {
	before := b.Now()
	clock, err := b.Ledger.Clock(ctx)
	if err != nil {
		return p, err
	}
	p.disagree(before, clock)
	before = b.Now()
	var target jit.Platform
	if target, p.unread = b.Target(g.Target); p.unread == nil {
		p.snapshot, p.unread = target.Read(ctx, g.Scope)
	}
	p.disagree(before, p.snapshot.Clock)
	return p, nil
}

// disagree takes another clock into account.
func (p *passed) disagree(now, clock time.Time) {
	sound, _ := jit.EarlierTime(now, clock)
	p.behind = max(p.behind, now.Sub(sound))
}

// endedByItself reports whether the platform has ended a grant whose window is over at now, as a platform with
// native enforcement does, unless its end was moved there or taken off.
func (p *passed) endedByItself(g jit.Grant, now time.Time) bool {
	for _, o := range p.snapshot.Ours {
		if o.Marker.ID == g.ID && o.Marker.Owner == g.Owner && (o.End.IsZero() || now.Before(o.End)) {
			return false
		}
	}
	return !strings.HasPrefix(g.Drift(p.snapshot), jit.Stripped)
}
