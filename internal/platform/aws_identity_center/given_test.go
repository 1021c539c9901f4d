package awsidentitycenter

import (
	"errors"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
)

// Policies judge a principal and a permission set by name and id, however the grant and the policy write them.
func TestPoliciesSeeNamesAndIDs(t *testing.T) {
	all := jit.Policy{Name: "all", Effect: jit.Permit}
	forbid := func(m jit.Match) jit.Policy {
		return jit.Policy{Name: "some", Effect: jit.Forbid, Match: jit.Matches{m}}
	}
	permit := func(m jit.Match) jit.Policy {
		return jit.Policy{Name: "some", Effect: jit.Permit, Match: jit.Matches{m}}
	}
	roles := func(globs ...string) jit.Match { return jit.Match{Roles: globs} }
	who := func(globs ...string) jit.Match { return jit.Match{Principals: globs} }
	for _, c := range []struct {
		policy          jit.Policy
		principal, role string
		permitted       bool
	}{
		{forbid(roles("Admin")), "user:alice@example.com", "Admin", false},
		{forbid(roles("Adm*")), "user:alice@example.com", admin, false},
		{forbid(roles(admin)), "user:alice@example.com", "Admin", false},
		{forbid(roles("Admin")), "user:alice@example.com", readOnly, true},
		{forbid(who("user:alice@*")), "user:" + aliceID, "ReadOnly", false},
		{forbid(who("user:" + aliceID)), "user:alice@example.com", "ReadOnly", false},
		{forbid(who("group:On call")), "group:" + oncallID, "ReadOnly", false},
		{forbid(who("user:alice@*")), "user:" + bobID, "ReadOnly", true},
		{jit.Policy{Name: "some", Effect: jit.Forbid, Condition: `grant.principal == "user:alice@example.com"`},
			"user:" + aliceID, "ReadOnly", false},
		{permit(who("user:*@example.com")), "user:" + aliceID, "ReadOnly", true},
		{permit(who("user:[!a]*")), "user:" + aliceID, "ReadOnly", false},
		{permit(roles("Read*")), "user:alice@example.com", readOnly, true},
		{permit(roles("Read*")), "user:alice@example.com", admin, false},
		{permit(roles(admin)), "user:alice@example.com", "Admin", true},
	} {
		s := newSite(t)
		policies := []jit.Policy{c.policy}
		if c.policy.Effect == jit.Forbid {
			policies = append(policies, all)
		}
		err := platformtest.Plan(t, s.open(t), jit.Binding{Principal: c.principal, Role: c.role, Scope: production},
			policies...)
		if c.permitted && err != nil || !c.permitted && !errors.Is(err, jit.ErrDenied) {
			t.Errorf("%s for %s by %+v: %v, want permitted %t", c.role, c.principal, c.policy, err, c.permitted)
		}
	}
}

// If the directory cannot be read, nothing is granted that a policy may forbid under another name.
func TestWhatCannotBeLookedUpIsNotGranted(t *testing.T) {
	s := newSite(t)
	s.with(func(m *model) { m.denied = map[string]bool{"DescribeUser": true} })
	b := jit.Binding{Principal: "user:" + aliceID, Role: "ReadOnly", Scope: production}
	all := jit.Policy{Name: "all", Effect: jit.Permit}
	bob := jit.Policy{Name: "bob", Effect: jit.Forbid, Match: jit.Matches{{Principals: []string{"user:bob@*"}}}}
	if err := platformtest.Apply(t, s.open(t), b, all, bob); err == nil {
		t.Error("a user that cannot be looked up was permitted although a policy may forbid it")
	}
	if err := platformtest.Plan(t, s.open(t), b, all); err != nil {
		t.Errorf("without a policy about principals: %v", err)
	}
}

// Names, ids and ARNs get the same verdict.
func TestSpellingsGetOneVerdict(t *testing.T) {
	s := newSite(t)
	var lists [][]jit.Binding
	for _, who := range [][]string{{"user:alice@example.com", "user:" + aliceID},
		{"group:On call", "group:" + oncallID}} {
		for _, role := range [][]string{{"Admin", admin}, {"ReadOnly", readOnly}} {
			var spellings []jit.Binding
			for _, name := range who {
				for _, set := range role {
					spellings = append(spellings, jit.Binding{Principal: name, Role: set, Scope: production})
				}
			}
			lists = append(lists, spellings)
		}
	}
	platformtest.Spellings(t, s.open(t), lists...)
}
