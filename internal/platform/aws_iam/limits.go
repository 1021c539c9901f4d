package awsiam

import (
	"context"
	"fmt"
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

// The pauses between two tries of what another writer of ours was in the way of.
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

// otherWriter are the codes of a write that met another one to the same entity.
var otherWriter = []string{"ConcurrentModification", "EntityTemporarilyUnmodifiable"}

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

// tight is how little room for inline policies is told of: not many copies are smaller.
const tight = 600

// room tells of a principal on which there is little room left; empty where there is enough.
func (e *entity) room() string {
	if inlineQuota[e.kind].usual == 0 {
		return "" // nothing that can be granted to
	}
	used, attached := 0, len(e.attached)
	for _, document := range e.inline {
		used += size(document)
	}
	quota, most := inlineQuota[e.kind].usual, attachedQuota[e.kind].usual
	if quota-used >= tight {
		return ""
	}
	text := fmt.Sprintf("%d of the %d characters of its inline policies are used: what does not fit becomes a managed policy, of which it has %d", used, quota, attached)
	if attached >= most {
		text += fmt.Sprintf(", and %d are allowed unless that was raised: the grant may be refused", most)
	}
	return text
}
