package provider

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// openGrants are the ephemeral grants that are open. Terraform closes none of them after Ctrl-C, nor after an error of
// what depends on them (1.11 to 1.15), so the provider ends them when it is stopped. It is safe for concurrent use.
type openGrants struct {
	mu      sync.Mutex
	stopped bool
	open    map[jit.ID]jit.Grant
}

// add notes that a grant is open, and returns false if the provider was stopped before.
func (o *openGrants) add(g jit.Grant) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open == nil {
		o.open = map[jit.ID]jit.Grant{}
	}
	o.open[g.ID] = g
	return !o.stopped
}

// remove notes that a grant has ended.
func (o *openGrants) remove(id jit.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.open, id)
}

// stop returns what is open. Nothing can be opened any more.
func (o *openGrants) stop() (open []jit.Grant) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stopped = true
	for _, g := range o.open {
		open = append(open, g)
	}
	return open
}

// errStopped refuses to open an ephemeral grant while the run is being stopped.
var errStopped = errors.New("the run was stopped")

// endOpen ends all ephemeral grants that are open.
func (b *backend) endOpen(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, defaultTimeout)
	defer stop()
	open := b.openGrants.stop()
	all := make([]broker.Revocation, len(open))
	for i, g := range open {
		all[i] = broker.Revocation{Grant: g, Reason: runClosed}
	}
	errs := b.Broker.RevokeAll(ctx, all, nil)
	for i, g := range open {
		switch {
		case errs[i] == nil || hasEnded(errs[i]):
			b.openGrants.remove(g.ID)
			errs[i] = nil
		default:
			errs[i] = stillOpen(g, errs[i])
		}
	}
	return errors.Join(errs...)
}

// hasEnded reports whether the error of a revocation says that access has ended.
func hasEnded(err error) bool { return errors.Is(err, jit.ErrRemains) || errors.Is(err, jit.ErrOver) }

// stillOpen is the error for an ephemeral grant whose access could not be ended.
func stillOpen(g jit.Grant, err error) error {
	return fmt.Errorf("cannot end the access: `jit revoke %s` ends it, and `jit sweep` does at %s: %w", g.ID,
		jit.FormatTime(g.End), err)
}

// endOne ends the access of an ephemeral grant.
func (b *backend) endOne(ctx context.Context, g jit.Grant, diags *diag.Diagnostics) {
	ctx, stop := context.WithTimeout(ctx, defaultTimeout)
	defer stop()
	_, _, err := b.Broker.Revoke(ctx, broker.Revocation{Grant: g, Reason: runClosed})
	logOutcome(ctx, "close", g, err)
	switch {
	case err != nil && hasEnded(err):
		addWarning(diags, "The grant has ended, and a sweep cleans up", err)
	case err != nil:
		addError(diags, "Cannot end the access", stillOpen(g, err))
		return
	}
	b.openGrants.remove(g.ID)
}

// endOpen ends the ephemeral grants of all provider blocks.
func (p *jitProvider) endOpen(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []error
	for _, b := range p.backends {
		all = append(all, b.endOpen(ctx))
	}
	return errors.Join(all...)
}
