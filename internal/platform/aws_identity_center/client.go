package awsidentitycenter

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/identitystore"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	notFound = "ResourceNotFoundException"
	conflict = "ConflictException"
	throttle = "ThrottlingException"
	// pageSize is the most entries that one page of a list holds.
	pageSize = 100
)

// client calls one instance.
type client struct {
	platform *Platform
	sso      *ssoadmin.Client
	store    *identitystore.Client
	orgs     *organizations.Client
	instance string // ARN
	storeID  string
	progress *progress
	retryer  aws.Retryer

	sets     memo[permissionSet] // by ARN
	roles    memo[string]        // ARNs by name
	ids      memo[string]        // by principal in canonical form
	names    memo[string]        // by principal with its id; empty if the directory no longer knows it
	accounts memo[struct{}]      // by id: those that may accept assignments
	// ended are requests that somebody has made, by their ids; in progress when they were looked at, or ended.
	ended memo[*types.AccountAssignmentOperationStatus]
}

// client returns the client, which the first use makes. A failure is tried again at the next call.
func (p *Platform) client(ctx context.Context) (*client, error) {
	p.mu.Lock()
	opened := p.opened
	p.mu.Unlock()
	if opened != nil {
		return opened, nil
	}
	c, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opened = cmp.Or(p.opened, c)
	return p.opened, nil
}

// open makes a client.
func (p *Platform) open(ctx context.Context) (*client, error) {
	if p.ledger == nil {
		return nil, &jit.Error{Problem: "the target needs a ledger to keep track of its account assignments",
			Hint: "configure a ledger"}
	}
	loaded, err := p.load(ctx)
	if err != nil {
		return nil, err
	}
	if loaded.Region == "" {
		return nil, &jit.Error{Attribute: "region", Problem: "nothing names the region of IAM Identity Center",
			Hint: `write for example region = "eu-central-1" on the target, or set AWS_REGION`, Err: jit.ErrInvalid}
	}
	p.watch.Attach(&loaded)
	loaded.APIOptions = append(slices.Clip(loaded.APIOptions), p.throttled)
	c := &client{
		platform: p, instance: p.cfg.InstanceARN, storeID: p.cfg.IdentityStoreID, retryer: loaded.Retryer(),
		sso: ssoadmin.NewFromConfig(loaded), store: identitystore.NewFromConfig(loaded),
		orgs: organizations.NewFromConfig(loaded),
	}
	c.progress = newProgress(c)
	if c.instance == "" || c.storeID == "" {
		err = c.choose(ctx, loaded.Region)
	}
	return c, err
}

// throttled makes each attempt of each call wait for its turn.
func (p *Platform) throttled(stack *middleware.Stack) error {
	wait := middleware.FinalizeMiddlewareFunc("jitPace", func(ctx context.Context, in middleware.FinalizeInput,
		next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
		if err := p.pace.limit.Wait(ctx); err != nil {
			return middleware.FinalizeOutput{}, middleware.Metadata{}, err
		}
		return next.HandleFinalize(ctx, in)
	})
	return stack.Finalize.Insert(wait, "Retry", middleware.After)
}

// choose finds the instance and its directory.
func (c *client) choose(ctx context.Context, region string) error {
	var arns []string
	var found []types.InstanceMetadata
	err := pages(ctx, ssoadmin.NewListInstancesPaginator(c.sso, &ssoadmin.ListInstancesInput{}),
		func(page *ssoadmin.ListInstancesOutput) {
			for _, is := range page.Instances {
				arn := aws.ToString(is.InstanceArn)
				arns = append(arns, arn)
				if c.instance == "" || c.instance == arn {
					found = append(found, is)
				}
			}
		})
	if err != nil {
		return awsconfig.Explain(ctx, "list the instances of IAM Identity Center", err)
	}
	if len(found) != 1 {
		return c.ambiguous(region, arns, len(found))
	}
	c.instance = aws.ToString(found[0].InstanceArn)
	c.storeID = cmp.Or(c.storeID, aws.ToString(found[0].IdentityStoreId))
	return nil
}

// ambiguous is the error if none or several of the instances are the target's.
func (c *client) ambiguous(region string, arns []string, found int) error {
	all := strings.Join(arns, ", ")
	switch {
	case len(arns) == 0:
		return &jit.Error{Attribute: "region",
			Problem: fmt.Sprintf("the target's credentials see no instance of IAM Identity Center in %s", region),
			Hint: "name the region where it was enabled, and use credentials of the organization's management " +
				"account or of its delegated administrator", Err: jit.ErrInvalid}
	case found == 0:
		return &jit.Error{Attribute: "instance_arn",
			Problem: fmt.Sprintf("there is no instance %s in %s; there is %s", c.instance, region, all),
			Hint:    "copy one of them", Err: jit.ErrInvalid}
	}
	return &jit.Error{Attribute: "instance_arn",
		Problem: fmt.Sprintf("there are several instances of IAM Identity Center in %s: %s", region, all),
		Hint:    "say which, with instance_arn", Err: jit.ErrInvalid}
}

// pages calls do with each page of a list.
func pages[T any](ctx context.Context, list interface {
	HasMorePages() bool
	NextPage(ctx context.Context, options ...func(*ssoadmin.Options)) (*T, error)
}, do func(*T)) error {
	for list.HasMorePages() {
		page, err := list.NextPage(ctx)
		if err != nil {
			return err
		}
		do(page)
	}
	return nil
}

// assignments lists who may enter the account with the permission set. A set or account that does not exist has no
// assignments.
func (c *client) assignments(ctx context.Context, account, set string) (map[object]bool, error) {
	found := map[object]bool{}
	err := pages(ctx, ssoadmin.NewListAccountAssignmentsPaginator(c.sso, &ssoadmin.ListAccountAssignmentsInput{
		InstanceArn: &c.instance, AccountId: &account, PermissionSetArn: &set, MaxResults: aws.Int32(pageSize),
	}), func(page *ssoadmin.ListAccountAssignmentsOutput) {
		for _, a := range page.AccountAssignments {
			found[object{a.PrincipalType, aws.ToString(a.PrincipalId), aws.ToString(a.PermissionSetArn)}] = true
		}
	})
	if awsconfig.Code(err) == notFound {
		err = nil
	}
	return found, awsconfig.Explain(ctx, "list the assignments on the account "+account, err)
}

// provisioned lists the permission sets in use on the account.
func (c *client) provisioned(ctx context.Context, account string) ([]string, error) {
	var sets []string
	err := pages(ctx, ssoadmin.NewListPermissionSetsProvisionedToAccountPaginator(c.sso,
		&ssoadmin.ListPermissionSetsProvisionedToAccountInput{
			InstanceArn: &c.instance, AccountId: &account, MaxResults: aws.Int32(pageSize),
		}), func(page *ssoadmin.ListPermissionSetsProvisionedToAccountOutput) {
		sets = append(sets, page.PermissionSets...)
	})
	if awsconfig.Code(err) == notFound {
		err = nil
	}
	return sets, awsconfig.Explain(ctx, "list the permission sets on the account "+account, err)
}
