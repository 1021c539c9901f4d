package azure

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/azuretest"
)

// A writer with an old read undoes the write of another one, which reads again and repairs it.
func TestAnUndoneClaimIsRepaired(t *testing.T) {
	s := newSite(t, rbacAssignment)
	a, b, c := s.access(binding("user:"+alice), "a", time.Hour), s.access(binding("user:"+alice), "b", time.Hour),
		s.access(binding("user:"+alice), "c", time.Hour)
	s.must(s.open(0), jit.Ensure, a)
	slow := s.open(0)
	came := false
	slow.OnCall = func(op string) {
		if op != "write" || came {
			return
		}
		came = true // after the read of slow
		go func() { _ = s.apply(s.open(0), jit.Ensure, c) }()
		time.Sleep(100 * time.Millisecond)
	}
	s.must(slow, jit.Ensure, b)
	deadline := time.Now().Add(10 * time.Second)
	for _, x := range []jit.Access{a, b, c} {
		for s.drift(x, jit.Sweeper) != "" {
			if time.Now().After(deadline) {
				t.Fatalf("drift %q of %s, want all three claims", s.drift(x, jit.Sweeper), x.Marker)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	if !came {
		t.Fatal("no other writer interfered")
	}
}

// Two writers that create the same assignment create one with both claims.
func TestTwoWritersCreateTheSame(t *testing.T) {
	for assignment, enforcement := range map[string]jit.Enforcement{pimAssignment: jit.Native,
		rbacAssignment: jit.Sweeper} {
		s := newSite(t, assignment)
		a, b := s.access(binding("user:"+alice), "a", time.Hour), s.access(binding("user:"+alice), "b", 2*time.Hour)
		p := s.open(0)
		came := false
		p.OnCall = func(op string) {
			if op == "write" && !came {
				came = true
				s.must(s.open(0), jit.Ensure, b)
			}
		}
		s.must(p, jit.Ensure, a)
		for _, x := range []jit.Access{a, b} {
			if got := s.drift(x, enforcement); got != "" {
				t.Errorf("%s: drift %q, want none", assignment, got)
			}
		}
		if !came {
			t.Fatal("no other writer interfered")
		}
	}
}

// A description has room for several grants of the longest owner; the next one is refused with the reason.
func TestADescriptionIsFull(t *testing.T) {
	s := newSite(t, rbacAssignment)
	var changes []jit.Change
	for i := range 30 {
		a := s.access(binding("user:"+alice), strings.Repeat("x", i+1), time.Hour)
		a.Marker.Owner = strings.Repeat("p", 32)
		changes = append(changes, jit.Change{Op: jit.Ensure, Access: a})
	}
	errs := s.open(0).Apply(t.Context(), resourceGroup, changes)
	made := slices.Index(errs, errs[len(errs)-1])
	for i, err := range errs {
		switch {
		case err == nil && i > 16, err != nil && i < 17:
			t.Errorf("grant %d of 30: %v", i+1, err)
		case err != nil && !strings.Contains(err.Error(), "no room for one more"):
			t.Errorf("grant %d: %v, want the reason", i+1, err)
		}
	}
	s.may(true, "afterwards")
	if snapshot, err := s.open(0).Read(t.Context(), resourceGroup); err != nil || len(snapshot.Ours) != 17 {
		t.Errorf("%d claims (%v, %d), want 17", len(snapshot.Ours), err, made)
	}
}

// A grant may write a role as its id; Read then returns the id.
func TestARoleByItsID(t *testing.T) {
	for assignment, enforcement := range map[string]jit.Enforcement{pimAssignment: jit.Native,
		rbacAssignment: jit.Sweeper} {
		s := newSite(t, assignment)
		p := s.open(0)
		byID := binding("user:" + alice)
		byID.Role = subscription + definitions + azuretest.Reader
		byID, _, err := p.Check(byID)
		if err != nil {
			t.Fatal(err)
		}
		a := s.access(byID, "by id", time.Hour)
		s.must(p, jit.Ensure, a)
		s.may(true, "after the grant")
		if got := s.drift(a, enforcement); got != "" {
			t.Errorf("%s: drift %q, want none", assignment, got)
		}
		s.Assign("eeeeeeee-0000-4000-8000-000000000002", robot, azuretest.Reader, subscription, "of old")
		snapshot, err := p.Read(t.Context(), resourceGroup)
		if err != nil {
			t.Fatal(err)
		}
		standing := byID
		standing.Principal = "servicePrincipal:" + robot
		if found, ok := snapshot.StandingOf(standing); !ok || !strings.Contains(found.Detail, "on "+subscription) {
			t.Errorf("%s: the standing access is %+v, want that of the subscription", assignment, snapshot.Standing)
		}
	}
}

// Without configured scopes, Scopes returns every subscription and each scope below with a grant of ours.
func TestScopes(t *testing.T) {
	const quiet = "/subscriptions/22222222-0000-4000-8000-000000000000"
	for _, assignment := range []string{pimAssignment, rbacAssignment} {
		s := newSite(t, assignment)
		s.AddScope(quiet, quiet+"/resourceGroups/idle")
		s.PageSize = 1
		s.must(s.open(0), jit.Ensure, s.access(binding("user:"+alice), "one", time.Hour))
		s.must(s.open(0), jit.Ensure, s.access(binding("group:"+bob), "another", time.Hour))
		got, err := s.open(0).Scopes(t.Context())
		if want := []string{subscription, resourceGroup, quiet}; err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", assignment, got, err, want)
		}
		got, err = s.open(0, "/subscriptions/33333333-0000-4000-8000-000000000000").Scopes(t.Context())
		if err != nil || len(got) != 1 || got[0] != "/subscriptions/33333333-0000-4000-8000-000000000000" {
			t.Errorf("%s: with a scope configured %q, %v", assignment, got, err)
		}
	}
}
