// Package awsiam gives temporary access in an AWS account through IAM: a copy of a managed policy, or a list of actions,
// with the dates of the grant, or permission to assume a role. AWS checks the dates with every request, so access ends even if nothing of
// ours runs.
//
// Each grant has a policy of its own name on its principal, or a statement of its own Sid in a role's trust policy.
// Nothing that belongs to anybody else is changed.
package awsiam

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// kind is the platform's name.
	kind = "aws_iam"
	// settling is how long a read may miss a write of ours: IAM is eventually consistent
	// (https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html).
	settling = time.Minute
	// parallel is how many entities one Apply writes at a time.
	parallel = 8
	// defaultRegion is the region of IAM's endpoint in the partition aws.
	defaultRegion = "us-east-1"
)

// Config names the account and the credentials.
type Config struct {
	awsconfig.Config
	// AccountID is the account's id, and the scope of grants that name none.
	AccountID string `tfsdk:"account_id" json:"account_id"`
	// TrustPolicy puts permission to assume a role into the role's trust policy even if principal and role belong to
	// the same account.
	TrustPolicy bool `tfsdk:"trust_policy" json:"trust_policy"`
}

// Platform is one AWS account. It is safe for concurrent use.
type Platform struct {
	cfg      Config
	now      func() time.Time
	watch    awsconfig.Watch
	settling time.Duration
	looking  time.Duration // how long a removal waits for a read that no longer shows the access
	pause    time.Duration
	retryer  func(codes ...string) aws.Retryer
	written  memory
	plans    plans

	mu     sync.Mutex
	opened *client // nil until the first call
}

var _ jit.Lagging = (*Platform)(nil)

// New checks the form of the configuration. The first call loads the credentials.
func New(cfg Config, s jit.Services) (*Platform, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.AccountID != "" {
		if err := awsconfig.CheckAccount("account_id", cfg.AccountID); err != nil {
			return nil, err
		}
	}
	return &Platform{cfg: cfg, now: s.Now, watch: awsconfig.Watch{Now: s.Now, Agent: s.Agent()},
		settling: settling, looking: settling, pause: shortestPause,
		retryer: awsconfig.Retryer, written: memory{writes: map[item]write{}},
		plans: plans{of: map[string][]planned{}}}, nil
}

// Kind returns "aws_iam".
func (p *Platform) Kind() string { return kind }

// Lag returns how long a read may miss a write (https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html).
func (p *Platform) Lag() time.Duration { return p.settling }

// Scopes returns the id of the account.
func (p *Platform) Scopes(ctx context.Context) ([]string, error) {
	if p.cfg.AccountID != "" {
		return []string{p.cfg.AccountID}, nil
	}
	c, err := p.client(ctx)
	if err != nil {
		return nil, err
	}
	caller, err := c.identify(ctx)
	if err != nil {
		return nil, err
	}
	return []string{caller.Account}, nil
}

// client calls one account.
type client struct {
	*iam.Client
	config aws.Config
	pause  time.Duration // the first one before another try

	mu      sync.Mutex
	caller  *awsconfig.Caller // nil until asked for
	quotas  map[string]int32  // nil until asked for
	sources map[string]source // documents of managed policies, by ARN
}

// client returns the client, which the first use makes. A failure is tried again at the next call.
func (p *Platform) client(ctx context.Context) (*client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.opened != nil {
		return p.opened, nil
	}
	config, err := p.cfg.Load(ctx)
	if err != nil {
		return nil, err
	}
	if config.Region == "" {
		config.Region = defaultRegion
	}
	p.watch.Attach(&config)
	// IAM refuses a write that meets another write to the same entity. The write can be repeated as it is, because each
	// of our policies has its own name: https://docs.aws.amazon.com/IAM/latest/APIReference/API_PutUserPolicy.html
	config.Retryer = func() aws.Retryer { return p.retryer(otherWriter...) }
	p.opened = &client{Client: iam.NewFromConfig(config), config: config, pause: p.pause, sources: map[string]source{}}
	return p.opened, nil
}

// identify asks once to whom the credentials belong.
func (c *client) identify(ctx context.Context) (awsconfig.Caller, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.caller == nil {
		caller, err := awsconfig.Identify(ctx, c.config)
		if err != nil {
			return awsconfig.Caller{}, err
		}
		c.caller = &caller
	}
	return *c.caller, nil
}

// check refuses a scope other than the account of the credentials.
func (c *client) check(ctx context.Context, scope string) error {
	caller, err := c.identify(ctx)
	if err == nil && caller.Account != scope {
		return awsconfig.WrongAccount(scope, caller)
	}
	return err
}

// open reads the account that scope names. Before writes, it first asks whose the credentials are; a read that returns
// entities of the account needs no such call.
func (p *Platform) open(ctx context.Context, scope string, writes bool) (*client, *account, error) {
	if err := awsconfig.CheckAccount("scope", scope); err != nil {
		return nil, nil, err
	}
	c, err := p.client(ctx)
	if err == nil && writes {
		err = c.check(ctx, scope)
	}
	if err != nil {
		return nil, nil, err
	}
	a, err := c.fetch(ctx)
	if err == nil && a.id != scope { // of another account, or unknown
		err = c.check(ctx, scope)
	}
	if err != nil {
		return nil, nil, err
	}
	p.overlay(a, !writes)
	return c, a, nil
}
