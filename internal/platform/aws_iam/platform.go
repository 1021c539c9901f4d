// Package awsiam gives temporary access in an AWS account through IAM itself: the
// permissions of a managed policy, copied with dates into a policy of the grant's
// own, or the permission to assume a role. AWS judges the dates with every
// request, so access ends with every process of ours dead.
//
// Each grant has a policy of its own name on its principal, or a statement of its
// own Sid in a role's trust policy; nothing of anybody else is written to.
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
	// settling is how long after a write of ours a read may still show what was before it: IAM is
	// eventually consistent (https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html).
	settling = time.Minute
	// parallel is how many entities one Apply writes to at a time.
	parallel = 8
	// defaultRegion is the one of IAM's endpoint in the partition aws.
	defaultRegion = "us-east-1"
)

// Config says which account, and as whom.
type Config struct {
	awsconfig.Config
	// AccountID is the id of the account; it is then the scope of grants that name none.
	AccountID string `tfsdk:"account_id" json:"account_id"`
	// TrustPolicy puts permission to assume a role into the role's trust policy also where
	// principal and role are of the same account.
	TrustPolicy bool `tfsdk:"trust_policy" json:"trust_policy"`
}

// Platform is one AWS account. It is safe for concurrent use.
type Platform struct {
	// OnCall, when set before use, is called before each API request, repeated ones
	// too, with the name of the operation. It may be called by several goroutines at a time.
	OnCall func(operation string)

	cfg     Config
	now     func() time.Time
	watch   *awsconfig.Watch
	settle  time.Duration
	written memory

	mu     sync.Mutex
	opened *client // nil until the first call
}

var _ jit.Platform = (*Platform)(nil)

// New checks the form of the configuration; the first call looks for credentials.
func New(cfg Config, s jit.Services) (*Platform, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.AccountID != "" {
		if err := awsconfig.CheckAccount("account_id", cfg.AccountID); err != nil {
			return nil, err
		}
	}
	p := &Platform{cfg: cfg, now: s.Now, settle: settling}
	p.watch = &awsconfig.Watch{Now: s.Now, OnCall: func(operation string) {
		if p.OnCall != nil {
			p.OnCall(operation)
		}
	}}
	return p, nil
}

// Kind returns "aws_iam".
func (p *Platform) Kind() string { return kind }

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

// client is an open way to the account.
type client struct {
	*iam.Client
	config aws.Config

	mu      sync.Mutex
	caller  *awsconfig.Caller // nil until asked for
	quotas  map[string]int32  // nil until asked for
	sources map[string]source // documents of managed policies, by ARN
}

// client opens the way to the account at the first use. What fails is tried again at the next call.
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
	// A write that meets another to the same entity is refused and may be repeated as it is: every
	// policy here has a name of its own. https://docs.aws.amazon.com/IAM/latest/APIReference/API_PutUserPolicy.html
	config.Retryer = func() aws.Retryer {
		return awsconfig.Retryer(otherWriter...)
	}
	p.opened = &client{Client: iam.NewFromConfig(config), config: config, sources: map[string]source{}}
	return p.opened, nil
}

// identify asks once whose credentials these are.
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

// check refuses a scope that is not the account of the credentials.
func (c *client) check(ctx context.Context, scope string) error {
	if err := awsconfig.CheckAccount("scope", scope); err != nil {
		return err
	}
	caller, err := c.identify(ctx)
	if err != nil {
		return err
	}
	if caller.Account != scope {
		return awsconfig.WrongAccount(scope, caller)
	}
	return nil
}
