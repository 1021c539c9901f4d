package azure

import (
	"context"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armsubscriptions"
)

const (
	// callTimeout bounds one try of an API request.
	callTimeout = time.Minute
	// retries is how often a request is repeated that was throttled or got no answer. Between two the client
	// waits for as long as the service says in Retry-After, at most maxRetryDelay, or for a growing time.
	retries       = 6
	maxRetryDelay = time.Minute
	// parallel is how many writes one Apply makes at a time.
	parallel = 8
	// here selects what holds at a scope: its own assignments and those of the scopes above it.
	here = "atScope()"
)

// client is an open way to the Resource Manager.
type client struct {
	platform      *Platform
	assignments   *armauthorization.RoleAssignmentsClient
	schedules     *armauthorization.RoleAssignmentSchedulesClient
	requests      *armauthorization.RoleAssignmentScheduleRequestsClient
	definitions   *armauthorization.RoleDefinitionsClient
	subscriptions *armsubscriptions.Client
}

// nobody is the credential for an endpoint on this machine that asks for none.
type nobody struct{}

// GetToken returns a token that says nothing.
func (nobody) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "anonymous", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// client opens the way to the service at the first use. What fails is tried again at the next
// call: a file may appear meanwhile.
func (p *Platform) client() (*client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.opened != nil {
		return p.opened, nil
	}
	credential, err := p.cfg.credential()
	if err != nil {
		return nil, err
	}
	endpoints, unencrypted := p.cfg.cloud()
	options := &arm.ClientOptions{DisableRPRegistration: true, ClientOptions: policy.ClientOptions{
		Cloud: endpoints, InsecureAllowCredentialWithHTTP: unencrypted,
		Telemetry:        policy.TelemetryOptions{ApplicationID: "terraform-provider-jit"},
		Retry:            policy.RetryOptions{MaxRetries: retries, RetryDelay: p.pace.tick / 10, MaxRetryDelay: maxRetryDelay, TryTimeout: callTimeout},
		PerRetryPolicies: []policy.Policy{watch{p}},
	}}
	c := &client{platform: p}
	if c.assignments, err = armauthorization.NewRoleAssignmentsClient("", credential, options); err != nil {
		return nil, err
	}
	if c.schedules, err = armauthorization.NewRoleAssignmentSchedulesClient(credential, options); err != nil {
		return nil, err
	}
	if c.requests, err = armauthorization.NewRoleAssignmentScheduleRequestsClient(credential, options); err != nil {
		return nil, err
	}
	if c.definitions, err = armauthorization.NewRoleDefinitionsClient(credential, options); err != nil {
		return nil, err
	}
	if c.subscriptions, err = armsubscriptions.NewClient(credential, options); err != nil {
		return nil, err
	}
	p.opened = c
	return c, nil
}

// watch tells the hook of each request and keeps the Date of each answer.
type watch struct{ platform *Platform }

// Do makes the request.
func (w watch) Do(r *policy.Request) (*http.Response, error) {
	if hook := w.platform.OnCall; hook != nil {
		op := "write"
		if r.Raw().Method == http.MethodGet {
			op = "read"
		}
		hook(op)
	}
	answer, err := r.Next()
	if err != nil {
		return nil, err
	}
	w.platform.clock.Read(answer.Header, w.platform.now())
	return answer, nil
}

// serviceNow is the service's time, by its latest answer.
func (p *Platform) serviceNow() time.Time {
	if remote := p.clock.Latest().Remote; !remote.IsZero() {
		return remote
	}
	return p.now()
}

// all reads every page of a list.
func all[P, T any](ctx context.Context, pager *runtime.Pager[P], items func(P) []T) ([]T, error) {
	var found []T
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		found = append(found, items(page)...)
	}
	return found, nil
}

// listAssignments lists the role assignments that the filter selects.
func (c *client) listAssignments(ctx context.Context, scope, filter string) ([]*armauthorization.RoleAssignment, error) {
	options := &armauthorization.RoleAssignmentsClientListForScopeOptions{}
	if filter != "" {
		options.Filter = &filter
	}
	found, err := all(ctx, c.assignments.NewListForScopePager(scope, options),
		func(page armauthorization.RoleAssignmentsClientListForScopeResponse) []*armauthorization.RoleAssignment {
			return page.Value
		})
	return found, c.explain(ctx, "list the role assignments of "+scope, err)
}

// listSchedules lists the schedules that hold at a scope.
func (c *client) listSchedules(ctx context.Context, scope string) ([]*armauthorization.RoleAssignmentSchedule, error) {
	filter := here
	found, err := all(ctx, c.schedules.NewListForScopePager(scope, &armauthorization.RoleAssignmentSchedulesClientListForScopeOptions{Filter: &filter}),
		func(page armauthorization.RoleAssignmentSchedulesClientListForScopeResponse) []*armauthorization.RoleAssignmentSchedule {
			return page.Value
		})
	return found, c.explain(ctx, "list the schedules of "+scope, err)
}

// listRequests lists the requests that the filter selects.
func (c *client) listRequests(ctx context.Context, scope, filter string) ([]*armauthorization.RoleAssignmentScheduleRequest, error) {
	options := &armauthorization.RoleAssignmentScheduleRequestsClientListForScopeOptions{}
	if filter != "" {
		options.Filter = &filter
	}
	found, err := all(ctx, c.requests.NewListForScopePager(scope, options),
		func(page armauthorization.RoleAssignmentScheduleRequestsClientListForScopeResponse) []*armauthorization.RoleAssignmentScheduleRequest {
			return page.Value
		})
	return found, c.explain(ctx, "list the requests of "+scope, err)
}

// listSubscriptions lists the subscriptions that the credentials can see, as scopes.
func (c *client) listSubscriptions(ctx context.Context) ([]string, error) {
	found, err := all(ctx, c.subscriptions.NewListPager(nil), func(page armsubscriptions.ClientListResponse) []*armsubscriptions.Subscription { return page.Value })
	if err != nil {
		return nil, c.explain(ctx, "list the subscriptions", err)
	}
	var scopes []string
	for _, s := range found {
		if scope, err := parseScope(value(s.ID)); err == nil {
			scopes = append(scopes, scope)
		}
	}
	return scopes, nil
}

// claimed lists the scopes at and below a subscription that have an assignment of ours.
func (c *client) claimed(ctx context.Context, subscription string) ([]string, error) {
	var scopes []string
	add := func(scope *string, text string) {
		if len(parseText(text).claims) > 0 {
			if s, err := parseScope(value(scope)); err == nil {
				scopes = append(scopes, s)
			}
		}
	}
	if c.platform.cfg.Assignment == rbacAssignment {
		found, err := c.listAssignments(ctx, subscription, "")
		for _, a := range found {
			if a.Properties != nil {
				add(a.Properties.Scope, value(a.Properties.Description))
			}
		}
		return scopes, err
	}
	found, err := c.listRequests(ctx, subscription, "")
	for _, r := range found {
		if r.Properties != nil {
			add(r.Properties.Scope, value(r.Properties.Justification))
		}
	}
	return scopes, err
}
