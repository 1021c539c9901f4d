package awsiam

import (
	"context"
	"net/url"
	"slices"
	"sort"
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

// entity is a user, a group or a role as it was read.
type entity struct {
	arn
	id       string // AIDA…, AGPA…, AROA…: an entity that is made again under the same name has another
	created  time.Time
	inline   map[string]string // documents by policy name
	attached map[string]bool   // ARNs of managed policies
	groups   []string          // names of the groups of a user
	trust    string            // document of a role
}

// managed is a managed policy of the account, as it was read.
type managed struct {
	arn
	document string // the default version's
	versions []types.PolicyVersion
}

// account is everything that one bulk read of IAM returned. Apply guards it with mu.
type account struct {
	id       string
	mu       sync.Mutex
	entities map[string]*entity  // by ARN
	policies map[string]*managed // the account's own, by ARN
}

// fetch reads the whole account, page by page. It leaves out the hundreds of policies of AWS itself: their documents
// are fetched when they are granted.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccountAuthorizationDetails.html
func (c *client) fetch(ctx context.Context) (*account, error) {
	a := &account{entities: map[string]*entity{}, policies: map[string]*managed{}}
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
		for _, d := range page.UserDetailList {
			e := a.add(d.Arn, d.UserId, d.CreateDate, d.UserPolicyList, d.AttachedManagedPolicies)
			e.groups = d.GroupList
		}
		for _, d := range page.GroupDetailList {
			a.add(d.Arn, d.GroupId, d.CreateDate, d.GroupPolicyList, d.AttachedManagedPolicies)
		}
		for _, d := range page.RoleDetailList {
			e := a.add(d.Arn, d.RoleId, d.CreateDate, d.RolePolicyList, d.AttachedManagedPolicies)
			e.trust = unescape(d.AssumeRolePolicyDocument)
		}
		for _, d := range page.Policies {
			m := &managed{versions: d.PolicyVersionList}
			m.arn, _ = parseARN(aws.ToString(d.Arn))
			for _, v := range d.PolicyVersionList {
				if v.IsDefaultVersion {
					m.document = unescape(v.Document)
				}
			}
			a.policies[aws.ToString(d.Arn)] = m
		}
	}
	return a, nil
}

func (a *account) add(name, id *string, created *time.Time, inline []types.PolicyDetail,
	attached []types.AttachedPolicy) *entity {
	e := &entity{id: aws.ToString(id), created: aws.ToTime(created), inline: map[string]string{},
		attached: map[string]bool{}}
	e.arn, _ = parseARN(aws.ToString(name))
	e.text = aws.ToString(name)
	for _, p := range inline {
		e.inline[aws.ToString(p.PolicyName)] = unescape(p.PolicyDocument)
	}
	for _, p := range attached {
		e.attached[aws.ToString(p.PolicyArn)] = true
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
	all := make([]*entity, 0, len(a.entities))
	for _, e := range a.entities {
		all = append(all, e)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].text < all[j].text })
	return all
}

// holders returns the entities to which a managed policy is attached.
func (a *account) holders(policyARN string) []*entity {
	var all []*entity
	for _, e := range a.sorted() {
		if e.attached[policyARN] {
			all = append(all, e)
		}
	}
	return all
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

// memory keeps our writes for as long as a read may miss them.
type memory struct {
	mu     sync.Mutex
	writes map[memo]write
}

// memo names what a write changes: an inline policy (entity and name), an attachment (entity and policy ARN), a managed
// policy (its ARN) or a statement of a trust policy (role and Sid).
type memo struct{ what, on, name string }

const (
	inlinePolicy  = "inline"
	attachment    = "attachment"
	managedPolicy = "managed"
	trustPolicy   = "trust"
)

// write is one write: what it wrote, and what was there before it and before the writes that it followed closely. Empty
// means nothing.
type write struct {
	at    time.Time
	were  []string
	wrote string
}

// covers reports whether a read that shows this value may be older than the write.
func (w write) covers(is string) bool { return is != w.wrote && slices.Contains(w.were, is) }

// note remembers a write.
func (p *Platform) note(m memo, was, wrote string) {
	p.written.mu.Lock()
	defer p.written.mu.Unlock()
	if p.written.writes == nil {
		p.written.writes = map[memo]write{}
	}
	w := write{p.now(), []string{was}, wrote}
	if earlier, ok := p.written.writes[m]; ok && w.at.Sub(earlier.at) < p.settling {
		w.were = append(append(w.were, earlier.wrote), earlier.were...)
		slices.Sort(w.were)
		w.were = slices.Compact(w.were)
	}
	p.written.writes[m] = w
}

// overlay replaces what was read with what we have written since, wherever the read still shows an earlier value.
func (p *Platform) overlay(a *account) {
	p.written.mu.Lock()
	defer p.written.mu.Unlock()
	for m, w := range p.written.writes {
		if p.now().Sub(w.at) >= p.settling {
			delete(p.written.writes, m)
			continue
		}
		if w.covers(a.get(m)) {
			a.put(m, w.wrote)
		}
	}
}

// recent is overlay for the trust policy of one role.
func (p *Platform) recent(role arn, trust string) string {
	p.written.mu.Lock()
	defer p.written.mu.Unlock()
	for m, w := range p.written.writes {
		if m.what != trustPolicy || m.on != role.text || p.now().Sub(w.at) >= p.settling ||
			!w.covers(ownStatement(trust, m.name)) {
			continue
		}
		if changed, err := replaceStatement(trust, m.name, w.wrote); err == nil {
			trust = changed
		}
	}
	return trust
}

// get returns what is known of a thing, or "" if it is absent.
func (a *account) get(m memo) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.what == managedPolicy {
		if found := a.policies[m.on]; found != nil {
			return found.document
		}
		return ""
	}
	e := a.entities[m.on]
	switch {
	case e == nil:
	case m.what == inlinePolicy:
		return e.inline[m.name]
	case m.what == attachment && e.attached[m.name]:
		return m.name
	case m.what == trustPolicy:
		return ownStatement(e.trust, m.name)
	}
	return ""
}

// put replaces what is known of a thing. "" means that it is absent.
func (a *account) put(m memo, value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.what == managedPolicy {
		if value == "" {
			delete(a.policies, m.on)
			return
		}
		found := a.policies[m.on]
		if found == nil {
			found = &managed{}
			found.arn, _ = parseARN(m.on)
			a.policies[m.on] = found
		}
		found.document = value
		return
	}
	e := a.entities[m.on]
	if e == nil {
		return // it is gone with everything on it
	}
	switch m.what {
	case inlinePolicy:
		e.inline[m.name] = value
		if value == "" {
			delete(e.inline, m.name)
		}
	case attachment:
		e.attached[m.name] = true
		if value == "" {
			delete(e.attached, m.name)
		}
	case trustPolicy:
		if changed, err := replaceStatement(e.trust, m.name, value); err == nil {
			e.trust = changed
		}
	}
}
