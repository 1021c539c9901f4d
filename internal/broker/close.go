package broker

import (
	"context"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Close records the end of a grant whose target is gone for good. If the grant's scope can be read, Close refuses:
// access that may be there must be revoked. A grant that is over or failed is a success.
func (b *Broker) Close(ctx context.Context, g jit.Grant, reason string) (jit.Grant, error) {
	if err := b.owns(g); err != nil {
		return g, err
	}
	if _, err := b.read(ctx, g); err == nil {
		return g, jit.Invalid("--target-gone", "leave it out: the access is looked for and taken away",
			"target %q is there: %s can be read", g.Target, g.Scope)
	}
	return b.update(ctx, g, func(g *jit.Grant) ([]jit.Event, bool) {
		if !g.EndedAt.IsZero() || g.Failed() {
			return nil, false
		}
		return b.closed(g, reason), true
	})
}

// closed marks g as ended without a check of its target, and returns the events for it.
func (b *Broker) closed(g *jit.Grant, reason string) (events []jit.Event) {
	now := b.Now()
	if !g.Over(now) {
		events = append(events, b.revoked(g, now, reason))
	}
	kind := jit.EventExpired
	if !g.RevokedAt.IsZero() {
		kind = jit.EventRevoked
	}
	g.EndedAt = now
	return append(events, b.window(kind, *g, "reason", reason, "by", b.Actor.Name,
		"note", "closed without a look at its target, which is gone"))
}

// CloseAll is [Broker.Close] for many grants, and returns its error for each.
func (b *Broker) CloseAll(ctx context.Context, grants []jit.Grant, reason string) []error {
	errs, positions := make([]error, len(grants)), make([]int, len(grants))
	for i := range positions {
		positions[i] = i
	}
	each(maxGroup, positions, func(i int) { _, errs[i] = b.Close(ctx, grants[i], reason) })
	return errs
}
