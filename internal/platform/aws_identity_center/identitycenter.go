// Package awsidentitycenter gives temporary access through IAM Identity Center: an account assignment, which lets a
// user or group into an AWS account with a permission set.
//
// An assignment has no end and takes no marker, so package claims keeps track of ours. Grants of the same principal,
// permission set and account share one assignment.
package awsidentitycenter

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/claims"
)

// kind is the platform's name.
const kind = "aws_identity_center"

// The service's limits: https://docs.aws.amazon.com/singlesignon/latest/userguide/limits.html
const (
	// perSecond is how many calls we make a second. The whole API allows 20, and others call it too.
	perSecond = 18
	// outstanding is how many asynchronous writes the service accepts at a time.
	outstanding = 10
)

// pace is how fast a platform calls the service.
type pace struct {
	limit *rate.Limiter
	// tick is the time between two polls and the longest pause after the first conflict.
	tick time.Duration
	// patience is how long one write is tried again while the service is busy.
	patience time.Duration
	// lag is how long a read may miss a write.
	lag time.Duration
}

// Platform is one instance of IAM Identity Center. It is safe for concurrent use.
type Platform struct {
	cfg    Config
	load   func(context.Context) (aws.Config, error)
	watch  awsconfig.Watch
	pace   pace
	ledger jit.Claims

	slots chan struct{} // one for each outstanding write

	mu       sync.Mutex
	opened   *client                  // nil until the first call
	accounts map[string]chan struct{} // one slot for the Apply on each
	written  map[string]bool          // principals and roles as Check received them
	unsure   map[place]time.Time      // when the making of an assignment was left without an outcome
}

// place is one assignment on an account.
type place struct {
	account string
	object
}

// settling is how long an assignment whose making was left without an outcome counts as there although no list has it.
const settling = time.Minute

// doubt remembers that the making of an assignment was left without an outcome, or that it has one now.
func (p *Platform) doubt(at place, unsure bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unsure[at] = time.Now(); !unsure {
		delete(p.unsure, at)
	}
}

// mayCome reports whether an assignment that no list has may be on its way.
func (p *Platform) mayCome(at place) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	since, unsure := p.unsure[at]
	return unsure && time.Since(since) < settling
}

var _ jit.Describer = (*Platform)(nil)

// New checks the form of the configuration. The first call loads the credentials.
func New(cfg Config, s jit.Services) (*Platform, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Platform{
		cfg: cfg, load: cfg.Load, watch: awsconfig.Watch{Now: s.Now, Agent: s.Agent()}, ledger: s.Claims,
		pace: pace{limit: rate.NewLimiter(perSecond, 1), tick: time.Second, patience: 2 * time.Minute,
			lag: jit.CloudLag},
		slots:    make(chan struct{}, outstanding),
		accounts: map[string]chan struct{}{}, written: map[string]bool{}, unsure: map[place]time.Time{},
	}, nil
}

// Kind returns "aws_identity_center".
func (p *Platform) Kind() string { return kind }

// Lag returns how long a read may miss a write.
func (p *Platform) Lag() time.Duration { return p.pace.lag }

// Scopes returns the accounts that have claims.
func (p *Platform) Scopes(ctx context.Context) ([]string, error) {
	c, err := p.client(ctx)
	if err != nil {
		return nil, err
	}
	return p.ledger.Scopes(ctx, c.instance)
}

// Apply carries out all changes on one account by the protocol of [claims.Apply].
func (p *Platform) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	c, err := p.client(ctx)
	if err == nil {
		err = checkScope(scope)
	}
	if err == nil {
		err = take(ctx, p.applying(scope))
	}
	if err != nil {
		return slices.Repeat([]error{err}, len(changes))
	}
	defer func() { <-p.applying(scope) }()
	return claims.Apply(ctx, c.claims(scope), newAssignments(ctx, c, scope), changes)
}

// applying returns the slot of an account, which one Apply holds at a time.
func (p *Platform) applying(account string) chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.accounts[account] == nil {
		p.accounts[account] = make(chan struct{}, 1)
	}
	return p.accounts[account]
}

// claims returns the claims on one account. Each instance has its own.
func (c *client) claims(account string) claims.Scope {
	return claims.Scope{Kind: kind, Place: c.instance, Name: account, Ledger: c.platform.ledger,
		Lag: c.platform.pace.lag}
}

// take fills a slot, or returns the context's error.
func take(ctx context.Context, slot chan struct{}) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case slot <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// each calls do for all values, a few at a time, and returns the first error.
func each[T any](ctx context.Context, values []T, do func(ctx context.Context, i int, v T) error) error {
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(outstanding)
	for i, v := range values {
		work.Go(func() error { return do(ctx, i, v) })
	}
	return work.Wait()
}
