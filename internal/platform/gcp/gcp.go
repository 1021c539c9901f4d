// Package gcp gives temporary access to Google Cloud: one conditional binding for each grant, in the policy of a
// project, folder, organization or another resource that has one. The service evaluates the condition with each request, so access ends even
// if nothing of ours runs. Where a binding takes no condition, the sweeper ends the access.
//
// A policy is one document that everybody writes as a whole. Every write changes what was just read, and sends its etag
// and version 3. Without the etag it would overwrite what others wrote meanwhile; with a lower version it would make
// every conditional binding permanent. The slower of two writers reads, edits and writes again.
package gcp

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/api/cloudresourcemanager/v3"
	"google.golang.org/api/option"
	"google.golang.org/api/storage/v1"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// kind is the platform's name.
const kind = "gcp"

// Platform is Google Cloud as one identity sees it. It is safe for concurrent use.
type Platform struct {
	cfg    Config
	now    func() time.Time
	tidied func(ctx context.Context, gone []jit.Marker)
	ledger jit.Claims
	agent  string

	mu     sync.Mutex
	opened *client // nil until the first call
	// answers are the latest answers to reads and writes, by resource.
	answers map[resource]reading
}

// New checks the form of the configuration. The first call loads the credentials.
func New(cfg Config, s jit.Services) (*Platform, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	return &Platform{cfg: cfg, now: s.Now, ledger: s.Claims, tidied: s.Tidied, agent: s.Agent(),
		answers: map[resource]reading{}}, nil
}

// Kind returns "gcp".
func (p *Platform) Kind() string { return kind }

// Lag returns how long a read may miss a write (https://cloud.google.com/iam/docs/access-change-propagation).
func (p *Platform) Lag() time.Duration { return jit.CloudLag }

// Scopes returns the configured scopes, or else every active project, folder and organization that the credentials can
// see, with one search for each kind.
func (p *Platform) Scopes(ctx context.Context) ([]string, error) {
	c, err := p.client(ctx)
	if err != nil {
		return nil, err
	}
	if len(p.cfg.Scopes) == 0 {
		return c.search(ctx)
	}
	var all []string
	for _, s := range p.cfg.Scopes {
		project, every := projectOfBuckets(s)
		if !every {
			all = append(all, s)
			continue
		}
		found, err := c.bucketsOf(ctx, project)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// active is the state of a resource that is not being deleted.
const active = "ACTIVE"

// search lists what the credentials can see.
func (c *client) search(ctx context.Context) ([]string, error) {
	s, err := cloudresourcemanager.NewService(ctx, option.WithHTTPClient(c.http))
	if err != nil {
		return nil, err
	}
	s.UserAgent = c.agent
	var all []string
	add := func(scope, state string) {
		if state == active {
			all = append(all, scope)
		}
	}
	for _, of := range []struct {
		kind   *resourceKind
		search func() error
	}{
		{projectKind, func() error {
			return s.Projects.Search().Pages(ctx, func(page *cloudresourcemanager.SearchProjectsResponse) error {
				for _, found := range page.Projects {
					add(projects+found.ProjectId, found.State)
				}
				return nil
			})
		}},
		{folderKind, func() error {
			return s.Folders.Search().Pages(ctx, func(page *cloudresourcemanager.SearchFoldersResponse) error {
				for _, found := range page.Folders {
					add(found.Name, found.State)
				}
				return nil
			})
		}},
		{organizationKind, func() error {
			all := s.Organizations.Search()
			return all.Pages(ctx, func(page *cloudresourcemanager.SearchOrganizationsResponse) error {
				for _, found := range page.Organizations {
					add(found.Name, found.State)
				}
				return nil
			})
		}},
	} {
		if err := of.search(); err != nil {
			all := of.kind.noun + "s/"
			return nil, explain(ctx, "list the "+of.kind.noun+"s", resource{of.kind, all}, "get", err)
		}
	}
	return all, nil
}

// bucketsOf lists the buckets of a project.
func (c *client) bucketsOf(ctx context.Context, project resource) ([]string, error) {
	s, err := storage.NewService(ctx, option.WithHTTPClient(c.http))
	if err != nil {
		return nil, err
	}
	s.UserAgent = c.agent
	var all []string
	err = s.Buckets.List(project.project()).Fields("items/name", "nextPageToken").Pages(ctx,
		func(page *storage.Buckets) error {
			for _, found := range page.Items {
				all = append(all, buckets+found.Name)
			}
			return nil
		})
	return all, explain(ctx, "list the buckets of "+project.String(), resource{bucketKind, ofBuckets}, "list", err)
}
