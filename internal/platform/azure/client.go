package azure

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armsubscriptions"
)

const (
	// callTimeout limits one try of an API request.
	callTimeout = time.Minute
	// retries is how often the client repeats a request that was throttled or got no answer. In between it waits as
	// long as Retry-After asks for, or for a growing time. It does not wait for longer than pace.throttle.
	retries = 6
	// parallel is the number of writes that one Apply makes at a time.
	parallel = 8
	// here selects what applies to a scope: its own assignments and those of the scopes above it.
	here = "atScope()"
)

// client makes requests to the Resource Manager.
type client struct {
	platform      *Platform
	assignments   *armauthorization.RoleAssignmentsClient
	schedules     *armauthorization.RoleAssignmentSchedulesClient
	requests      *armauthorization.RoleAssignmentScheduleRequestsClient
	definitions   *armauthorization.RoleDefinitionsClient
	subscriptions *armsubscriptions.Client
}

// nobody is the credential for an endpoint on this machine that needs none.
type nobody struct{}

// GetToken returns a token without a meaning.
func (nobody) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "anonymous", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// client returns the client, which the first call creates. An error is not kept: a missing file may appear later.
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
		Cloud: endpoints, Transport: guarded(), InsecureAllowCredentialWithHTTP: unencrypted,
		Retry: policy.RetryOptions{
			MaxRetries: retries, RetryDelay: p.pace.tick / 10, MaxRetryDelay: p.pace.throttle, TryTimeout: callTimeout,
		},
		PerRetryPolicies: []policy.Policy{watch{p}},
	}}
	authorization, err := armauthorization.NewClientFactory("", credential, options)
	if err != nil {
		return nil, err
	}
	visible, err := armsubscriptions.NewClient(credential, options)
	if err != nil {
		return nil, err
	}
	p.opened = &client{
		platform:      p,
		assignments:   authorization.NewRoleAssignmentsClient(),
		schedules:     authorization.NewRoleAssignmentSchedulesClient(),
		requests:      authorization.NewRoleAssignmentScheduleRequestsClient(),
		definitions:   authorization.NewRoleDefinitionsClient(),
		subscriptions: visible,
	}
	return p.opened, nil
}

// watch calls the hook before each request and reads the clock of each answer.
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
	// An application id of the SDK is too short for the version.
	r.Raw().Header.Set("User-Agent", w.platform.agent+" "+r.Raw().Header.Get("User-Agent"))
	answer, err := r.Next()
	if err == nil {
		w.platform.clock.Read(answer.Header, w.platform.now())
	}
	return answer, err
}

// serviceNow is Azure's time, by its latest answer.
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

// listAssignments lists the role assignments that the filter selects; nil selects all of a scope and below it.
func (c *client) listAssignments(ctx context.Context, scope string, filter *string) ([]*assignment, error) {
	found, err := all(ctx, c.assignments.NewListForScopePager(scope,
		&armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: filter}),
		func(page armauthorization.RoleAssignmentsClientListForScopeResponse) []*assignment {
			return slices.DeleteFunc(page.Value, func(a *assignment) bool { return a.Properties == nil })
		})
	return found, explain(ctx, "list the role assignments of "+scope, err)
}

// listSchedules lists the schedules that apply to a scope.
func (c *client) listSchedules(ctx context.Context, scope string) ([]*schedule, error) {
	found, err := all(ctx, c.schedules.NewListForScopePager(scope,
		&armauthorization.RoleAssignmentSchedulesClientListForScopeOptions{Filter: new(here)}),
		func(page armauthorization.RoleAssignmentSchedulesClientListForScopeResponse) []*schedule {
			return slices.DeleteFunc(page.Value, func(s *schedule) bool { return s.Properties == nil })
		})
	return found, explain(ctx, "list the schedules of "+scope, err)
}

// listRequests lists the requests that the filter selects; nil selects all of a scope and below it.
func (c *client) listRequests(ctx context.Context, scope string, filter *string) ([]*request, error) {
	found, err := all(ctx, c.requests.NewListForScopePager(scope,
		&armauthorization.RoleAssignmentScheduleRequestsClientListForScopeOptions{Filter: filter}),
		func(page armauthorization.RoleAssignmentScheduleRequestsClientListForScopeResponse) []*request {
			return slices.DeleteFunc(page.Value, func(r *request) bool { return r.Properties == nil })
		})
	return found, explain(ctx, "list the requests of "+scope, err)
}

// listSubscriptions lists the subscriptions that the credentials can see, as scopes.
func (c *client) listSubscriptions(ctx context.Context) (scopes []string, err error) {
	found, err := all(ctx, c.subscriptions.NewListPager(nil),
		func(page armsubscriptions.ClientListResponse) []*armsubscriptions.Subscription { return page.Value })
	for _, s := range found {
		if scope, err := parseScope(value(s.ID)); err == nil {
			scopes = append(scopes, scope)
		}
	}
	return scopes, explain(ctx, "list the subscriptions", err)
}

// listClaimed lists the scopes at and below a subscription that have an assignment of ours.
func (c *client) listClaimed(ctx context.Context, subscription string) (scopes []string, err error) {
	add := func(scope, text *string) {
		if canonical, err := parseScope(value(scope)); err == nil && len(parseText(value(text)).claims) > 0 {
			scopes = append(scopes, canonical)
		}
	}
	if c.platform.cfg.Assignment == rbacAssignment {
		found, err := c.listAssignments(ctx, subscription, nil)
		for _, a := range found {
			add(a.Properties.Scope, a.Properties.Description)
		}
		return scopes, err
	}
	found, err := c.listRequests(ctx, subscription, nil)
	for _, r := range found {
		add(r.Properties.Scope, r.Properties.Justification)
	}
	return scopes, err
}
