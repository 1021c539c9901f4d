package awsiam

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
)

// Quotas in characters without white space, and in policies for each entity:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
const (
	managedQuota  = 6144
	trustQuota    = 2048
	versionsQuota = 5
)

// limit is a quota of the account: its name there, and what it is where nobody had it raised.
type limit struct {
	name  string
	usual int
}

// inlineQuota is for all inline policies of an entity together.
var inlineQuota = map[entityKind]limit{user: {"UserPolicySizeQuota", 2048}, group: {"GroupPolicySizeQuota", 5120}, role: {"RolePolicySizeQuota", 10240}}

// attachedQuota is for the managed policies that are attached to an entity.
var attachedQuota = map[entityKind]limit{user: {"AttachedPoliciesPerUserQuota", 10}, group: {"AttachedPoliciesPerGroupQuota", 10}, role: {"AttachedPoliciesPerRoleQuota", 10}}

// Codes of IAM's errors.
const (
	noSuchEntity  = "NoSuchEntity"
	entityExists  = "EntityAlreadyExists"
	limitExceeded = "LimitExceeded"
)

// quota returns the limit that holds for n: the usual one, or where n is over that what the account says, which is asked once.
func (c *client) quota(ctx context.Context, l limit, n int) (int, error) {
	if n <= l.usual {
		return l.usual, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.quotas == nil {
		out, err := c.GetAccountSummary(ctx, &iam.GetAccountSummaryInput{})
		if err != nil {
			return 0, awsconfig.Explain(ctx, "ask for the account's limits", err)
		}
		c.quotas = out.SummaryMap
	}
	return max(l.usual, int(c.quotas[l.name])), nil
}

// pause waits a random time before another attempt, longer after each.
func pause(ctx context.Context, attempt int) error {
	const shortest, most = 50 * time.Millisecond, 5
	timer := time.NewTimer(rand.N(shortest<<min(attempt, most)) + shortest)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
