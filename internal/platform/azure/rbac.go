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

// rbac assigns roles plainly. The claims stand in the description of the assignment, which every
// writer replaces as a whole: the service has no means to write only what was not changed meanwhile. So
// who changes a description looks again after a while, and puts right what another writer undid. To create is safe: there is
// never a second assignment of the same key.
type rbac struct{ *client }

var _ manner = rbac{}

func (r rbac) read(ctx context.Context, scope string) (*view, error) {
	found, err := r.listAssignments(ctx, scope, here)
	if err != nil {
		return nil, err
	}
	v := &view{now: r.platform.lastClock().now(), slots: map[key]*slot{}}
	for _, a := range found {
		p := a.Properties
		if p == nil {
			continue
		}
		who, role := principalOf(p.PrincipalID, p.PrincipalType), baseName(p.RoleDefinitionID)
		claims, _, foreign := parseText(value(p.Description))
		detail := described(value(a.Name), value(p.Scope), scope)
		if strings.EqualFold(value(p.Scope), scope) {
			s := v.at(key{who.id, role}, who)
			s.there, s.claims, s.name, s.read, s.detail = true, claims, value(a.Name), time.Now(), detail
			if foreign && len(claims) > 0 {
				s.damage = append(s.damage, "its description was changed")
			}
			if value(p.Condition) != "" && len(claims) > 0 {
				s.damage = append(s.damage, "a condition was added to it")
			}
		}
		if len(claims) == 0 {
			v.standing = append(v.standing, access{who, role, detail})
		}
	}
	return v, nil
}

func (r rbac) settles() time.Duration { return r.platform.pace.settle }

func (rbac) differs(s *slot, want []claim) bool {
	return s.there != (len(want) > 0) || s.there && (len(without(want, s.claims)) > 0 || len(without(s.claims, want)) > 0 || len(s.damage) > 0)
}

func (rbac) fits(want []claim) error {
	if len(strings.Join(words(want, nil), " ")) <= longestDescription {
		return nil
	}
	return &jit.Error{Attribute: "role", Problem: fmt.Sprintf("%d grants of this role to this principal on this scope are live; the description of their assignment has no room for one more", len(want)-1),
		Hint: "extend one of them, or ask again when one has ended"}
}

func (r rbac) write(ctx context.Context, scope string, s *slot, want []claim) (sure bool, err error) {
	if s.there && time.Since(s.read) > r.platform.pace.settle/2 {
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
	name := s.name
	if fresh {
		name = assignmentName(scope, s.key, want[0])
	}
	description := strings.Join(words(want, nil), " ")
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

// assignmentName is the name of an assignment that is made for a claim: the same for the same, so that a
// repeated request makes none twice, and another for another key.
func assignmentName(scope string, k key, c claim) string {
	return uuid.NewHash(sha256.New(), uuid.Nil, []byte(strings.Join([]string{strings.ToLower(scope), k.principal, k.role, c.marker.Owner, string(c.marker.ID)}, "\n")), 8).String()
}
