// Package azure gives temporary access in Azure: a role on a management group, subscription, resource group or
// resource, for a user, group or service principal. With Privileged Identity Management (PIM) the service itself
// ends it; a plain role assignment is ended by the sweeper.
//
// Azure holds one assignment of a principal, a role and a scope. Grants of the same three share it: each of them
// lays a claim on it, and it lasts until the latest end of all claims.
package azure

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// kind is the platform's name.
const kind = "azure"

// pace is how long the platform waits for what.
type pace struct {
	// tick is the longest pause between two looks at something that is in progress.
	tick time.Duration
	// recheck is the time after which a plain assignment that was written is read once more: Azure
	// takes whatever was written last, and another process may have read before we wrote.
	recheck time.Duration
	// replication bounds the wait for a principal that was made just now.
	replication time.Duration
	// patience bounds how long one Apply goes on against other writers.
	patience time.Duration
}

// Platform is Azure as one identity sees it. It is safe for concurrent use.
type Platform struct {
	// OnCall, when set before use, is called before each API request: "read" or "write". It may
	// be called by several goroutines at a time.
	OnCall func(op string)

	cfg  Config
	now  func() time.Time
	pace pace

	mu     sync.Mutex
	opened *client // nil until the first call
	clock  jit.ServerClock
	// roles are the ids of roles by scope and role, and their names by id, as [client.roleID] and [client.roleName]
	// found them.
	roles map[string]string
	// written are the ids that bindings gave as roles.
	written map[string]bool
	// scopes has a token for each scope, which the one Apply that works on it holds.
	scopes map[string]chan struct{}
	// sent are the requests of ours that a list may not have yet, by scope.
	sent map[string][]*armauthorization.RoleAssignmentScheduleRequest
}

var _ jit.Platform = (*Platform)(nil)

// New checks the form of the configuration; the first call looks for credentials.
func New(cfg Config, s jit.Services) (*Platform, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	return &Platform{
		cfg: cfg, now: s.Now,
		pace:  pace{tick: 10 * time.Second, recheck: 2 * time.Second, replication: 2 * time.Minute, patience: 2 * time.Minute},
		roles: map[string]string{}, written: map[string]bool{}, scopes: map[string]chan struct{}{}, sent: map[string][]*armauthorization.RoleAssignmentScheduleRequest{},
	}, nil
}

// Kind returns "azure".
func (p *Platform) Kind() string { return kind }

// Scopes returns the configured scopes. Without any it finds the subscriptions that can be seen and
// every scope in them that has an assignment of ours, with one list for each subscription.
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
	var all []string
	for _, s := range subscriptions {
		all = append(all, s)
		within, err := c.claimed(ctx, s)
		if err != nil {
			return nil, err
		}
		all = append(all, within...)
	}
	slices.SortFunc(all, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return slices.CompactFunc(all, strings.EqualFold), nil
}

// hold takes the token of a scope, or returns the context's error.
func (p *Platform) hold(ctx context.Context, scope string) (release func(), err error) {
	p.mu.Lock()
	token := p.scopes[strings.ToLower(scope)]
	if token == nil {
		token = make(chan struct{}, 1)
		p.scopes[strings.ToLower(scope)] = token
	}
	p.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case token <- struct{}{}:
		return func() { <-token }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
