package gcp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
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

// explain explains the error of a request; nil stays nil. verb names the permission that the request needs.
func explain(ctx context.Context, doing string, at resource, verb string, err error) error {
	var token *tokenError
	var answered *googleapi.Error
	var told *jit.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &told):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	case errors.As(err, &token):
		return explainToken(token)
	case !errors.As(err, &answered):
		return &jit.Error{Problem: fmt.Sprintf("cannot %s: no answer from Google Cloud: %s", doing,
			oneLine(err.Error())),
			Hint: "check the network, the proxy and the target's endpoint", Err: err}
	}
	switch said := oneLine(answered.Message); {
	case answered.Code == http.StatusUnauthorized:
		return &jit.Error{Problem: "Google Cloud does not accept the target's credentials; they are wrong or have expired",
			Hint: "renew access_token, or run `gcloud auth application-default login`", Err: err}
	case answered.Code == http.StatusForbidden && strings.Contains(answered.Body, "SERVICE_DISABLED"):
		return &jit.Error{Problem: fmt.Sprintf("cannot %s: %s", doing, said),
			Hint: "gcloud services enable cloudresourcemanager.googleapis.com, in the project that the credentials belong to", Err: err}
	case answered.Code == http.StatusForbidden:
		return &jit.Error{Attribute: "scope",
			Problem: fmt.Sprintf("cannot %s: the target's identity lacks %s there, or there is no such %s: %s", doing,
				at.permission(verb), at.noun(), said),
			Hint: "give it the custom role of the guide on " + at.String() + ", or correct the scope", Err: err}
	case answered.Code == http.StatusNotFound && said == "":
		// The service answers in JSON. Any other 404 does not prove that the resource is gone.
		return &jit.Error{Problem: fmt.Sprintf("cannot %s: the answer (404) is not from Google Cloud", doing),
			Hint: "check the target's endpoint and the proxy", Err: err}
	case answered.Code == http.StatusNotFound:
		return &jit.Error{Attribute: "scope", Problem: fmt.Sprintf("cannot %s: there is no such %s", doing, at.noun()),
			Hint: "correct the scope; `gcloud projects list` and `gcloud storage buckets list` list them", Err: errors.Join(errGone, err)}
	case answered.Code == http.StatusTooManyRequests || answered.Code >= 500:
		return &jit.Error{Problem: fmt.Sprintf("cannot %s: Google Cloud is too busy (%d): %s", doing,
			answered.Code, said),
			Hint: "run it again later; if this happens often, request a higher quota of policy writes", Err: err}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// explainToken explains why there is no token, without showing credentials.
func explainToken(token *tokenError) error {
	if token.as != "" {
		return &jit.Error{Attribute: "impersonate_service_account",
			Problem: fmt.Sprintf("cannot act as %s: %s", token.as, oneLine(token.err.Error())),
			Hint:    "give the target's own identity roles/iam.serviceAccountTokenCreator on that service account", Err: token.err}
	}
	return &jit.Error{Problem: "the target's credentials yield no token: " + oneLine(token.err.Error()),
		Hint: "run `gcloud auth application-default login`, or make a new key and write its path as credentials", Err: token.err}
}

// refused reports whether the service refused a write because something in it is invalid.
func refused(err error) bool {
	var answered *googleapi.Error
	return errors.As(err, &answered) &&
		(answered.Code == http.StatusBadRequest || answered.Code == http.StatusPreconditionFailed)
}

// conflict reports whether somebody else wrote the policy since it was read: 409 ABORTED, or 412 for a bucket.
func conflict(err error) bool {
	var answered *googleapi.Error
	if !errors.As(err, &answered) {
		return false
	}
	return answered.Code == http.StatusConflict ||
		answered.Code == http.StatusPreconditionFailed && strings.Contains(answered.Body, "conditionNotMet") &&
			!ofAnotherDomain(answered)
}

// ofAnotherDomain reports whether an organization policy excludes a principal. For a bucket that has the status of a
// lost race (https://cloud.google.com/knowledge/kb/organization-policy-violation-when-setting-iam-policy-000004666).
func ofAnotherDomain(answered *googleapi.Error) bool {
	return strings.Contains(answered.Message, "permitted customer")
}

// forbidden reports whether the target's identity may not make a write.
func forbidden(err error) bool {
	var answered *googleapi.Error
	return errors.As(err, &answered) && answered.Code == http.StatusForbidden
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
	var answered *googleapi.Error
	if !errors.As(err, &answered) {
		return false, false
	}
	said := strings.ToLower(answered.Message)
	_, name, typed := strings.Cut(b.Principal, ":")
	if !typed {
		name = b.Principal // allUsers
	}
	r, _, _ := strings.Cut(b.Role, when)
	return name != "" && strings.Contains(said, strings.ToLower(name)), r != "" &&
		strings.Contains(said, strings.ToLower(r))
}

// explainRefusal explains why one change was refused.
func explainRefusal(c jit.Change, at resource, err error) error {
	var answered *googleapi.Error
	if !errors.As(err, &answered) {
		return err
	}
	said := oneLine(answered.Message)
	b := c.Access.Binding
	told := &jit.Error{Problem: fmt.Sprintf("Google Cloud refuses %s for %s on %s: %s", b.Role, b.Principal, at, said),
		Hint: "correct the grant; the last part of this message is Google Cloud's own", Err: err}
	switch principal, role := named(err, b); {
	case at.kind == buckets && strings.Contains(said, "uniform"):
		told.Attribute, told.Hint = "scope", "turn uniform bucket-level access on: gcloud storage buckets update gs://"+at.name+" --uniform-bucket-level-access"
	case role:
		told.Attribute, told.Hint = "role", fmt.Sprintf("`gcloud iam list-grantable-roles` with the full name of the %s shows what can be granted on it", at.noun())
	case principal || ofAnotherDomain(answered):
		told.Attribute, told.Hint = "principal", "check that the account exists and that it may be given access here (organization policies restrict domains)"
	case strings.Contains(b.Role, when) && strings.Contains(strings.ToLower(said), "condition"):
		told.Attribute, told.Hint = "role", "correct the condition after if"
	}
	return told
}

// lostConditions is the error if conditions that were sent are missing from the written policy.
func lostConditions(at resource, lost []binding) error {
	names := make([]string, 0, 3)
	for _, b := range lost[:min(len(lost), 3)] {
		names = append(names, fmt.Sprintf("%q on %s", b.Condition.Title, b.Role))
	}
	return &jit.Error{Problem: fmt.Sprintf("the policy of %s was written and %d conditions that were sent are not in the answer (%s); access that was to end may not",
		at, len(lost), strings.Join(names, ", ")),
		Hint: "check the policy now (`gcloud … get-iam-policy --format=json`); `jit sweep` finds bindings of grants that have lost their condition"}
}
