package awsiam

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
)

// pageSize is how many entities one page of the bulk read holds. IAM allows no more.
const pageSize = 1000

// entity is a user, a group or a role as the bulk read returned it.
type entity struct {
	arn
	id       string            // AIDA… or AROA…; another one if the entity is made again
	created  time.Time         // a principal that is made again under its old name is a different one
	inline   map[string]string // documents by policy name
	attached map[string]string // ARNs of managed policies, by themselves
	groups   []string          // names of a user's groups
	trust    string            // document of a role
}

// account is everything that one bulk read of IAM returned. Apply guards it with mu.
type account struct {
	id       string // from the first entity; empty if there is none
	mu       sync.Mutex
	entities map[string]*entity // by ARN
	groups   map[string]*entity // by name
	policies map[string]string  // documents of the account's own managed policies, by ARN
	// source returns the document of a managed policy; "" if it is unknown.
	source func(named arn) string
}

func newAccount() *account {
	return &account{entities: map[string]*entity{}, groups: map[string]*entity{}, policies: map[string]string{},
		source: func(arn) string { return "" }}
}

// fetch reads the whole account, page by page. It leaves out the hundreds of policies of AWS itself: their documents
// are fetched when they are granted.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccountAuthorizationDetails.html
func (c *client) fetch(ctx context.Context) (*account, error) {
	a := newAccount()
	pages := iam.NewGetAccountAuthorizationDetailsPaginator(c.Client, &iam.GetAccountAuthorizationDetailsInput{
		Filter: []types.EntityType{types.EntityTypeUser, types.EntityTypeRole, types.EntityTypeGroup,
			types.EntityTypeLocalManagedPolicy},
		MaxItems: aws.Int32(pageSize),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, awsconfig.Explain(ctx, "read the account", err)
		}
		a.addPage(page)
	}
	return a, nil
}

func (a *account) addPage(page *iam.GetAccountAuthorizationDetailsOutput) {
	for _, d := range page.UserDetailList {
		a.add(d.Arn, d.CreateDate, d.UserPolicyList, d.AttachedManagedPolicies).groups = d.GroupList
	}
	for _, d := range page.GroupDetailList {
		g := a.add(d.Arn, d.CreateDate, d.GroupPolicyList, d.AttachedManagedPolicies)
		a.groups[g.name] = g
	}
	for _, d := range page.RoleDetailList {
		e := a.add(d.Arn, d.CreateDate, d.RolePolicyList, d.AttachedManagedPolicies)
		e.id = aws.ToString(d.RoleId)
		e.trust = unescape(d.AssumeRolePolicyDocument)
	}
	for _, d := range page.Policies {
		for _, v := range d.PolicyVersionList {
			if v.IsDefaultVersion {
				a.policies[aws.ToString(d.Arn)] = unescape(v.Document)
			}
		}
	}
}

func (a *account) add(name *string, created *time.Time, inline []types.PolicyDetail,
	attached []types.AttachedPolicy) *entity {
	e := &entity{created: aws.ToTime(created), inline: map[string]string{}, attached: map[string]string{}}
	e.arn, _ = parseARN(aws.ToString(name))
	e.text = aws.ToString(name)
	for _, p := range inline {
		e.inline[aws.ToString(p.PolicyName)] = unescape(p.PolicyDocument)
	}
	for _, p := range attached {
		e.attached[aws.ToString(p.PolicyArn)] = aws.ToString(p.PolicyArn)
	}
	a.entities[e.text] = e
	if a.id == "" {
		a.id = e.account
	}
	return e
}

// bearers returns the entities that have an inline policy or a trust statement of ours, by its name or Sid.
func (a *account) bearers() map[string][]*entity {
	all := map[string][]*entity{}
	for _, e := range a.sorted() {
		for name := range e.inline {
			if _, ours := markerOf(name); ours {
				all[name] = append(all[name], e)
			}
		}
		for _, sid := range sids(e.trust) {
			if _, ours := markerOfSid(sid); ours {
				all[sid] = append(all[sid], e)
			}
		}
	}
	return all
}

// sorted returns the entities in the order of their ARNs.
func (a *account) sorted() []*entity {
	return slices.SortedFunc(maps.Values(a.entities),
		func(x, y *entity) int { return strings.Compare(x.text, y.text) })
}

// holders returns the entities to which a managed policy is attached.
func (a *account) holders(policyARN string) []*entity {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(a.sorted(), func(e *entity) bool { return e.attached[policyARN] == "" })
}

// inlineSize is the size of all inline policies of an entity but one.
func (a *account) inlineSize(e *entity, but string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for name, document := range e.inline {
		if name != but {
			n += size(document)
		}
	}
	return n
}

// unescape decodes a document, which IAM sends escaped as in a URL (RFC 3986).
func unescape(document *string) string {
	text := aws.ToString(document)
	if !strings.HasPrefix(strings.TrimSpace(text), "{") {
		if plain, err := url.PathUnescape(text); err == nil {
			return plain
		}
	}
	return text
}
