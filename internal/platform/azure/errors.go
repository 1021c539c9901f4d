package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Azure's error codes that this package acts on.
const (
	assignmentExists      = "RoleAssignmentExists"
	assignmentAbsent      = "RoleAssignmentDoesNotExist"
	assignmentLimit       = "RoleAssignmentLimitExceeded"
	updateNotPermitted    = "RoleAssignmentUpdateNotPermitted"
	requestPending        = "PendingRoleAssignmentRequest"
	requestExists         = "RoleAssignmentRequestExists"
	notCancellable        = "RequestCannotBeCancelled"
	durationTooShort      = "ActiveDurationTooShort"
	policyVeto            = "RoleAssignmentRequestPolicyValidationFailed"
	noLicence             = "AadPremiumLicenseRequired"
	principalMissing      = "PrincipalNotFound"
	subjectMissing        = "SubjectNotFound"
	principalOther        = "UnmatchedPrincipalType"
	roleDefinitionMissing = "RoleDefinitionDoesNotExist"
)

// errRace: the assignment has changed since it was read.
var errRace = errors.New("another writer was faster")

// errOld: the read is too old to write by.
var errOld = errors.New("the scope was read too long ago")

func race(err error) error { return fmt.Errorf("%w: %w", errRace, err) }

// answerOf returns Azure's error answer; the zero value for other errors.
func answerOf(err error) azcore.ResponseError {
	var answer *azcore.ResponseError
	errors.As(err, &answer)
	return value(answer)
}

// codeOf returns Azure's code of an error; empty without one.
func codeOf(err error) string { return answerOf(err).ErrorCode }

// isGone reports whether Azure says that the subject of a request does not exist. A 404 without one of Azure's codes
// comes from something in between, such as a proxy, and says nothing.
func isGone(err error) bool {
	return answerOf(err).StatusCode == http.StatusNotFound && codeOf(err) != ""
}

// said returns the message of Azure's error answer, on one line.
func said(err error) string {
	answer := answerOf(err)
	var body struct {
		Error struct{ Message string }
	}
	if answer.RawResponse != nil {
		text, err := runtime.Payload(answer.RawResponse)
		if err == nil && json.Unmarshal(text, &body) == nil && body.Error.Message != "" {
			return jit.Said(body.Error.Message)
		}
	}
	return fmt.Sprintf("%s (HTTP status %d)", answer.ErrorCode, answer.StatusCode)
}

var action = regexp.MustCompile(`Microsoft\.[A-Za-z]+(/[A-Za-z]+)+`)

// explain describes the error of a request for people; nil stays nil. The SDK's own errors are whole HTTP answers of
// many lines.
func explain(ctx context.Context, doing string, err error) error {
	var user *jit.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		if !errors.Is(err, ctx.Err()) {
			err = ctx.Err()
		}
		return fmt.Errorf("%s: %w", doing, err)
	case errors.As(err, &user):
		return err
	case answerOf(err).StatusCode != 0:
		return explainAnswer(doing, err)
	}
	return explainSilence(doing, err)
}

// explainAnswer describes an error that Azure answered with.
func explainAnswer(doing string, err error) error {
	answer := answerOf(err)
	fail := func(hint, format string, args ...any) error {
		return &jit.Error{Problem: fmt.Sprintf(format, args...), Hint: hint, Err: err}
	}
	if slices.Contains(refusals, answer.StatusCode) {
		err = errors.Join(jit.ErrRefused, err)
	}
	switch {
	case answer.StatusCode == http.StatusUnauthorized:
		return fail("`az account show` names the identity; its tenant must be that of the scope",
			"Azure does not accept the target's credentials: %s", said(err))
	case answer.ErrorCode == noLicence:
		return fail("get a licence for Microsoft Entra ID P2 or ID Governance, "+
			`or write assignment = "rbac" on the target for assignments that the sweeper ends`,
			"cannot %s: the tenant has no licence for PIM: %s", doing, said(err))
	case answer.StatusCode == http.StatusForbidden:
		hint := "give the target's identity the role JIT operator of the guide on that scope"
		if name := action.FindString(said(err)); name != "" {
			hint = fmt.Sprintf("add %s to the role of the target's identity; the guide has a complete role", name)
		}
		return fail(hint, "the target's identity may not %s: %s", doing, said(err))
	case answer.StatusCode == http.StatusTooManyRequests:
		when := "in some minutes"
		if asked, err := time.ParseDuration(answer.RawResponse.Header.Get("Retry-After") + "s"); err == nil {
			when = "in " + jit.FormatDuration(asked)
		}
		return fail("apply again "+when+", with a lower -parallelism",
			"cannot %s: Azure takes no more requests at the moment", doing)
	}
	return fail("", "%s: Azure says %s", doing, said(err))
}

// refusals are the statuses of answers to a request of which Azure has carried out no part.
var refusals = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound}

// explainSilence describes an error of a request that Azure did not answer.
func explainSilence(doing string, err error) error {
	var refused *azidentity.AuthenticationFailedError
	var unanswered *url.Error
	switch {
	case strings.Contains(err.Error(), "DefaultAzureCredential"):
		return &jit.Error{Problem: "there are no credentials for Azure", Err: err,
			Hint: "sign in with `az login`, set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, " +
				"or write client_id with client_secret or federated_token_file on the target"}
	case errors.As(err, &refused):
		first, _, _ := strings.Cut(err.Error(), "\n")
		return &jit.Error{Problem: "the target cannot sign in to Azure: " + jit.Said(first), Err: err,
			Hint: "check tenant_id, client_id and the secret or token"}
	case errors.As(err, &unanswered):
		return &jit.Error{Problem: fmt.Sprintf("cannot %s: no answer: %s", doing, jit.Said(unanswered.Err.Error())),
			Hint: "check environment and endpoint of the target, and the network between", Err: err}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// explainWrite says why an assignment was not written.
func (c *client) explainWrite(ctx context.Context, scope string, t *task, err error) error {
	role, who := t.slot.role, t.slot.who
	if known, ok := c.platform.roleNames.Load(role); ok {
		role = known.(string)
	}
	if ctx.Err() == nil {
		if err := explainRefusal(scope, role, who, err); err != nil {
			return err
		}
	}
	doing := fmt.Sprintf("assign %s to %s on %s", role, who, scope)
	if len(t.want) == 0 {
		doing = fmt.Sprintf("take %s from %s on %s", role, who, scope)
	}
	return explain(ctx, doing, err)
}

// explainRefusal describes an answer that blames the role, the principal or the scope; nil for others.
func explainRefusal(scope, role string, who principal, err error) error {
	fail := func(attribute, hint, format string, args ...any) error {
		problem := fmt.Sprintf(format, args...) + ": " + said(err)
		return &jit.Error{Attribute: attribute, Problem: problem, Hint: hint, Err: err}
	}
	switch codeOf(err) {
	case policyVeto:
		return fail("role", "ask for what the settings permit, or have them changed: "+
			"Privileged Identity Management, Azure resources, Settings, "+role,
			"the PIM settings of the role %q on %s do not permit it", role, scope)
	case durationTooShort:
		return fail("expires_at", "ask for a later end",
			"PIM gives %s no access to %s for so short a time", who, scope)
	case principalMissing, subjectMissing:
		return noSuchPrincipal(who, ": "+said(err))
	case principalOther:
		return fail("principal", "write user:, group: or servicePrincipal:, as it is", "%s is of another kind", who)
	case roleDefinitionMissing:
		return noSuchRole(scope, role, "", err)
	case assignmentExists:
		return fail("principal", "apply again in some minutes; if it stays, remove that assignment first",
			"%s has %s on %s already, and no grant accounts for it", who, role, scope)
	case assignmentLimit:
		return fail("scope", "remove assignments that nobody needs; Azure sets the limit",
			"no more roles can be assigned in this subscription")
	}
	if isGone(err) {
		return noSuchScope(scope, err)
	}
	return nil
}

// noSuchScope says that Azure cannot find the scope of a grant.
func noSuchScope(scope string, err error) error {
	return &jit.Error{Attribute: "scope", Problem: fmt.Sprintf("there is no %s: %s", scope, said(err)),
		Hint: "correct the scope; `az group list` and `az resource list` show what exists", Err: err}
}

// noSuchPrincipal says that the directory does not have a principal.
func noSuchPrincipal(who principal, said string) error {
	return jit.Invalid("principal",
		"look up its object id; an application and its service principal have different ids",
		"there is no principal with the object id %s in the tenant%s", who.id, said)
}

// otherKind says that a principal is not of the kind that the grant names.
func otherKind(wanted, is principal) error {
	return jit.Invalid("principal", fmt.Sprintf("write principal = %q", is), "%s is a %s", wanted, is.kind)
}

// heldAlready says that the principal has the access from an assignment that is not ours to end.
func (s *slot) heldAlready(scope string) error {
	until := "without an end"
	if !s.end.IsZero() {
		until = "until " + jit.FormatTime(s.end)
	}
	return &jit.Error{Attribute: "principal", Hint: "remove that assignment first, or delete the grant",
		Problem: fmt.Sprintf("%s has this role on %s already, %s (%s); "+
			"Azure holds one assignment of it, whose end would not be the grant's", s.who, scope, until, s.detail)}
}

// unmentioned says that the access of a grant may still be there, although nothing that Azure shows is of the grant.
func unmentioned(who principal, scope, nothing string) error {
	return &jit.Error{Attribute: "principal", Hint: "try again in ten minutes, when Azure's lists are up to date; " +
		"if it stays, look for the assignment in the portal, and remove it there",
		Problem: fmt.Sprintf("the record says that %s has this access on %s, and %s the marker of the grant",
			who, scope, nothing)}
}
