package broker

import (
	"context"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Close records that a grant has ended although nobody can look: its target is gone for good. A grant whose scope can be read is
// refused, for access that may be there has to be revoked. Over or failed is success.
func (b *Broker) Close(ctx context.Context, g jit.Grant, reason string) (jit.Grant, error) {
	if err := b.owns(g); err != nil {
		return g, err
	}
	if p, err := b.Target(g.Target); err == nil {
		if _, err := p.Read(ctx, g.Scope); err == nil {
			return g, jit.Invalid("--target-gone", "leave it out: the access is looked for and taken away", "target %q is there: %s can be read", g.Target, g.Scope)
		}
	}
	return b.update(ctx, g, func(g *jit.Grant) ([]jit.Event, bool) {
		if !g.EndedAt.IsZero() || g.Failed() {
			return nil, false
		}
		now := b.Now()
		var events []jit.Event
		kind := jit.EventExpired
		if !g.Over(now) {
			g.RevokedAt, g.RevokedBy, g.RevokeReason = now, b.Actor.Name, reason
			events = append(events, b.event(jit.EventRevokeAsked, *g, "reason", reason))
		}
		if !g.RevokedAt.IsZero() {
			kind = jit.EventRevoked
		}
		g.EndedAt = now
		return append(events, b.window(kind, *g, "reason", reason, "by", b.Actor.Name, "note", "closed without a look at its target, which is gone")), true
	})
}
