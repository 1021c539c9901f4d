package gcp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/api/googleapi"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

var (
	// errGone: there is no such resource.
	errGone = errors.New("it does not exist")
	// errUnanswered: the connection broke before the answer came, so a write may have taken effect.
	errUnanswered = errors.New("the connection broke before the answer was there")
)

// problem is an error with a cause and without an attribute to blame.
func problem(cause error, hint, format string, args ...any) *jit.Error {
	return &jit.Error{Problem: fmt.Sprintf(format, args...), Hint: hint, Err: cause}
}

// about blames an attribute for the problem.
func about(attribute string, e *jit.Error) error {
	e.Attribute = attribute
	return e
}

// answerOf returns the service's answer that an error is about; the zero value if there was none.
func answerOf(err error) googleapi.Error {
	var answered *googleapi.Error
	if errors.As(err, &answered) {
		return *answered
	}
	return googleapi.Error{}
}

// explain explains the error of a request; nil stays nil. verb names the permission that the request needs.
func explain(ctx context.Context, doing string, at resource, verb string, err error) error {
	var token *tokenError
	var told *jit.Error
	switch {
	case err == nil || errors.As(err, &told):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	case errors.As(err, &token):
		return explainToken(token)
	case answerOf(err).Code != 0:
		return explainAnswer(doing, at, verb, err)
	}
	return problem(err, "check the network, the proxy and the target's endpoint",
		"cannot %s: no answer from Google Cloud: %s", doing, jit.Said(err.Error()))
}

// aboutQuotaProject reports whether a refusal is about the project whose quota requests use: they name none, or the
// caller may not use it.
func aboutQuotaProject(said string) bool {
	return strings.Contains(said, "quota project") || strings.Contains(said, "serviceusage.services.use")
}

// explainAnswer explains an answer of the service that is not a success.
func explainAnswer(doing string, at resource, verb string, err error) error {
	answered := answerOf(err)
	said := jit.Said(answered.Message)
	if limited(answered) {
		return busy(doing, err)
	}
	if answered.Code == http.StatusUnauthorized || answered.Code == http.StatusForbidden {
		err = errors.Join(jit.ErrRefused, err)
	}
	switch code := answered.Code; {
	case code == http.StatusUnauthorized:
		return problem(err, "renew access_token, or run `gcloud auth application-default login`",
			"Google Cloud does not accept the target's credentials; they are wrong or have expired")
	case code == http.StatusForbidden && strings.Contains(answered.Body, "SERVICE_DISABLED"):
		return problem(err,
			"gcloud services enable "+at.api()+", in the project of the credentials",
			"cannot %s: %s", doing, said)
	case code == http.StatusForbidden && aboutQuotaProject(said):
		return problem(err, "name a project that the target's identity may use (roles/serviceusage.serviceUsageConsumer) "+
			"with `gcloud auth application-default set-quota-project PROJECT`, or in GOOGLE_CLOUD_QUOTA_PROJECT",
			"cannot %s: a user's credentials need a project whose quota they use: %s", doing, said)
	case code == http.StatusForbidden:
		return about("scope", problem(err,
			"give it the custom role of the guide on "+at.String()+", or correct the scope",
			"cannot %s: the target's identity lacks %s there, or there is no such %s: %s",
			doing, at.permission(verb), at.kind.noun, said))
	case code == http.StatusNotFound && said == "":
		// The service answers in JSON. Any other 404 does not prove that the resource is gone.
		return problem(err, "check the target's endpoint and the proxy",
			"cannot %s: the answer (404) is not from Google Cloud", doing)
	case code == http.StatusNotFound:
		return about("scope", problem(errors.Join(errGone, err),
			"correct the scope, or make the "+at.kind.noun+" first", "cannot %s: there is no such %s", doing, at.kind.noun))
	case code >= 500:
		return busy(doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func busy(doing string, err error) error {
	answered := answerOf(err)
	return problem(err, "run it again later; if this happens often, request a higher quota of policy writes",
		"cannot %s: Google Cloud is too busy (%d): %s", doing, answered.Code, jit.Said(answered.Message))
}

// limited reports whether an answer says that there were too many requests. BigQuery and Compute Engine say so with the
// status of a missing permission (https://cloud.google.com/bigquery/docs/troubleshoot-quotas,
// https://cloud.google.com/compute/api-quota).
func limited(answered googleapi.Error) bool {
	return answered.Code == http.StatusTooManyRequests || answered.Code == http.StatusForbidden &&
		slices.ContainsFunc(answered.Errors, func(e googleapi.ErrorItem) bool {
			return e.Reason == "rateLimitExceeded" || e.Reason == "userRateLimitExceeded" || e.Reason == "quotaExceeded"
		})
}

// explainToken explains why there is no token, without showing credentials.
func explainToken(token *tokenError) error {
	said := jit.Said(token.err.Error())
	if token.as != "" {
		return about("impersonate_service_account", problem(token.err,
			"give the target's own identity roles/iam.serviceAccountTokenCreator on that service account",
			"cannot act as %s: %s", token.as, said))
	}
	return problem(token.err,
		"run `gcloud auth application-default login`, or make a new key and write its path as credentials",
		"the target's credentials yield no token: %s", said)
}

// refused reports whether the service refused a write because something in it is invalid.
func refused(err error) bool {
	code := answerOf(err).Code
	return code == http.StatusBadRequest || code == http.StatusPreconditionFailed
}

// conflict reports whether somebody else wrote the policy since it was read: 409 ABORTED, or 412 for a bucket.
func conflict(err error) bool {
	answered := answerOf(err)
	return answered.Code == http.StatusConflict || answered.Code == http.StatusPreconditionFailed &&
		strings.Contains(answered.Body, "conditionNotMet") && !ofAnotherDomain(answered)
}

// ofAnotherDomain reports whether an organization policy excludes a principal. For a bucket that has the status of a
// lost race (https://cloud.google.com/knowledge/kb/organization-policy-violation-when-setting-iam-policy-000004666).
func ofAnotherDomain(answered googleapi.Error) bool {
	return strings.Contains(answered.Message, "permitted customer")
}

// forbidden reports whether the target's identity may not make a write.
func forbidden(err error) bool {
	answered := answerOf(err)
	return answered.Code == http.StatusForbidden && !limited(answered)
}

// unsure reports whether a write without an answer may have taken effect.
func unsure(err error) bool {
	var request *url.Error
	return errors.Is(err, errUnanswered) || errors.As(err, &request) && connectionBroke(err)
}

// names reports whether a refusal's message names the principal or the role of a binding.
func names(err error, b jit.Binding) bool {
	principal, role := named(err, b)
	return principal || role
}

func named(err error, b jit.Binding) (principal, role bool) {
	said := strings.ToLower(answerOf(err).Message)
	says := func(name string) bool { return name != "" && strings.Contains(said, strings.ToLower(name)) }
	_, name, typed := strings.Cut(b.Principal, ":")
	if !typed {
		name = b.Principal // allUsers
	}
	r, _, _ := strings.Cut(b.Role, when)
	return says(name), says(r)
}

// explainRefusal explains why one change was refused.
func explainRefusal(c jit.Change, at resource, err error) error {
	answered := answerOf(err)
	if answered.Code == 0 {
		return err
	}
	said, b := jit.Said(answered.Message), c.Access.Binding
	told := problem(errors.Join(jit.ErrRefused, err),
		"correct the grant; the last part of this message is Google Cloud's own",
		"Google Cloud refuses %s for %s on %s: %s", b.Role, b.Principal, at, said)
	switch principal, role := named(err, b); {
	case at.kind.host == storageHost && strings.Contains(said, "uniform"):
		bucket, _, _ := strings.Cut(strings.TrimPrefix(at.name, ofBuckets), "/")
		told.Attribute, told.Hint = "scope", "turn uniform bucket-level access on: gcloud storage buckets update gs://"+
			bucket+" --uniform-bucket-level-access"
	case role:
		told.Attribute, told.Hint = "role", fmt.Sprintf(
			"`gcloud iam list-grantable-roles` with the full name of the %s shows what can be granted on it", at.kind.noun)
	case principal || ofAnotherDomain(answered):
		told.Attribute, told.Hint = "principal",
			"check that the account exists and that organization policies permit its domain here"
	case strings.Contains(b.Role, when) && strings.Contains(strings.ToLower(said), "condition"):
		told.Attribute, told.Hint = "role", "correct the condition after if"
	}
	return told
}

const stripHint = "check the policy now (`gcloud … get-iam-policy --format=json`); `jit sweep` finds bindings of grants " +
	"that have lost their condition"

// lostConditions is the error if conditions that were sent are missing from the written policy.
func lostConditions(at resource, lost []binding) error {
	names := make([]string, 0, 3)
	for _, b := range lost[:min(len(lost), 3)] {
		names = append(names, fmt.Sprintf("%q on %s", b.Condition.Title, b.Role))
	}
	return problem(errStripped, stripHint,
		"the policy of %s was written and %d conditions that were sent are not in the answer (%s); access that was to "+
			"end may not", at, len(lost), strings.Join(names, ", "))
}

// anotherAccount is the error for a grant whose account was deleted.
func anotherAccount(a jit.Access) error {
	return jit.Errorf(jit.ErrOver, "principal", "to grant to the new account, set renewal to the next number",
		"the account of %s was deleted, and the grant with it; an account made anew under that name is another one",
		a.Binding.Principal)
}
