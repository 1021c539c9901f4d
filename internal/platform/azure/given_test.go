package azure

import (
	"errors"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/azuretest"
)

const ownerID = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"

// Policies judge a role by its name and its id, whichever of them the grant and the policy use.
func TestPoliciesSeeEveryNameOfARole(t *testing.T) {
	all := jit.Policy{Name: "all", Effect: jit.Permit}
	for _, c := range []struct {
		policy    jit.Policy
		role      string
		permitted bool
	}{
		{jit.Policy{Effect: jit.Forbid, Match: jit.Matches{{Roles: []string{"Owner"}}}}, "Owner", false},
		{jit.Policy{Effect: jit.Forbid, Match: jit.Matches{{Roles: []string{"Owner"}}}}, "owner", false},
		{jit.Policy{Effect: jit.Forbid, Match: jit.Matches{{Roles: []string{"Owner"}}}}, ownerID, false},
		{jit.Policy{Effect: jit.Forbid, Match: jit.Matches{{Roles: []string{"Owner"}}}},
			subscription + definitions + strings.ToUpper(ownerID), false},
		{jit.Policy{Effect: jit.Forbid, Match: jit.Matches{{Roles: []string{"Own*"}}}}, ownerID, false},
		{jit.Policy{Effect: jit.Forbid, Match: jit.Matches{{Roles: []string{ownerID}}}}, "Owner", false},
		{jit.Policy{Effect: jit.Forbid, Match: jit.Matches{{Roles: []string{"*" + definitions + ownerID}}}},
			"Owner", false},
		{jit.Policy{Effect: jit.Forbid, Condition: `grant.role == "Owner"`}, ownerID, false},
		{jit.Policy{Effect: jit.Forbid, Condition: `grant.role == "` + ownerID + `"`}, "Owner", false},
		{jit.Policy{Effect: jit.Forbid, Condition: `grant.role == "Owner"`}, "owner", false},
		{jit.Policy{Effect: jit.Forbid, Match: jit.Matches{{Roles: []string{"Owner"}}}}, "Reader", true},
		{jit.Policy{Effect: jit.Permit, Match: jit.Matches{{Roles: []string{"Owner"}}}}, ownerID, true},
		{jit.Policy{Effect: jit.Permit, Match: jit.Matches{{Roles: []string{ownerID}}}}, "Owner", true},
		{jit.Policy{Effect: jit.Permit, Match: jit.Matches{{Roles: []string{"[!O]*"}}}}, ownerID, false},
		{jit.Policy{Effect: jit.Permit, Match: jit.Matches{{Roles: []string{"8e3af657-*"}}}}, "Owner", false},
		{jit.Policy{Effect: jit.Permit, Condition: `grant.role != "Owner"`}, ownerID, false},
	} {
		s := newSite(t, pimAssignment)
		s.AddRole(ownerID, "Owner")
		b := binding("user:" + alice)
		b.Role = c.role
		c.policy.Name = "some"
		policies := []jit.Policy{c.policy}
		if c.policy.Effect == jit.Forbid {
			policies = append(policies, all)
		}
		err := platformtest.Plan(t, s.open(0), b, policies...)
		if c.permitted && err != nil || !c.permitted && !errors.Is(err, jit.ErrDenied) && !wrongCase(err) {
			t.Errorf("%s by %+v: %v, want permitted %t", c.role, c.policy, err, c.permitted)
		}
	}
}

// wrongCase reports whether the role was refused because Azure spells it in another case.
func wrongCase(err error) bool {
	var refused *jit.Error
	return errors.As(err, &refused) && strings.Contains(refused.Hint, `role = "Owner"`)
}

// Names are looked up only for policies that need them. A role whose names cannot be looked up is not granted.
func TestNamesAreLookedUpOnlyWhereTheyCount(t *testing.T) {
	s := newSite(t, pimAssignment)
	s.AddRole(ownerID, "Owner")
	b := binding("user:" + alice)
	b.Role = ownerID
	calls := func() int { reads, writes := s.Calls(); return reads + writes }
	all := jit.Policy{Name: "all", Effect: jit.Permit}
	if err := platformtest.Plan(t, s.open(0), b, all); err != nil || calls() != 0 {
		t.Errorf("without a policy about roles: %v after %d calls", err, calls())
	}
	never := jit.Policy{Name: "never", Effect: jit.Forbid, Match: jit.Matches{{Roles: []string{ownerID}}}}
	if err := platformtest.Plan(t, s.open(0), b, all, never); !errors.Is(err, jit.ErrDenied) || calls() != 0 {
		t.Errorf("forbidden by the written name: %v after %d calls", err, calls())
	}
	s.Deny("Microsoft.Authorization/roleDefinitions/read")
	contributor := jit.Policy{Name: "never", Effect: jit.Forbid, Match: jit.Matches{{Roles: []string{"Contributor"}}}}
	if err := platformtest.Apply(t, s.open(0), b, all, contributor); err == nil ||
		!strings.Contains(err.Error(), "a policy may forbid") {
		t.Errorf("a failed look-up with a policy that may forbid the role: %v", err)
	}
	if err := platformtest.Plan(t, s.open(0), b, all, contributor); err != nil {
		t.Errorf("the plan, which only warns: %v", err)
	}
	elsewhere := contributor
	elsewhere.Match = jit.Matches{{Roles: []string{"Contributor"}, Scopes: []string{"/subscriptions/22222222-*"}}}
	if err := platformtest.Plan(t, s.open(0), b, all, elsewhere); err != nil {
		t.Errorf("a failed look-up with a policy about other scopes: %v", err)
	}
}

// Every spelling of a role, a scope and a principal gets the same verdict.
func TestSpellingsGetOneVerdict(t *testing.T) {
	s := newSite(t, pimAssignment)
	s.AddRole(ownerID, "Owner")
	var lists [][]jit.Binding
	for _, role := range [][]string{{"Owner", ownerID, definitions + ownerID,
		strings.ToUpper(subscription + definitions + ownerID)}, {"Reader", azuretest.Reader}} {
		var spellings []jit.Binding
		for _, name := range role {
			for _, scope := range []string{resourceGroup, strings.ToUpper(resourceGroup), resourceGroup + "/"} {
				for _, who := range []string{alice, strings.ToUpper(alice)} {
					spellings = append(spellings, jit.Binding{Principal: "user:" + who, Role: name, Scope: scope})
				}
			}
		}
		lists = append(lists, spellings)
	}
	platformtest.Spellings(t, s.open(0), lists...)
}
