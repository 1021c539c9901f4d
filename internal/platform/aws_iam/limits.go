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
	attachedQuota = 10 // may be raised
	trustQuota    = 2048
	versionsQuota = 5
)

// inlineQuota is for all inline policies of an entity together.
var inlineQuota = map[entityKind]int{user: 2048, group: 5120, role: 10240}

// Codes of IAM's errors.
const (
	noSuchEntity  = "NoSuchEntity"
	entityExists  = "EntityAlreadyExists"
	limitExceeded = "LimitExceeded"
)

// quota asks once for the account's quotas, which may have been raised.
func (c *client) quota(ctx context.Context, name string, otherwise int) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.quotas == nil {
		out, err := c.GetAccountSummary(ctx, &iam.GetAccountSummaryInput{})
		if err != nil {
			return 0, awsconfig.Explain(ctx, "ask for the account's limits", err)
		}
		c.quotas = out.SummaryMap
	}
	if n, ok := c.quotas[name]; ok {
		return int(n), nil
	}
	return otherwise, nil
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
