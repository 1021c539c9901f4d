package azure

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/google/uuid"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// longestDescription is how many characters of claims a description takes; more than 512 are advised against, which is
// more than four grants: https://learn.microsoft.com/azure/role-based-access-control/conditions-faq
const longestDescription = 2000

// rbac assigns roles plainly. The claims stand in the description of the assignment, which every writer replaces as a
// whole: the service has no means to write only what was not changed meanwhile. So who changes a description looks
// again after a while, and puts right what another writer undid. To create is safe: there is never a second assignment
// of the same key.
type rbac struct{ *client }

var _ assigner = rbac{}

func (r rbac) read(ctx context.Context, scope string) (*view, error) {
	found, err := r.listAssignments(ctx, scope, here)
	if err != nil {
		return nil, err
	}
	v := &view{now: r.platform.serviceNow(), slots: map[key]*slot{}}
	for _, a := range found {
		p := a.Properties
		if p == nil {
			continue
		}
		who := principalOf(p.PrincipalID, p.PrincipalType)
		k := key{who.id, baseName(p.RoleDefinitionID)}
		said := parseText(value(p.Description))
		detail := described(value(a.Name), value(p.Scope), scope)
		maker, ours := madeFor(value(p.Scope), k, value(a.Name), said)
		if !ours && len(said.claims) > 0 {
			detail += ", whose description claims that it is a grant's, but its name is not that of one"
		}
		if strings.EqualFold(value(p.Scope), scope) {
			s := v.at(k, who)
			s.there, s.name, s.read, s.detail = true, value(a.Name), time.Now(), detail
			if ours {
				s.claims, s.maker = said.claims, maker
			}
			if said.foreign && ours {
				s.damage = append(s.damage, "its description was changed")
			}
			if value(p.Condition) != "" && ours {
				s.damage = append(s.damage, "a condition was added to it")
			}
		}
		if !ours {
			v.standing = append(v.standing, access{who: who, role: k.role, detail: detail, from: above(p.Scope, scope), marker: firstMarker(said.claims)})
		}
	}
	return v, nil
}

func (r rbac) recheckAfter() time.Duration { return r.platform.pace.recheck }

func (rbac) differs(s *slot, want []claim) bool {
	return s.there != (len(want) > 0) || s.there && (len(without(want, s.claims)) > 0 || len(without(s.claims, want)) > 0 || len(s.damage) > 0)
}

func (rbac) fits(want []claim) error {
	if len(describe(want, jit.Marker{Owner: want[0].marker.Owner, ID: want[0].marker.ID}))+len(makerMark+named(want[0].marker)) < longestDescription {
		return nil
	}
	return &jit.Error{Attribute: "role", Problem: fmt.Sprintf("%d grants of this role to this principal on this scope are live; the description of their assignment has no room for one more", len(want)-1),
		Hint: "extend one of them, or ask again when one has ended"}
}

func (r rbac) write(ctx context.Context, scope string, s *slot, want []claim) (sure bool, err error) {
	if s.there && time.Since(s.read) > r.platform.pace.recheck/2 {
		return false, race(errSlow) // who wrote meanwhile may have looked again already
	}
	if len(want) == 0 {
		_, err := r.assignments.Delete(ctx, scope, s.name, nil)
		if isGone(err) {
			err = nil
		}
		return false, err
	}
	want = slices.SortedFunc(slices.Values(want), func(a, b claim) int { return strings.Compare(a.String(), b.String()) })
	fresh := !s.there
	name, maker := s.name, s.maker
	if fresh {
		maker = want[0].marker
		name = assignmentName(scope, s.key, maker)
	}
	description := describe(want, maker)
	kind := principalTypes[s.who.kind]
	parameters := armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{
		PrincipalID: &s.principal, PrincipalType: &kind, RoleDefinitionID: definitionID(scope, s.role), Description: &description,
	}}
	_, err = patiently(ctx, r.platform, func() (armauthorization.RoleAssignmentsClientCreateResponse, error) {
		return r.assignments.Create(ctx, scope, name, parameters, nil)
	})
	switch codeOf(err) {
	case assignmentExists, updateNotPermitted:
		// Somebody made it meanwhile, or made it anew under another name.
		return false, race(err)
	}
	return fresh, err
}

// describe writes the claims on an assignment, and for which grant it was made where that is none of them.
func describe(claims []claim, maker jit.Marker) string {
	all := words(claims, nil)
	if !slices.ContainsFunc(claims, func(c claim) bool { return c.is(maker) }) {
		all = append(all, makerMark+named(maker))
	}
	return strings.Join(all, " ")
}

// assignmentName is the name of an assignment that is made for a grant: the same for the same, so that a
// repeated request makes none twice, and another for another key.
func assignmentName(scope string, k key, m jit.Marker) string {
	return uuid.NewHash(sha256.New(), uuid.Nil, []byte(strings.Join([]string{strings.ToLower(scope), k.principal, k.role, m.Owner, string(m.ID)}, "\n")), 8).String()
}

// madeFor returns the grant for which an assignment with claims was made; ok is false when its name says that it was
// made by somebody else. A description proves nothing: Azure lets whoever may write assignments, and not delete them,
// write it on one that exists. A name cannot be changed, and nobody finds a grant to fit one that exists.
func madeFor(scope string, k key, name string, said text) (m jit.Marker, ok bool) {
	if len(said.claims) == 0 {
		return jit.Marker{}, false
	}
	makers := []jit.Marker{said.maker}
	for _, c := range said.claims {
		makers = append(makers, c.marker)
	}
	for _, m := range makers {
		if strings.EqualFold(assignmentName(scope, k, m), name) {
			return m, true
		}
	}
	return jit.Marker{}, false
}

// firstMarker is the marker of the first claim; zero without any.
func firstMarker(claims []claim) jit.Marker {
	if len(claims) == 0 {
		return jit.Marker{}
	}
	return claims[0].marker
}
