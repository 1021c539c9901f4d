package awsidentitycenter

import (
	"context"
	"fmt"
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
}

// client returns the client, which the first use makes. A failure is tried again at the next call.
func (p *Platform) client(ctx context.Context) (*client, error) {
	if p.ledger == nil {
		return nil, &jit.Error{Problem: "the target needs a ledger to keep track of its account assignments",
			Hint: "configure a ledger"}
	}
	p.mu.Lock()
	opened := p.opened
	p.mu.Unlock()
	if opened != nil {
		return opened, nil
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
	loaded.APIOptions = append(loaded.APIOptions[:len(loaded.APIOptions):len(loaded.APIOptions)], p.throttled)
	c := &client{
		platform: p, instance: p.cfg.InstanceARN, storeID: p.cfg.IdentityStoreID,
		sso: ssoadmin.NewFromConfig(loaded), store: identitystore.NewFromConfig(loaded), orgs: organizations.NewFromConfig(loaded),
	}
	c.progress, c.retryer = newProgress(c), loaded.Retryer()
	if c.instance == "" || c.storeID == "" {
		if err := c.choose(ctx, loaded.Region); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.opened == nil {
		p.opened = c
	}
	return p.opened, nil
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
	var all []types.InstanceMetadata
	pages := ssoadmin.NewListInstancesPaginator(c.sso, &ssoadmin.ListInstancesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return awsconfig.Explain(ctx, "list the instances of IAM Identity Center", err)
		}
		all = append(all, page.Instances...)
	}
	var found []types.InstanceMetadata
	arns := make([]string, len(all))
	for i, is := range all {
		arns[i] = aws.ToString(is.InstanceArn)
		if c.instance == "" || c.instance == arns[i] {
			found = append(found, is)
		}
	}
	switch {
	case len(all) == 0:
		return &jit.Error{Attribute: "region",
			Problem: fmt.Sprintf("the target's credentials see no instance of IAM Identity Center in %s", region),
			Hint:    "name the region where it was enabled, and use credentials of the organization's management account or of its delegated administrator", Err: jit.ErrInvalid}
	case len(found) == 0:
		return &jit.Error{Attribute: "instance_arn", Problem: fmt.Sprintf("there is no instance %s in %s; there is %s",
			c.instance, region, strings.Join(arns, ", ")), Hint: "copy one of them", Err: jit.ErrInvalid}
	case len(found) > 1:
		return &jit.Error{Attribute: "instance_arn",
			Problem: fmt.Sprintf("there are several instances of IAM Identity Center in %s: %s", region,
				strings.Join(arns, ", ")), Hint: "say which, with instance_arn", Err: jit.ErrInvalid}
	}
	c.instance = aws.ToString(found[0].InstanceArn)
	if c.storeID == "" {
		c.storeID = aws.ToString(found[0].IdentityStoreId)
	}
	return nil
}

// assignments lists who may enter the account with the permission set. A set or account that does not exist has no
// assignments.
func (c *client) assignments(ctx context.Context, account, set string) (map[object]bool, error) {
	found := map[object]bool{}
	pages := ssoadmin.NewListAccountAssignmentsPaginator(c.sso, &ssoadmin.ListAccountAssignmentsInput{
		InstanceArn: &c.instance, AccountId: &account, PermissionSetArn: &set, MaxResults: aws.Int32(pageSize),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if awsconfig.Code(err) == notFound {
			return found, nil
		}
		if err != nil {
			return nil, awsconfig.Explain(ctx, "list the assignments on the account "+account, err)
		}
		for _, a := range page.AccountAssignments {
			found[object{a.PrincipalType, aws.ToString(a.PrincipalId), aws.ToString(a.PermissionSetArn)}] = true
		}
	}
	return found, nil
}

// provisioned lists the permission sets in use on the account.
func (c *client) provisioned(ctx context.Context, account string) ([]string, error) {
	var sets []string
	pages := ssoadmin.NewListPermissionSetsProvisionedToAccountPaginator(c.sso,
		&ssoadmin.ListPermissionSetsProvisionedToAccountInput{
			InstanceArn: &c.instance, AccountId: &account, MaxResults: aws.Int32(pageSize),
		})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if awsconfig.Code(err) == notFound {
			return nil, nil
		}
		if err != nil {
			return nil, awsconfig.Explain(ctx, "list the permission sets on the account "+account, err)
		}
		sets = append(sets, page.PermissionSets...)
	}
	return sets, nil
}
