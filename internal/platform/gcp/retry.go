package gcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
)

const (
	// callTimeout limits one attempt of a request.
	callTimeout = time.Minute
	// retries is how often a request is repeated that the service could not answer.
	retries = 6
	// firstWait is the longest pause before the first repetition. It doubles up to maxWait.
	firstWait = 250 * time.Millisecond
	maxWait   = 16 * time.Second
)

// patient repeats requests that the service is too busy for, or did not answer. All our requests may be repeated: if a
// write took effect without an answer, its etag makes the repetition fail with a conflict.
func patient(transport http.RoundTripper) *http.Client {
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c := &retryablehttp.Client{
		HTTPClient: &http.Client{Transport: transport, Timeout: callTimeout, CheckRedirect: stay},
		RetryMax:   retries, RetryWaitMin: firstWait, RetryWaitMax: maxWait,
		CheckRetry: worthAnotherTry, Backoff: untilNext, ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	all := c.StandardClient()
	all.CheckRedirect = stay
	return all
}

// worthAnotherTry reports whether a failure is temporary (https://cloud.google.com/iam/docs/retry-strategy) and the
// context leaves enough time for the pause that it asks for.
func worthAnotherTry(ctx context.Context, answer *http.Response, err error) (bool, error) {
	if err != nil {
		return ctx.Err() == nil && connectionBroke(err), nil
	}
	if !slices.Contains(temporary, answer.StatusCode) && !limited(peek(answer)) {
		return false, nil
	}
	// The service's message is worth more than a timeout.
	end, bounded := ctx.Deadline()
	return !bounded || retryAfter(answer) < time.Until(end), nil
}

var temporary = []int{http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
	http.StatusServiceUnavailable, http.StatusGatewayTimeout}

// peek reads a refusal, and leaves its body as it was.
func peek(answer *http.Response) googleapi.Error {
	if answer.StatusCode != http.StatusForbidden {
		return googleapi.Error{}
	}
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer)) // a part of it will do
	_ = answer.Body.Close()
	answer.Body = io.NopCloser(bytes.NewReader(text))
	return answerOf(googleapi.CheckResponseWithBody(answer, text))
}

// connectionBroke reports whether a request may have been made and its answer lost. A request is not repeated if the
// server was never reached, did not prove its identity, or there was no token.
func connectionBroke(err error) bool {
	var op *net.OpError
	var token *tokenError
	switch {
	case errors.Is(err, context.Canceled), errors.As(err, &token), errors.As(err, &op) && op.Op != "read" &&
		op.Op != "write":
		return false
	}
	again, _ := retryablehttp.ErrorPropagatedRetryPolicy(context.Background(), nil, err)
	return again
}

// untilNext returns the pause that an answer asks for (RFC 9110, 10.2.3), plus a random pause that grows.
func untilNext(least, most time.Duration, n int, answer *http.Response) time.Duration {
	return retryAfter(answer) + backoff.Pause(n, least, most)
}

func retryAfter(answer *http.Response) time.Duration {
	if answer == nil {
		return 0
	}
	asked := answer.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(asked, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(asked); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// tokenError is the error of credentials that yield no token.
type tokenError struct {
	as  string // the account to impersonate; empty for none
	err error
}

// Error describes the failure.
func (e *tokenError) Error() string { return fmt.Sprintf("obtain a token: %v", e.err) }

// Unwrap returns the cause.
func (e *tokenError) Unwrap() error { return e.err }

// tokenSource turns the errors of a token source into [tokenError].
type tokenSource struct {
	oauth2.TokenSource
	as string
}

// Token obtains a token.
func (s tokenSource) Token() (*oauth2.Token, error) {
	t, err := s.TokenSource.Token()
	if err != nil {
		return nil, &tokenError{s.as, err}
	}
	return t, nil
}
