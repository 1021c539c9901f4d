package awsidentitycenter

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/identitystore"
	"github.com/aws/aws-sdk-go-v2/service/identitystore/document"
	storetypes "github.com/aws/aws-sdk-go-v2/service/identitystore/types"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin/types"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// keep is how long a resolved name stays valid.
const keep = 5 * time.Minute

// memo caches answers for a while. The zero value is ready for use, also by several goroutines.
type memo[V any] struct {
	mu      sync.Mutex
	answers map[string]answer[V]
}

type answer[V any] struct {
	value V
	at    time.Time
}

// get returns the cached answer, or asks and caches the answer unless it is an error.
func (m *memo[V]) get(key string, ask func() (V, error)) (V, error) {
	m.mu.Lock()
	known, ok := m.answers[key]
	m.mu.Unlock()
	if ok && time.Since(known.at) < keep {
		return known.value, nil
	}
	value, err := ask()
	if err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.answers == nil {
			m.answers = map[string]answer[V]{}
		}
		m.answers[key] = answer[V]{value, time.Now()}
	}
	return value, err
}

// permissionSet describes one permission set.
type permissionSet struct {
	name string
	// session is the longest session that it allows; zero if unknown.
	session time.Duration
}

// object resolves a binding.
func (c *client) object(ctx context.Context, b jit.Binding) (object, error) {
	who, err := parsePrincipal(b.Principal)
	if err != nil {
		return object{}, err
	}
	set, err := c.findSet(ctx, b.Role)
	if err != nil {
		return object{}, err
	}
	id, err := c.ids.get(b.Principal, func() (string, error) { return c.findPrincipal(ctx, who) })
	return object{who.kind, id, set}, err
}

// findPrincipal looks up the id of a user or group.
func (c *client) findPrincipal(ctx context.Context, who principal) (string, error) {
	id, err := c.findID(ctx, who)
	if unknown(err) {
		what := strings.ToLower(string(who.kind))
		return "", &jit.Error{Attribute: "principal",
			Problem: fmt.Sprintf("there is no %s %q in the identity store %s", what, who.name, c.storeID),
			Hint:    fmt.Sprintf("`aws identitystore list-%ss --identity-store-id %s` lists them", what, c.storeID),
			Err:     err}
	}
	return id, awsconfig.Explain(ctx, fmt.Sprintf("look for %s in the identity store", who), err)
}

// unknown reports whether the service does not know what was asked for. An id that cannot exist is invalid to it.
func unknown(err error) bool {
	code := awsconfig.Code(err)
	return code == notFound || code == "ValidationException"
}

func (c *client) findID(ctx context.Context, who principal) (string, error) {
	switch {
	case who.isID():
		_, err := c.describe(ctx, who)
		return who.name, err
	case who.kind == types.PrincipalTypeUser:
		out, err := c.store.GetUserId(ctx, &identitystore.GetUserIdInput{IdentityStoreId: &c.storeID,
			AlternateIdentifier: unique("userName", who.name)})
		if err != nil {
			return "", err
		}
		return aws.ToString(out.UserId), nil
	}
	out, err := c.store.GetGroupId(ctx, &identitystore.GetGroupIdInput{IdentityStoreId: &c.storeID,
		AlternateIdentifier: unique("displayName", who.name)})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.GroupId), nil
}

func unique(path, value string) storetypes.AlternateIdentifier {
	return &storetypes.AlternateIdentifierMemberUniqueAttribute{Value: storetypes.UniqueAttribute{AttributePath: &path,
		AttributeValue: document.NewLazyDocument(value)}}
}

// describe returns the name of a user or group by its id.
func (c *client) describe(ctx context.Context, who principal) (name string, err error) {
	if who.kind == types.PrincipalTypeUser {
		out, err := c.store.DescribeUser(ctx,
			&identitystore.DescribeUserInput{IdentityStoreId: &c.storeID, UserId: &who.name})
		if err != nil {
			return "", err
		}
		return aws.ToString(out.UserName), nil
	}
	out, err := c.store.DescribeGroup(ctx,
		&identitystore.DescribeGroupInput{IdentityStoreId: &c.storeID, GroupId: &who.name})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.DisplayName), nil
}

// nameOf returns the name of a user or group, or "" if the directory no longer knows it.
func (c *client) nameOf(ctx context.Context, o object) (string, error) {
	who := principal{o.kind, o.id}
	return c.names.get(who.String(), func() (string, error) {
		name, err := c.describe(ctx, who)
		var none *storetypes.ResourceNotFoundException
		if errors.As(err, &none) && none.ResourceType != storetypes.ResourceTypeIdentityStore {
			return "", nil
		}
		return name, awsconfig.Explain(ctx, "look for "+who.String()+" in the identity store", err)
	})
}

// isThere refuses the user or group of a grant that the directory no longer knows.
func (c *client) isThere(ctx context.Context, o object, written string) error {
	name, err := c.nameOf(ctx, o)
	if err != nil || name != "" {
		return err
	}
	return jit.Errorf(jit.ErrOver, "principal",
		"to grant to the new user or group of that name, set renewal to the next number",
		"%s, which has the id %s, was deleted, and the grant with it; one made anew under that name is another",
		written, o.id)
}

// findSet returns the ARN of a permission set by its name or ARN.
func (c *client) findSet(ctx context.Context, role string) (string, error) {
	none := func(err error) error {
		return &jit.Error{Attribute: "role",
			Problem: fmt.Sprintf("there is no permission set %q in the instance %s", role, c.instance),
			Hint:    fmt.Sprintf("`aws sso-admin list-permission-sets --instance-arn %s` lists them", c.instance),
			Err:     err}
	}
	if setARNForm.MatchString(role) {
		_, err := c.set(ctx, role)
		if unknown(err) {
			err = none(err)
		}
		return role, awsconfig.Explain(ctx, "look for the permission set "+role, err)
	}
	return c.roles.get(role, func() (string, error) { return c.findNamed(ctx, role, none) })
}

// findNamed searches all permission sets for a name.
func (c *client) findNamed(ctx context.Context, name string, none func(error) error) (string, error) {
	pages := ssoadmin.NewListPermissionSetsPaginator(c.sso,
		&ssoadmin.ListPermissionSetsInput{InstanceArn: &c.instance, MaxResults: aws.Int32(pageSize)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", awsconfig.Explain(ctx, "list the permission sets", err)
		}
		named, err := c.describeSets(ctx, page.PermissionSets)
		if err != nil {
			return "", err
		}
		for arn, set := range named {
			if set.name == name {
				return arn, nil
			}
		}
	}
	return "", none(nil)
}

// describeSets describes permission sets, several at a time. It leaves out those that no longer exist.
func (c *client) describeSets(ctx context.Context, arns []string) (map[string]permissionSet, error) {
	var mu sync.Mutex
	named := make(map[string]permissionSet, len(arns))
	return named, each(ctx, arns, func(ctx context.Context, _ int, arn string) error {
		set, err := c.set(ctx, arn)
		if awsconfig.Code(err) == notFound {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		named[arn] = set
		return awsconfig.Explain(ctx, "look at the permission set "+arn, err)
	})
}

// set describes one permission set.
func (c *client) set(ctx context.Context, arn string) (permissionSet, error) {
	return c.sets.get(arn, func() (permissionSet, error) {
		out, err := c.sso.DescribePermissionSet(ctx,
			&ssoadmin.DescribePermissionSetInput{InstanceArn: &c.instance, PermissionSetArn: &arn})
		if err != nil || out.PermissionSet == nil {
			return permissionSet{}, err
		}
		return permissionSet{aws.ToString(out.PermissionSet.Name),
			parsePeriod(aws.ToString(out.PermissionSet.SessionDuration))}, nil
	})
}

// parsePeriod reads an ISO 8601 duration of days and smaller units. Anything else is zero.
func parsePeriod(s string) time.Duration {
	date, clock, _ := strings.Cut(strings.TrimPrefix(s, "P"), "T")
	days, ok := strings.CutSuffix(date, "D")
	if date != "" {
		n, err := strconv.ParseUint(days, 10, 16)
		if !ok || err != nil {
			return 0
		}
		clock = fmt.Sprintf("%dh%s", 24*n, clock)
	}
	d, err := time.ParseDuration(strings.ToLower(clock))
	if err != nil {
		return 0
	}
	return max(d, 0)
}

// ready refuses an account that is known not to accept assignments. If the credentials may not describe accounts, the
// assignment itself will show it.
func (c *client) ready(ctx context.Context, account string) error {
	_, err := c.accounts.get(account, func() (none struct{}, err error) {
		out, err := c.orgs.DescribeAccount(ctx, &organizations.DescribeAccountInput{AccountId: &account})
		switch code := awsconfig.Code(err); {
		case code == "AccountNotFoundException":
			return none, &jit.Error{Attribute: "scope",
				Problem: fmt.Sprintf("there is no account %s in the organization", account),
				Hint:    "`aws organizations list-accounts` lists them", Err: err}
		case code == "AccessDeniedException", code == "AWSOrganizationsNotInUseException":
			return none, nil
		case err != nil:
			return none, awsconfig.Explain(ctx, "look for the account "+account, err)
		}
		if state := out.Account.State; state != "" && state != orgtypes.AccountStateActive {
			return none, &jit.Error{Attribute: "scope",
				Problem: fmt.Sprintf("the account %s is %s; nothing can be granted in it", account, state),
				Hint:    "grant in an account that is active"}
		}
		return none, nil
	})
	return err
}
