package awsconfig

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Caller identifies credentials.
type Caller struct {
	Account string // 12 digits
	ARN     string
}

// Identify asks STS to whom the credentials belong. STS answers any valid credentials.
func Identify(ctx context.Context, c aws.Config) (Caller, error) {
	if c.Region == "" {
		c.Region = "us-east-1" // any region answers for STS
	}
	out, err := sts.NewFromConfig(c).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return Caller{}, Explain(ctx, "ask whose credentials these are", err)
	}
	return Caller{Account: aws.ToString(out.Account), ARN: aws.ToString(out.Arn)}, nil
}

// WrongAccount is the error for credentials of another account than the one asked for.
func WrongAccount(want string, is Caller) error {
	return &jit.Error{Attribute: "scope",
		Problem: fmt.Sprintf("the target's credentials belong to the account %s (%s), not of %s",
			is.Account, is.ARN, want),
		Hint: fmt.Sprintf(`grant with scope = %q, or give the target credentials of %s, for example with `+
			`assume_role = { role_arn = "arn:aws:iam::%s:role/…" }`, is.Account, want, want), Err: jit.ErrInvalid}
}
