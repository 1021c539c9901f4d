// Package hoop gives temporary access to the connections of a hoop gateway, in one of two ways.
//
// In review mode a grant is a session with an approved review of one user, which hoop itself ends. The marker is the
// session's correlation id. Users can choose any correlation id for their own sessions, so only reviews that the
// target's API key has approved count. In attribute mode a grant is an attribute that ties a group to a connection
// until it is deleted. Its description is the marker.
//
// The gateway has no "only if absent", no versions and no lock: it checks a review and then writes it. So an Apply
// lists the reviews until the list shows what was asked for. A creation whose answer was lost may take effect later;
// see [lostRequests].
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
	// OnCall, if set before use, is called before each attempt of a request, with "read" or "write". Several goroutines
	// may call it at once.
	OnCall func(op string)

	cfg Config
	// patience is listPatience.
	patience time.Duration
	// lost are the lost requests for reviews or attributes, lostAsks those for sessions that ask for a grant.
	lost, lostAsks lostRequests
	// Answers to Describe about connections, in review mode and in attribute mode.
	gates      recent[*gate]
	attachable recent[func(jit.Binding) error]
	// directory keeps the list of all users, which a pass over many connections needs for each.
	directory recent[[]user]
}

var (
	_ jit.Platform   = (*Platform)(nil)
	_ jit.Describer  = (*Platform)(nil)
	_ jit.Gatekeeper = (*Platform)(nil)
)

// New checks the configuration, completed from the environment. It makes no call.
func New(cfg Config, s jit.Services) (*Platform, error) {
	cfg, base, err := cfg.check()
	if err != nil {
		return nil, err
	}
	p := &Platform{client: newClient(base, cfg.APIKey, s), cfg: cfg, patience: listPatience}
	p.onCall = func(op string) {
		if p.OnCall != nil {
			p.OnCall(op)
		}
	}
	return p, nil
}

// Kind returns "hoop".
func (p *Platform) Kind() string { return kind }

// Scopes lists the connections with grants.
func (p *Platform) Scopes(ctx context.Context) ([]string, error) {
	if p.cfg.Mode == modeReview {
		return p.reviewScopes(ctx)
	}
	return p.attributeScopes(ctx)
}

// Read returns the grants of a connection, and all other access to it. A connection that does not exist gives none.
func (p *Platform) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	if p.cfg.Mode == modeReview {
		return p.readReviews(ctx, scope)
	}
	return p.readAttributes(ctx, scope)
}

// Apply reads the connection and its grants, and makes one write for each change, several at a time. It reads again if
// something was granted or a request got no answer.
func (p *Platform) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	if p.cfg.Mode == modeReview {
		return p.applyReviews(ctx, scope, changes)
	}
	return p.applyAttributes(ctx, scope, changes)
}
