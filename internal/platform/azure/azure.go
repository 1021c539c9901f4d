// Package azure gives temporary access in Azure: a role on a management group, subscription, resource group or
// resource, for a user, group or service principal. With Privileged Identity Management (PIM) Azure itself ends the
// access; the sweeper ends a plain role assignment.
//
// Azure holds one assignment for each principal, role and scope. Grants of the same three share it: each has a claim
// on it, and it lasts until the latest end of all claims.
package azure

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// pace holds the waiting times, which tests shorten.
type pace struct {
	// tick is the longest pause between two polls.
	tick time.Duration
	// recheck is how long after a write a plain assignment is read again: Azure keeps the last write, and another
	// process may have read before ours.
	recheck time.Duration
	// replication limits the wait for a principal that was just created.
	replication time.Duration
	// patience limits how long one Apply competes with other writers.
	patience time.Duration
	// throttle is the longest time to wait for Azure to take requests again; the context may end the wait sooner.
	throttle time.Duration
}

// Platform is Azure as one identity sees it. It is safe for concurrent use.
type Platform struct {
	// OnCall, if set before use, is called before each API request with "read" or "write", possibly by several
	// goroutines at a time.
	OnCall func(op string)

	cfg   Config
	now   func() time.Time
	agent string
	pace  pace

	// clock is Azure's time.
	clock jit.ServerClock
	// roleIDs holds the id of each [roleOn], and roleNames the name of each id.
	roleIDs, roleNames sync.Map
	// written holds the ids that bindings gave as roles.
	written sync.Map
	// scopes holds a semaphore for each scope, which its one Apply acquires.
	scopes sync.Map

	mu     sync.Mutex
	opened *client // nil until the first call
	// sent holds our requests by scope for as long as lists may lack them.
	sent map[string][]sentRequest
	// wrote holds what we wrote on plain assignments by scope and name for as long as lists may lack it.
	wrote map[string]map[string]written
}

var _ jit.Lagging = (*Platform)(nil)

// New checks the form of the configuration; the first call looks for credentials.
func New(cfg Config, s jit.Services) (*Platform, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	return &Platform{
		cfg: cfg, now: s.Now, agent: s.Agent(),
		sent: map[string][]sentRequest{}, wrote: map[string]map[string]written{},
		pace: pace{
			tick: 10 * time.Second, recheck: 2 * time.Second, replication: 2 * time.Minute, patience: 2 * time.Minute,
			throttle: 10 * time.Minute,
		},
	}, nil
}

// Kind returns "azure".
func (p *Platform) Kind() string { return "azure" }

// Lag returns how long a read may miss a write
// (https://learn.microsoft.com/en-us/azure/role-based-access-control/troubleshooting).
func (p *Platform) Lag() time.Duration { return jit.CloudLag }

// Scopes returns the configured scopes. Without any it returns the visible subscriptions and every scope in them that
// has an assignment of ours, with one list call for each subscription.
func (p *Platform) Scopes(ctx context.Context) ([]string, error) {
	if len(p.cfg.Scopes) > 0 {
		return slices.Clone(p.cfg.Scopes), nil
	}
	c, err := p.client()
	if err != nil {
		return nil, err
	}
	subscriptions, err := c.listSubscriptions(ctx)
	if err != nil {
		return nil, err
	}
	all := slices.Clone(subscriptions)
	for _, s := range subscriptions {
		claimed, err := c.listClaimed(ctx, s)
		if err != nil {
			return nil, err
		}
		all = append(all, claimed...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// hold waits until no other Apply works on the scope, or returns the context's error.
func (p *Platform) hold(ctx context.Context, scope string) (release func(), err error) {
	held, _ := p.scopes.LoadOrStore(scope, semaphore.NewWeighted(1))
	one := held.(*semaphore.Weighted)
	return func() { one.Release(1) }, one.Acquire(ctx, 1)
}
