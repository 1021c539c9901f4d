package awsiam

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
)

// Quotas, in characters without white space and in policies per entity:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
const (
	managedQuota  = 6144
	trustQuota    = 2048
	versionsQuota = 5
)

// limit is a quota of the account: its name in the account summary, and its value if it was not raised.
type limit struct {
	name  string
	usual int
}

// inlineQuota limits the characters of all inline policies of an entity together.
var inlineQuota = map[entityKind]limit{
	user: {"UserPolicySizeQuota", 2048}, group: {"GroupPolicySizeQuota", 5120}, role: {"RolePolicySizeQuota", 10240},
}

// attachedQuota limits the managed policies attached to an entity.
var attachedQuota = map[entityKind]limit{
	user: {"AttachedPoliciesPerUserQuota", 10}, group: {"AttachedPoliciesPerGroupQuota", 10},
	role: {"AttachedPoliciesPerRoleQuota", 10},
}

// The longest pauses before a write that met another of our writers is tried again.
const (
	shortestPause = 100 * time.Millisecond
	longestPause  = 3 * time.Second
)

// Codes of IAM's errors.
const (
	noSuchEntity  = "NoSuchEntity"
	entityExists  = "EntityAlreadyExists"
	limitExceeded = "LimitExceeded"
)

// otherWriter are the codes of a write that met another write to the same entity.
var otherWriter = []string{"ConcurrentModification", "EntityTemporarilyUnmodifiable"}

// noRoomError is the error of a policy that does not fit; it says why, with numbers if they are known.
type noRoomError string

func (n noRoomError) Error() string { return string(n) }

// quota returns the limit for n: the usual one, or, if n exceeds it, the one that the account reports. It asks the
// account once.
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

// tight is how little room for inline policies earns a warning. Few copies are smaller.
const tight = 600

// room describes a principal with little room left. It is empty if there is enough.
func (e *entity) room() string {
	if inlineQuota[e.kind].usual == 0 {
		return "" // access cannot be granted to it
	}
	used, attached := 0, len(e.attached)
	for _, document := range e.inline {
		used += size(document)
	}
	quota, most := inlineQuota[e.kind].usual, attachedQuota[e.kind].usual
	if quota-used >= tight {
		return ""
	}
	text := fmt.Sprintf("%d of the %d characters of its inline policies are used: what does not fit becomes a managed "+
		"policy, of which it has %d", used, quota, attached)
	if attached >= most {
		text += fmt.Sprintf(", and %d are allowed unless that was raised: the grant may be refused", most)
	}
	return text
}
