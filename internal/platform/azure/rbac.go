package azure

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/google/uuid"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// assignment is a role assignment.
type assignment = armauthorization.RoleAssignment

// longestDescription is the most characters of claims in a description. Azure advises against more than 512, which
// hold only four grants: https://learn.microsoft.com/azure/role-based-access-control/conditions-faq
const longestDescription = 2000

// rbac makes plain role assignments. The description of an assignment bears the claims. Every writer replaces it as a
// whole, and Azure has no conditional write. So a writer reads the description again after a while and repairs what
// another writer undid. Creating is safe: Azure never holds two assignments of the same key.
type rbac struct{ *client }

var _ assigner = rbac{}

func (r rbac) read(ctx context.Context, scope string) (*view, error) {
	found, err := r.listAssignments(ctx, scope, new(here))
	if err == nil {
		found, err = r.correct(ctx, scope, found)
	}
	if err != nil {
		return nil, err
	}
	v := newView(scope, r.platform.serviceNow())
	for _, a := range found {
		v.addAssignment(a)
	}
	return v.name(), nil
}

// written is what this process last wrote on an assignment; empty if it deleted it.
type written struct {
	description string
	at          time.Time
}

// remember keeps a write for as long as lists may lack it.
func (p *Platform) remember(scope, name, description string) {
	at := p.serviceNow()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wrote[scope] == nil {
		p.wrote[scope] = map[string]written{}
	}
	p.wrote[scope][strings.ToLower(name)] = written{description, at}
}

// remembered returns the writes that lists may lack, by the names of the assignments.
func (p *Platform) remembered(scope string) map[string]written {
	now := p.serviceNow()
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.wrote[scope], func(_ string, w written) bool { return now.Sub(w.at) > lag })
	return maps.Clone(p.wrote[scope])
}

// correct asks for each assignment that the list has in another form than this process wrote it.
func (r rbac) correct(ctx context.Context, scope string, listed []*assignment) ([]*assignment, error) {
	byName := map[string]*assignment{}
	wrote := r.platform.remembered(scope)
	for _, a := range listed {
		if len(wrote) > 0 && strings.EqualFold(value(a.Properties.Scope), scope) {
			byName[baseName(a.Name)] = a
		}
	}
	for name, w := range wrote {
		a := byName[name]
		if a == nil && w.description == "" || a != nil && value(a.Properties.Description) == w.description {
			continue
		}
		found, err := r.find(ctx, scope, name)
		if err != nil {
			return nil, err
		}
		listed = slices.DeleteFunc(listed, func(old *assignment) bool { return old == a })
		if found != nil {
			listed = append(listed, found)
		}
	}
	return listed, nil
}

// find returns an assignment by its name, also if lists lack it yet; nil if there is none.
func (r rbac) find(ctx context.Context, scope, name string) (*assignment, error) {
	found, err := r.assignments.Get(ctx, scope, name, nil)
	if isGone(err) || err == nil && found.Properties == nil {
		return nil, nil
	}
	return &found.RoleAssignment, explain(ctx, "look for the role assignment "+name, err)
}

// seek asks for the assignment that was made for the grant, and for the one that the list has in its place. If there is
// neither, a grant that shared nothing is gone. A list that is too old to have the one that a grant joined proves
// nothing.
func (r rbac) seek(ctx context.Context, v *view, j *job) error {
	if j.who.id == "" {
		return nil // known by its marker alone
	}
	role, err := r.roleID(ctx, v.scope, j.role)
	if errors.Is(err, jit.ErrUnknown) {
		return nil // Azure deletes no role that is assigned
	}
	if err != nil {
		return err
	}
	k := key{j.who.id, role}
	names := []string{assignmentName(v.scope, k, j.claim.marker)}
	if s := v.slots[k]; s != nil && s.there && s.name != names[0] {
		names = append(names, s.name)
	}
	for _, name := range names {
		found, err := r.find(ctx, v.scope, name)
		if err != nil {
			return err
		}
		if found != nil {
			delete(v.slots, k)
			v.addAssignment(found)
			return nil
		}
	}
	if j.held && v.now.Sub(j.claim.marker.Window.Start) < lag && (j.sole == nil || !j.sole()) {
		return unmentioned(j.who, v.scope, "no assignment bears") // it may bear the name of another grant
	}
	return nil
}

// addAssignment adds a plain assignment, which is ours if its name proves its claims.
func (v *view) addAssignment(a *assignment) {
	p := a.Properties
	who, k := v.holder(p.PrincipalID, p.PrincipalType, p.RoleDefinitionID)
	said := parseText(value(p.Description))
	maker, ours := madeFor(value(p.Scope), k, value(a.Name), said)
	detail := v.describe(a.Name, p.Scope)
	if !ours {
		other := jit.Standing{Detail: detail}
		if len(said.claims) > 0 {
			other.Detail += ", whose description claims to be a grant's, but whose name is not that of a grant"
			other.Marker = said.claims[0].marker
		}
		v.addForeign(p.Scope, who, k, other, nil)
	}
	if !v.on(p.Scope) {
		return
	}
	s := v.at(k, who)
	s.there, s.name, s.text = true, value(a.Name), value(p.Description)
	s.written = later(value(p.CreatedOn), value(p.UpdatedOn))
	if !ours {
		return
	}
	s.claims, s.maker, s.detail = said.claims, maker, detail
	if said.foreign {
		s.damage = append(s.damage, "its description was changed")
	}
	if value(p.Condition) != "" {
		s.damage = append(s.damage, "a condition was added to it")
	}
}

func (r rbac) recheckAfter() time.Duration { return r.platform.pace.recheck }

func (rbac) differs(s *slot, want []claim) bool {
	return s.there != (len(want) > 0) || s.there && (!equal(want, s.claims) || len(s.damage) > 0)
}

func (rbac) fits(want []claim) error {
	first := want[0].marker
	if len(describe(want, first))+len(" "+makerMark+named(first)) < longestDescription {
		return nil
	}
	return &jit.Error{Attribute: "role", Hint: "extend one of them, or ask again when one has ended",
		Problem: fmt.Sprintf("%d grants of this role to this principal on this scope are live; "+
			"the description of their assignment has no room for one more", len(want)-1)}
}

func (r rbac) write(ctx context.Context, scope string, s *slot, want []claim) (sure bool, err error) {
	if s.there {
		if err = r.isCurrent(ctx, scope, s); err != nil {
			return false, err
		}
	}
	if len(want) == 0 {
		r.platform.remember(scope, s.name, "")
		if _, err = r.assignments.Delete(ctx, scope, s.name, nil); isGone(err) {
			err = nil
		}
		return false, err
	}
	want = slices.SortedFunc(slices.Values(want), func(a, b claim) int { return cmp.Compare(a.String(), b.String()) })
	name, maker := s.name, s.maker
	if !s.there {
		maker = want[0].marker
		name = assignmentName(scope, s.key, maker)
	}
	r.platform.remember(scope, name, describe(want, maker))
	properties := &armauthorization.RoleAssignmentProperties{
		PrincipalID: &s.principal, PrincipalType: new(principalTypes[s.who.kind]),
		RoleDefinitionID: definitionID(scope, s.role), Description: new(describe(want, maker)),
	}
	_, err = patiently(ctx, r.platform, func() (armauthorization.RoleAssignmentsClientCreateResponse, error) {
		return r.assignments.Create(ctx, scope, name,
			armauthorization.RoleAssignmentCreateParameters{Properties: properties}, nil)
	})
	switch codeOf(err) {
	case assignmentExists, updateNotPermitted: // somebody else has created it, perhaps under another name
		err = race(errors.Join(err, r.learn(ctx, scope, err)))
	}
	return !s.there, err
}

// existing finds the name of the assignment that is in the way of a new one, without hyphens, in Azure's message. An
// answer without it is one of a list that lags: the next reads show the assignment in time.
var existing = regexp.MustCompile(`ID of the existing role assignment is ([0-9a-fA-F]{32})`)

// learn asks for the assignment that a refusal names: lists may lack it for some time, and the next read must not.
func (r rbac) learn(ctx context.Context, scope string, refusal error) error {
	m := existing.FindStringSubmatch(said(refusal))
	if m == nil {
		return nil
	}
	id, err := uuid.Parse(m[1])
	if err != nil {
		return err
	}
	found, err := r.find(ctx, scope, id.String())
	if err == nil && found != nil {
		r.platform.remember(scope, id.String(), value(found.Properties.Description))
	}
	return err
}

// isCurrent asks for the assignment of a slot just before it is written: a list may be old, and what others wrote since
// then would be lost. A read that took long is no base either: a writer since then may have done its second read
// already. The error wraps errRace if the slot must be read again.
func (r rbac) isCurrent(ctx context.Context, scope string, s *slot) error {
	began := time.Now()
	found, err := r.find(ctx, scope, s.name)
	if err != nil {
		return err
	}
	is := ""
	if found != nil {
		is = value(found.Properties.Description)
	}
	if is != s.text {
		r.platform.remember(scope, s.name, is) // so that the next read does not trust the list either
		return race(errOld)
	}
	if time.Since(began) > r.platform.pace.recheck/2 {
		return race(errOld)
	}
	return nil
}

// describe writes the claims on an assignment, and the grant that it was made for unless that is one of them.
func describe(claims []claim, maker jit.Marker) string {
	all := words(claims, nil)
	if !holds(claims, maker) {
		all = append(all, makerMark+named(maker))
	}
	return strings.Join(all, " ")
}

// assignmentName is the name of an assignment that is made for a grant. It depends on nothing else, so that a repeated
// request does not create a second assignment, and differs for each key.
func assignmentName(scope string, k key, m jit.Marker) string {
	seed := strings.Join([]string{strings.ToLower(scope), k.principal, k.role, m.Owner, string(m.ID)}, "\n")
	return uuid.NewHash(sha256.New(), uuid.Nil, []byte(seed), 8).String()
}

// madeFor returns the grant that an assignment with claims was made for; ok is false if its name shows that somebody
// else made it. A description proves nothing: Azure lets identities that may write assignments, and not delete them,
// describe any existing assignment. A name cannot be changed, and nobody can find a grant for an existing name.
func madeFor(scope string, k key, name string, said text) (m jit.Marker, ok bool) {
	for _, c := range append([]claim{{marker: said.maker}}, said.claims...) {
		if strings.EqualFold(assignmentName(scope, k, c.marker), name) {
			return c.marker, len(said.claims) > 0
		}
	}
	return jit.Marker{}, false
}
