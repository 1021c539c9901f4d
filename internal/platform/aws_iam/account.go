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

// pageSize is how many entities one request of the bulk read asks for; it is the most that IAM takes.
const pageSize = 1000

// entity is a user, a group or a role as it was read.
type entity struct {
	arn
	id       string // AIDA…, AGPA…, AROA…: another for one that is made anew under the same name
	created  time.Time
	inline   map[string]string // documents by the name of their policy
	attached map[string]bool   // ARNs of managed policies
	groups   []string          // names, of a user
	trust    string            // document, of a role
}

// managed is a managed policy of the account as it was read.
type managed struct {
	arn
	document string // of the default version
	versions []types.PolicyVersion
}

// account is all of IAM that was read at once. It is guarded by mu while changes are made.
type account struct {
	id       string
	mu       sync.Mutex
	entities map[string]*entity  // by ARN
	policies map[string]*managed // those of the account, by ARN
}

// fetch reads the whole account, page by page. The policies of AWS itself are left out: they are
// hundreds, and their documents are fetched one by one where they are granted.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccountAuthorizationDetails.html
func (c *client) fetch(ctx context.Context) (*account, error) {
	a := &account{entities: map[string]*entity{}, policies: map[string]*managed{}}
	pages := iam.NewGetAccountAuthorizationDetailsPaginator(c.Client, &iam.GetAccountAuthorizationDetailsInput{
		Filter:   []types.EntityType{types.EntityTypeUser, types.EntityTypeRole, types.EntityTypeGroup, types.EntityTypeLocalManagedPolicy},
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

func (a *account) add(name, id *string, created *time.Time, inline []types.PolicyDetail, attached []types.AttachedPolicy) *entity {
	e := &entity{id: aws.ToString(id), created: aws.ToTime(created), inline: map[string]string{}, attached: map[string]bool{}}
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

// bearers returns the entities with an inline policy or a trust statement of ours, by its name or Sid.
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

// memory keeps what this process wrote for as long as reads may show what was before it.
type memory struct {
	mu     sync.Mutex
	writes map[memo]write
}

// memo names one thing that is written: an inline policy (entity and name), an attachment (entity and
// the policy's ARN), a managed policy (its ARN) or a statement of a trust policy (role and Sid).
type memo struct{ what, on, name string }

const (
	inlinePolicy  = "inline"
	attachment    = "attachment"
	managedPolicy = "managed"
	trustPolicy   = "trust"
)

// write is what was there after a write, and before it and those of ours that it followed closely; empty where nothing was.
type write struct {
	at    time.Time
	were  []string
	wrote string
}

// covers reports whether a read that shows this may be older than the write.
func (w write) covers(is string) bool { return is != w.wrote && slices.Contains(w.were, is) }

// note remembers a write.
func (p *Platform) note(m memo, was, wrote string) {
	p.written.mu.Lock()
	defer p.written.mu.Unlock()
	if p.written.writes == nil {
		p.written.writes = map[memo]write{}
	}
	w := write{p.now(), []string{was}, wrote}
	if earlier, ok := p.written.writes[m]; ok && w.at.Sub(earlier.at) < p.settle {
		w.were = append(append(w.were, earlier.wrote), earlier.were...)
		slices.Sort(w.were)
		w.were = slices.Compact(w.were)
	}
	p.written.writes[m] = w
}

// overlay puts into what was read the writes that it may be too old for: those of the last minute of
// which it still shows what was there before.
func (p *Platform) overlay(a *account) {
	p.written.mu.Lock()
	defer p.written.mu.Unlock()
	for m, w := range p.written.writes {
		if p.now().Sub(w.at) >= p.settle {
			delete(p.written.writes, m)
			continue
		}
		if w.covers(a.get(m)) {
			a.put(m, w.wrote)
		}
	}
}

// recent puts into a role's trust policy, as it was read, the statements that it may be too old for.
func (p *Platform) recent(role arn, trust string) string {
	p.written.mu.Lock()
	defer p.written.mu.Unlock()
	for m, w := range p.written.writes {
		if m.what != trustPolicy || m.on != role.text || p.now().Sub(w.at) >= p.settle || !w.covers(ownStatement(trust, m.name)) {
			continue
		}
		if changed, err := replaceStatement(trust, m.name, w.wrote); err == nil {
			trust = changed
		}
	}
	return trust
}

// get is what is known of a thing; empty when it is not there.
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

// put keeps what a thing is now; empty when it is not there any more.
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
		return // it is gone, and what was on it
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
