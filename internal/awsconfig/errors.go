package awsconfig

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Code is the service's error code, such as "NoSuchEntity", or "" if the service did not answer.
func Code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// denied finds the action in AWS's message about a call that is not permitted:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
var denied = regexp.MustCompile(`not authorized to perform: ([a-z0-9-]+:[A-Za-z0-9]+)`)

// Codes of refused calls and of unusable credentials, in the different protocols of the services.
var (
	deniedCodes      = []string{"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
	expiredCodes     = []string{"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
	credentialsCodes = []string{"InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch",
		"InvalidAccessKeyId", "IncompleteSignature"}
)

// Explain explains the error of a request; nil stays nil. doing names the purpose of the request, such as "read the
// account".
func Explain(ctx context.Context, doing string, err error) error {
	var explained *jit.Error
	if err == nil || errors.As(err, &explained) {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	switch code := Code(err); {
	case slices.Contains(deniedCodes, code):
		action := actionOf(err)
		return &jit.Error{Problem: fmt.Sprintf("the target's credentials may not %s: %s is not permitted: %s",
			doing, action, Message(err)),
			Hint: fmt.Sprintf("allow %s in the operator's policy; the guide of the platform has the whole document",
				action), Err: refused(err)}
	case slices.Contains(expiredCodes, code):
		return &jit.Error{Problem: fmt.Sprintf("cannot %s: the target's credentials have expired", doing),
			Hint: "renew them (for example `aws sso login`) and run again", Err: refused(err)}
	case slices.Contains(credentialsCodes, code):
		return &jit.Error{Problem: fmt.Sprintf("cannot %s: AWS does not accept the target's credentials: %s",
			doing, Message(err)),
			Hint: "check the access key and its secret; `aws sts get-caller-identity` with the same settings shows " +
				"whether they work", Err: refused(err)}
	case unanswered(err):
		return &jit.Error{Problem: fmt.Sprintf("cannot %s: no answer from AWS: %s", doing, reason(err)),
			Hint: "check the network, the region and the endpoint in the target's settings", Err: err}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// refused marks the cause of an error as a refusal.
func refused(cause error) error { return errors.Join(jit.ErrRefused, cause) }

// unanswered reports whether the request got no answer at all.
func unanswered(err error) bool {
	var sent *smithyhttp.RequestSendError
	return Code(err) == "" && errors.As(err, &sent)
}

// actionOf is the IAM action that is missing: the one in the message, or else the call.
func actionOf(err error) string {
	if found := denied.FindStringSubmatch(err.Error()); found != nil {
		return found[1]
	}
	var operation *smithy.OperationError
	if errors.As(err, &operation) {
		service := map[string]string{"Identity Store": "identitystore", "SSO Admin": "sso"}[operation.Service()]
		if service == "" {
			service = strings.ToLower(operation.Service())
		}
		return service + ":" + operation.Operation()
	}
	return "the call"
}

// request begins the part of an answer to a wrong signature that repeats the request, including the session token:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html
const request = "The Canonical String for this request"

// Message is the service's message on one line, without the part that repeats the request.
func Message(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		if api.ErrorMessage() == "" {
			return api.ErrorCode()
		}
		said, _, _ := strings.Cut(api.ErrorMessage(), request)
		return jit.Said(api.ErrorCode() + ": " + said)
	}
	return jit.Said(err.Error())
}

// reason is the innermost cause, which people can act on.
func reason(err error) string {
	for next := err; next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return jit.Said(err.Error())
}

// retryAfter is how long the answer asks to wait, in whole seconds (RFC 9110, 10.2.3); zero if it does not.
func retryAfter(err error) time.Duration {
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &answer) || answer.Response == nil || answer.Response.Response == nil {
		return 0
	}
	if !slices.Contains([]int{http.StatusTooManyRequests, http.StatusServiceUnavailable}, answer.Response.StatusCode) {
		return 0
	}
	seconds, err := strconv.ParseUint(answer.Response.Header.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
