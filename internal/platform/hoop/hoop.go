// Package hoop gives temporary access to the connections of a hoop gateway, in one of two ways.
//
// In review mode a grant is a session that carries an approved review of one user, which hoop itself ends. The marker
// is the session's correlation id; since users can make sessions with any correlation id of their own, only what the
// target's API key has approved counts. In attribute mode a grant is an attribute that ties a group to a connection,
// with the marker as its description, until it is deleted.
//
// The gateway has no "only if absent", no versions and no lock: it checks a review and then writes it. So an Apply
// looks at the list of reviews until that shows what was asked for.
package hoop

import (
	"context"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// kind is the platform's name.
const kind = "hoop"

// Platform is one gateway. It is safe for concurrent use.
type Platform struct {
	*client
	// OnCall, when set before use, is called before each attempt of a request: "read" or
	// "write". It may be called by several goroutines at a time.
	OnCall func(op string)

	cfg Config
	// patience is how long an Apply waits until the list of sessions shows what it has done.
	patience time.Duration
	lost     lostRequests
	// What Describe has asked about connections, in the one mode and in the other.
	gates      recent[*gate]
	attachable recent[func(jit.Binding) error]
}

var (
	_ jit.Platform   = (*Platform)(nil)
	_ jit.Describer  = (*Platform)(nil)
	_ jit.Gatekeeper = (*Platform)(nil)
)

// New checks the configuration, with what the environment says. It makes no call.
func New(cfg Config, s jit.Services) (*Platform, error) {
	cfg, base, err := cfg.check()
	if err != nil {
		return nil, err
	}
	p := &Platform{client: newClient(base, cfg.APIKey, s.Now), cfg: cfg, patience: listPatience}
	p.onCall = func(op string) {
		if p.OnCall != nil {
			p.OnCall(op)
		}
	}
	return p, nil
}

// Kind returns "hoop".
func (p *Platform) Kind() string { return kind }

// Scopes lists the connections on which there are grants.
func (p *Platform) Scopes(ctx context.Context) ([]string, error) {
	if p.cfg.Mode == modeReview {
		return p.reviewScopes(ctx)
	}
	return p.attributeScopes(ctx)
}

// Read returns the grants of a connection, and who has it otherwise. A connection that is not there holds nothing.
func (p *Platform) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	if p.cfg.Mode == modeReview {
		return p.readReviews(ctx, scope)
	}
	return p.readAttributes(ctx, scope)
}

// Apply looks at the connection and at what is there, makes one write for each change, several at a time, and looks
// again where something was granted or was not answered.
func (p *Platform) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	if p.cfg.Mode == modeReview {
		return p.applyReviews(ctx, scope, changes)
	}
	return p.applyAttributes(ctx, scope, changes)
}
