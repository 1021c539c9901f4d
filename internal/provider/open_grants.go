package provider

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"golang.org/x/sync/errgroup"

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
	var (
		mu    sync.Mutex
		left  []error
		group errgroup.Group
	)
	group.SetLimit(maxRevocations)
	for _, g := range b.openGrants.stop() {
		group.Go(func() error {
			var diags diag.Diagnostics
			b.endOne(ctx, g, &diags)
			mu.Lock()
			defer mu.Unlock()
			for _, d := range diags.Errors() {
				left = append(left, fmt.Errorf("%s: %s", d.Summary(), d.Detail()))
			}
			return nil
		})
	}
	_ = group.Wait() // left holds every error
	return errors.Join(left...)
}

// endOne ends the access of an ephemeral grant.
func (b *backend) endOne(ctx context.Context, g jit.Grant, diags *diag.Diagnostics) {
	ctx, stop := context.WithTimeout(ctx, defaultTimeout)
	defer stop()
	_, _, err := b.Broker.Revoke(ctx, broker.Revocation{Grant: g, Reason: runClosed})
	switch {
	case errors.Is(err, jit.ErrRemains), errors.Is(err, jit.ErrOver):
		addWarning(diags, "The grant has ended, and a sweep cleans up", err)
	case err != nil:
		addError(diags, "Cannot end the access", fmt.Errorf("`jit revoke %s` ends it, and `jit sweep` does at %s: %w",
			g.ID, jit.FormatTime(g.End), err))
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
