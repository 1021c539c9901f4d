package awsidentitycenter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// model is an IAM Identity Center in this process, with its directory and its organization. It is as strict as the
// documentation permits:
//   - It allows twenty calls a second and ten outstanding writes:
//     https://docs.aws.amazon.com/singlesignon/latest/userguide/limits.html
//   - Writes are asynchronous, and reads show them when they are done, or lag later:
//     https://docs.aws.amazon.com/singlesignon/latest/APIReference/API_CreateAccountAssignment.html
//   - A request is a ConflictException if another one works on the same permission set and account, or changes a role
//     in the account (same pages).
//   - Making an existing assignment makes no second one; removing an absent one is a ResourceNotFoundException.
//   - Names match exactly:
//     https://docs.aws.amazon.com/singlesignon/latest/IdentityStoreAPIReference/API_GetUserId.html
type model struct {
	mu          sync.Mutex
	instances   []string
	users       map[string]string // name by id
	groups      map[string]string
	sets        map[string]set    // by ARN
	accounts    map[string]string // state by id
	assignments map[assignment]*origin
	requests    []*asked
	past        []version // the oldest first
	serial      int
	recent      []time.Time // of the last second

	// takes is how long a write is in progress; perSecond is how many calls a second are accepted, 0 for any number.
	takes     time.Duration
	perSecond int
	pageSize  int
	// before, if set, is called at the beginning of each call, on the caller's goroutine.
	before func(action string)
	// fault, if set, is asked before each call.
	fault func(action string) *fault
	// permitted are the actions of the guide's policy, which the operator may perform, except those in denied.
	permitted, denied map[string]bool
	// lag is how long reads and removals miss a write that is done.
	lag time.Duration
	// unaware: a removal does not find an assignment that is being made, as on a host that the request has not reached.
	unaware bool
	// idle: removals succeed and remove nothing.
	idle bool
	// fails is the reason with which writes end as FAILED; empty if they succeed.
	fails string
	// calls counts the calls by their actions.
	calls map[string]int
	// refused counts the errors of the service by their codes.
	refused map[string]int
	// most is the largest number of outstanding writes so far.
	most int
}

// set is a permission set.
type set struct{ name, session string }

// assignment lets a principal into an account.
type assignment struct{ account, set, kind, id string }

// origin is who made an assignment.
type origin struct {
	serial  int
	foreign bool
}

// version says whether an assignment was there until a time.
type version struct {
	assignment
	there bool
	until time.Time
}

// asked is an asynchronous request.
type asked struct {
	id           string
	remove       bool
	what         assignment
	provisions   bool
	since, until time.Time
	status       string
	reason       string
}

// fault is how a call fails.
type fault struct {
	// status and code are the answer of a call without effect.
	status int
	code   string
	header http.Header
	// lost: the call takes effect, and its answer is lost. cut: the call does not arrive.
	lost, cut bool
}

var errLost = errors.New("connection reset by peer")

// refusal is an error of the service.
type refusal struct{ code, message string }

func (r *refusal) Error() string { return r.code + ": " + r.message }

func refuse(code, format string, args ...any) error {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

const modelInstance, modelStore = "arn:aws:sso:::instance/ssoins-0123456789abcdef", "d-0123456789"

func newModel(permitted map[string]bool) *model {
	return &model{
		permitted: permitted,
		instances: []string{modelInstance}, users: map[string]string{}, groups: map[string]string{},
		sets: map[string]set{}, accounts: map[string]string{},
		assignments: map[assignment]*origin{}, takes: 5 * time.Millisecond, pageSize: 2, denied: map[string]bool{},
		calls: map[string]int{}, refused: map[string]int{},
	}
}

// Do answers a request, as an HTTP client of the SDK does.
func (m *model) Do(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if m.before != nil {
		m.before(action)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls[action]++
	var f *fault
	if m.fault != nil {
		f = m.fault(action)
	}
	switch {
	case f != nil && f.cut:
		return nil, errLost
	case f != nil && f.code != "":
		resp := respond(f.status, map[string]string{"__type": f.code, "message": "as the test wants"})
		maps.Copy(resp.Header, f.header)
		return resp, nil
	}
	answer, err := m.answer(r, action, body)
	if f != nil && f.lost {
		return nil, errLost
	}
	var no *refusal
	switch {
	case errors.As(err, &no):
		m.refused[no.code]++
		kind, _, _ := strings.Cut(no.message, " not found.") // of the identity store's errors
		return respond(http.StatusBadRequest, map[string]string{"__type": no.code, "message": no.message,
			"ResourceType": kind}), nil
	case err != nil:
		return nil, err
	}
	return respond(http.StatusOK, answer), nil
}

func respond(status int, body any) *http.Response {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // maps of strings always marshal
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Body: io.NopCloser(bytes.NewReader(text)),
		ContentLength: int64(len(text)),
		Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"},
			"Date": {time.Now().UTC().Format(http.TimeFormat)}},
	}
}

// input holds the parameters of all actions.
type input struct {
	InstanceArn, AccountID, TargetID, TargetType, PermissionSetArn, PrincipalType, PrincipalID string
	AccountAssignmentCreationRequestID, AccountAssignmentDeletionRequestID                     string
	IdentityStoreID, UserID, GroupID, NextToken                                                string
	Filter                                                                                     struct{ Status string }
	AlternateIdentifier                                                                        struct {
		UniqueAttribute struct{ AttributePath, AttributeValue string }
	}
}

func (m *model) answer(r *http.Request, action string, body []byte) (any, error) {
	now := time.Now()
	m.advance(now)
	if auth := r.Header.Get("Authorization"); !strings.HasPrefix(auth, "AWS4-HMAC-SHA256 Credential=AKIATEST/") {
		return nil, refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	m.recent = slices.DeleteFunc(m.recent, func(t time.Time) bool { return now.Sub(t) >= time.Second })
	if m.perSecond > 0 && len(m.recent) >= m.perSecond {
		return nil, refuse("ThrottlingException", "Rate exceeded")
	}
	m.recent = append(m.recent, now)
	protocol, _, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	service := map[string]string{"SWBExternalService": "sso", "AWSIdentityStore": "identitystore",
		"AWSOrganizationsV20161128": "organizations"}[protocol]
	if m.denied[action] || !m.permitted[service+":"+action] {
		return nil, refuse("AccessDeniedException",
			"User: arn:aws:iam::111111111111:user/jit is not authorized to perform: %s:%s on resource: %s", service,
			action, modelInstance)
	}
	var in input
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, err
	}
	switch {
	case action == "ListInstances":
		return m.listInstances(in)
	case action == "DescribeAccount":
		return m.describeAccount(in)
	case service == "identitystore":
		return m.directory(action, in)
	case !slices.Contains(m.instances, in.InstanceArn):
		return nil, refuse("ResourceNotFoundException", "Instance %s not found", in.InstanceArn)
	}
	return m.sso(action, in, now)
}

// page cuts a list; the token is the first item of the next page.
func page[T any](m *model, all []T, token, list string) (map[string]any, error) {
	first := 0
	if token != "" {
		if _, err := fmt.Sscanf(token, "after-%d", &first); err != nil || first >= len(all) {
			return nil, refuse("ValidationException", "Invalid pagination token")
		}
	}
	last := min(first+m.pageSize, len(all))
	answer := map[string]any{list: append([]T{}, all[first:last]...)}
	if last < len(all) {
		answer["NextToken"] = fmt.Sprintf("after-%d", last)
	}
	return answer, nil
}

func (m *model) listInstances(in input) (any, error) {
	var all []map[string]string
	for _, arn := range m.instances {
		all = append(all, map[string]string{"InstanceArn": arn, "IdentityStoreId": modelStore, "Status": "ACTIVE"})
	}
	return page(m, all, in.NextToken, "Instances")
}

func (m *model) describeAccount(in input) (any, error) {
	state, ok := m.accounts[in.AccountID]
	if !ok {
		return nil, refuse("AccountNotFoundException", "You specified an account that doesn't exist.")
	}
	return map[string]any{"Account": map[string]string{"Id": in.AccountID, "State": state}}, nil
}

func (m *model) directory(action string, in input) (any, error) {
	if in.IdentityStoreID != modelStore {
		return nil, refuse("ResourceNotFoundException", "IDENTITY_STORE not found.") // of that ResourceType
	}
	find := func(all map[string]string, path string) (string, error) {
		if in.AlternateIdentifier.UniqueAttribute.AttributePath != path {
			return "", refuse("ValidationException", "The attribute is not a unique attribute")
		}
		for id, name := range all {
			if name == in.AlternateIdentifier.UniqueAttribute.AttributeValue {
				return id, nil
			}
		}
		return "", refuse("ResourceNotFoundException", "USER not found.")
	}
	switch action {
	case "GetUserId":
		id, err := find(m.users, "userName")
		return map[string]string{"UserId": id, "IdentityStoreId": modelStore}, err
	case "GetGroupId":
		id, err := find(m.groups, "displayName")
		return map[string]string{"GroupId": id, "IdentityStoreId": modelStore}, err
	case "DescribeUser":
		if name, ok := m.users[in.UserID]; ok {
			return map[string]string{"UserId": in.UserID, "UserName": name, "IdentityStoreId": modelStore}, nil
		}
	case "DescribeGroup":
		if name, ok := m.groups[in.GroupID]; ok {
			return map[string]string{"GroupId": in.GroupID, "DisplayName": name, "IdentityStoreId": modelStore}, nil
		}
	default:
		return nil, fmt.Errorf("the model has no %s", action)
	}
	return nil, refuse("ResourceNotFoundException", "USER not found.")
}
