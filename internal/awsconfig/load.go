package awsconfig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// callTimeout limits one attempt of one request.
	callTimeout = 30 * time.Second
	// attempts is how often a request is made while the service does not accept it.
	attempts = 8
	// shortestPause is the shortest pause after the first attempt. It doubles with every attempt up to longestPause, so
	// that all attempts span 15 to 30 seconds: a burst of refusals often lasts several.
	shortestPause = 125 * time.Millisecond
	longestPause  = 10 * time.Second

	defaultSession = "jit"
)

// Load resolves the settings and fetches credentials, which may call the instance's metadata or STS. Call it at the
// first use, and again if it fails. The region is empty if nothing names one. Errors say how to provide credentials.
func (c Config) Load(ctx context.Context) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{
		config.WithRetryer(func() aws.Retryer { return Retryer() }),
		// The SDK's own limit for a pause within an answer sometimes closes a connection that is being read.
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(callTimeout).WithReadTimeout(0)),
		config.WithAppID("terraform-provider-jit"),
		config.WithLogger(logging.Nop{}),
		config.WithAPIOptions([]func(*middleware.Stack) error{guardAnswers}),
	}
	if c.Region != "" {
		options = append(options, config.WithRegion(c.Region))
	}
	if c.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(c.Profile))
	}
	if c.Endpoint != "" {
		options = append(options, config.WithBaseEndpoint(c.Endpoint))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return aws.Config{}, c.unusable(ctx, err)
	}
	if c.AssumeRole != nil {
		loaded.Credentials = c.assume(loaded)
	}
	if _, err := loaded.Credentials.Retrieve(ctx); err != nil {
		return aws.Config{}, c.noCredentials(ctx, err)
	}
	return loaded, nil
}

// guardAnswers does [jit.GuardAnswer] with each answer before the SDK reads it, and tells each exchange to whom the
// context names.
func guardAnswers(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("GuardAnswers", func(
		ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
	) (middleware.DeserializeOutput, middleware.Metadata, error) {
		began := time.Now()
		out, metadata, err := next.HandleDeserialize(ctx, in)
		sent, isSent := in.Request.(*smithyhttp.Request)
		answer, ok := out.RawResponse.(*smithyhttp.Response)
		if ok = ok && isSent && answer.Response != nil; ok {
			jit.GuardAnswer(sent.Header, answer.Response)
		}
		if tell := jit.Exchanges(ctx); tell != nil && isSent {
			var response *http.Response
			if ok {
				response = answer.Response
			}
			e := jit.ExchangeOf(sent.Request, response, err, began)
			e.Request = awsmiddleware.GetServiceID(ctx) + " " + awsmiddleware.GetOperationName(ctx)
			_, _ = fmt.Sscanf(sent.Header.Get("Amz-Sdk-Request"), "attempt=%d", &e.Attempt) // else it is not known
			tell(e)
		}
		return out, metadata, err
	}), middleware.After)
}

// assume returns the credentials of the role to assume.
func (c Config) assume(base aws.Config) aws.CredentialsProvider {
	if base.Region == "" {
		base.Region = "us-east-1" // any region answers for STS
	}
	return aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(base), c.AssumeRole.RoleARN,
		func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = cmp.Or(c.AssumeRole.SessionName, defaultSession)
			if c.AssumeRole.ExternalID != "" {
				o.ExternalID = aws.String(c.AssumeRole.ExternalID)
			}
		}))
}

// unusable is the error of settings that cannot be resolved.
func (c Config) unusable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var missing config.SharedConfigProfileNotExistError
	if errors.As(err, &missing) {
		return &jit.Error{Attribute: "profile",
			Problem: fmt.Sprintf("there is no profile %q in the shared configuration files", missing.Profile),
			Hint:    "`aws configure list-profiles` lists them", Err: err}
	}
	return &jit.Error{Problem: "cannot use the AWS settings: " + jit.Said(err.Error()),
		Hint: "check ~/.aws/config and the AWS_* environment variables", Err: err}
}

// noCredentials is the error if nothing provides credentials, or the role cannot be assumed.
func (c Config) noCredentials(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if c.AssumeRole != nil && Code(err) != "" {
		return &jit.Error{Attribute: "assume_role.role_arn",
			Problem: fmt.Sprintf("cannot assume the role %s: %s", c.AssumeRole.RoleARN, Message(err)),
			Hint: "let the credentials call sts:AssumeRole on it, and its trust policy name them (with the external " +
				"id that it requires)", Err: err}
	}
	return &jit.Error{Problem: "there are no AWS credentials: " + reason(err),
		Hint: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile on the target (profile = \"…\"), " +
			"or run `aws sso login`, or run where a role is attached", Err: err}
}

// Retryer retries after throttling and after faults of the service or the network, and honours Retry-After. It also
// retries the further codes.
func Retryer(codes ...string) aws.Retryer {
	again := map[string]struct{}{}
	for _, code := range codes {
		again[code] = struct{}{}
	}
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = attempts
		o.RateLimiter = ratelimit.None // one quota for all calls would fail those of a large batch
		o.Retryables = append(o.Retryables, retry.RetryableErrorCode{Codes: again},
			retry.RetryableHTTPStatusCode{Codes: map[int]struct{}{429: {}}})
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, err error) (time.Duration, error) {
			least := shortestPause << min(attempt-1, attempts)
			return min(max(least+rand.N(least), retryAfter(err)), longestPause), nil
		})
	})
}
