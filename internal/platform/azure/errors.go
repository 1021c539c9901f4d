package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The codes of errors that mean something to us.
const (
	assignmentExists      = "RoleAssignmentExists"
	assignmentAbsent      = "RoleAssignmentDoesNotExist"
	assignmentLimit       = "RoleAssignmentLimitExceeded"
	updateNotPermitted    = "RoleAssignmentUpdateNotPermitted"
	requestPending        = "PendingRoleAssignmentRequest"
	requestExists         = "RoleAssignmentRequestExists"
	durationTooShort      = "ActiveDurationTooShort"
	policyVeto            = "RoleAssignmentRequestPolicyValidationFailed"
	noLicence             = "AadPremiumLicenseRequired"
	principalMissing      = "PrincipalNotFound"
	subjectMissing        = "SubjectNotFound"
	principalOther        = "UnmatchedPrincipalType"
	roleDefinitionMissing = "RoleDefinitionDoesNotExist"
)

// errRace: what was read is not there any more as it was read.
var errRace = errors.New("another writer was faster")

// errSlow: too much time has passed since the scope was read.
var errSlow = errors.New("what was read is not of now")

func race(err error) error { return fmt.Errorf("%w: %w", errRace, err) }

// codeOf is the service's code of an error; empty where it has none.
func codeOf(err error) string {
	var answered *azcore.ResponseError
	if errors.As(err, &answered) {
		return answered.ErrorCode
	}
	return ""
}

// isGone reports whether the service says that what was asked about is not there. A 404 without a code of the service
// comes from something in between, such as a proxy, and says nothing.
func isGone(err error) bool {
	var answered *azcore.ResponseError
	return errors.As(err, &answered) && answered.StatusCode == http.StatusNotFound && answered.ErrorCode != ""
}

// said is what the service says of an error, on one line.
func said(answered *azcore.ResponseError) string {
	var body struct {
		Error struct{ Message string }
	}
	if answered.RawResponse != nil {
		if text, err := runtime.Payload(answered.RawResponse); err == nil && json.Unmarshal(text, &body) == nil && body.Error.Message != "" {
			return oneLine(body.Error.Message)
		}
	}
	return fmt.Sprintf("%s (HTTP status %d)", answered.ErrorCode, answered.StatusCode)
}

// oneLine puts a message on one line, for people.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

var action = regexp.MustCompile(`Microsoft\.[A-Za-z]+(/[A-Za-z]+)+`)

// explain turns the error of a request into words; nil stays nil.
func (c *client) explain(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	var told *jit.Error
	var answered *azcore.ResponseError
	var refused *azidentity.AuthenticationFailedError
	var request *url.Error
	switch {
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return fmt.Errorf("%s: %w", doing, err)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	case errors.As(err, &told):
		return err
	case errors.As(err, &answered) && answered.StatusCode == http.StatusUnauthorized:
		return &jit.Error{Problem: "Azure does not accept the target's credentials: " + said(answered), Hint: "`az account show` tells who is signed in; tenant_id, client_id and what is beside them have to be of the same tenant as the scope", Err: err}
	case errors.As(err, &answered) && answered.ErrorCode == noLicence:
		return &jit.Error{Problem: fmt.Sprintf("cannot %s: the tenant has no licence for PIM: %s", doing, said(answered)),
			Hint: `have Microsoft Entra ID P2 or ID Governance licensed, or write assignment = "rbac" on the target, with assignments that the sweeper ends`, Err: err}
	case errors.As(err, &answered) && answered.StatusCode == http.StatusForbidden:
		hint := "give the target's identity the role JIT operator of the guide on that scope"
		if name := action.FindString(said(answered)); name != "" {
			hint = fmt.Sprintf("add %s to the role of the target's identity; the guide has a role with all that is needed", name)
		}
		return &jit.Error{Problem: fmt.Sprintf("the target's identity may not %s: %s", doing, said(answered)), Hint: hint, Err: err}
	case errors.As(err, &answered) && answered.StatusCode == http.StatusTooManyRequests:
		return &jit.Error{Problem: fmt.Sprintf("cannot %s: Azure takes no more requests at the moment, after %d tries", doing, retries+1), Hint: "apply again in some minutes, with a lower -parallelism", Err: err}
	case errors.As(err, &answered):
		return fmt.Errorf("%s: Azure says %s%w", doing, said(answered), quiet{err})
	case strings.Contains(err.Error(), "DefaultAzureCredential"):
		return &jit.Error{Problem: "there are no credentials for Azure", Hint: "sign in with `az login`, set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or write client_id with client_secret or federated_token_file on the target", Err: quiet{err}}
	case errors.As(err, &refused):
		return &jit.Error{Problem: "the target cannot sign in to Azure: " + oneLine(firstLine(err)), Hint: "check tenant_id, client_id and the secret or token beside them", Err: quiet{err}}
	case errors.As(err, &request):
		return &jit.Error{Problem: fmt.Sprintf("cannot %s: no answer from %s: %s", doing, hostOf(request.URL), oneLine(request.Err.Error())), Hint: "check environment and endpoint of the target, and the network between", Err: quiet{err}}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// quiet keeps an error for errors.As and says nothing: the SDK's errors are whole answers, of many lines.
type quiet struct{ error }

// Error is empty.
func (quiet) Error() string { return "" }

// Unwrap returns the error.
func (q quiet) Unwrap() error { return q.error }

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func hostOf(s string) string {
	if u, err := url.Parse(s); err == nil && u.Host != "" {
		return u.Host
	}
	return "the configured address"
}

// explainWrite says why an assignment was not written.
func (c *client) explainWrite(ctx context.Context, scope string, s *slot, want []claim, err error) error {
	role, _ := c.cachedRole("\n" + s.role)
	if role == "" {
		role = s.role
	}
	doing := fmt.Sprintf("assign %s to %s on %s", role, s.who, scope)
	if len(want) == 0 {
		doing = fmt.Sprintf("take %s from %s on %s", role, s.who, scope)
	}
	var answered *azcore.ResponseError
	if ctx.Err() != nil || !errors.As(err, &answered) {
		return c.explain(ctx, doing, err)
	}
	fail := func(attribute, hint, format string, args ...any) error {
		return &jit.Error{Attribute: attribute, Problem: fmt.Sprintf(format, args...), Hint: hint, Err: quiet{err}}
	}
	switch answered.ErrorCode {
	case policyVeto:
		return fail("role", "ask for what the settings permit, or have them changed: Privileged Identity Management, Azure resources, Settings, "+role,
			"the PIM settings of the role %q on %s do not permit it: %s", role, scope, said(answered))
	case principalMissing, subjectMissing:
		return fail("principal", "look up its object id; the id of an application is not that of its service principal", "there is no principal with the object id %s in the tenant: %s", s.who.id, said(answered))
	case principalOther:
		return fail("principal", "write user:, group: or servicePrincipal:, as it is", "%s is of another kind: %s", s.who, said(answered))
	case roleDefinitionMissing:
		return fail("role", "`az role definition list --scope "+scope+"` lists those that there are", "there is no role %q that can be assigned on %s", role, scope)
	case assignmentExists:
		return fail("principal", "apply again in some minutes; if it stays, remove that assignment first", "%s has %s on %s already, and no grant accounts for it: %s", s.who, role, scope, said(answered))
	case assignmentLimit:
		return fail("scope", "remove assignments that nobody needs; the limit is of Azure", "no more roles can be assigned in this subscription: %s", said(answered))
	}
	if isGone(err) {
		return noSuchScope(scope, answered)
	}
	return c.explain(ctx, doing, err)
}

// noSuchScope: Azure cannot find where to grant.
func noSuchScope(scope string, answered *azcore.ResponseError) error {
	return &jit.Error{Attribute: "scope", Problem: fmt.Sprintf("there is no %s: %s", scope, said(answered)), Hint: "correct the scope; `az resource show --ids …` and `az group list` tell what there is", Err: quiet{answered}}
}

// otherKind: the principal is not what it was said to be.
func otherKind(wanted, is principal) error {
	return &jit.Error{Attribute: "principal", Problem: fmt.Sprintf("%s is a %s", wanted, is.kind), Hint: fmt.Sprintf("write principal = %q", is), Err: jit.ErrInvalid}
}

// standing: the principal has the access already, and it is not ours to end.
func (s *slot) standing(scope string) error {
	until := "without an end"
	if !s.end.IsZero() {
		until = "until " + jit.FormatTime(s.end)
	}
	return &jit.Error{Attribute: "principal", Problem: fmt.Sprintf("%s has this role on %s already, %s (%s); Azure holds one assignment of it, and its end would not be the grant's", s.who, scope, until, s.detail),
		Hint: "remove that assignment first, or do without the grant"}
}
