package azure

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/azuretest"
)

// A request stays in a status that is not known, or is pending for good. Apply and the next one end, and say which.
func TestARequestThatIsNeverDecided(t *testing.T) {
	for _, status := range []string{"HeldForInspection", "PendingProvisioning"} {
		s := newSite(t, pimAssignment)
		s.Stuck = status
		p := s.open(0)
		p.pace.patience = 300 * time.Millisecond
		begun := time.Now()
		err := s.apply(p, jit.Ensure, s.access(binding("user:"+alice), "stuck", time.Hour))
		if err == nil || !strings.Contains(err.Error(), "still "+status) || time.Since(begun) > 20*time.Second {
			t.Errorf("after %s: %v", time.Since(begun), err)
		}
	}
}

// Another process takes back a plain assignment that was made just now, while lists do not show it, or not its claim.
func TestAPlainAssignmentIsRemovedWhileListsLag(t *testing.T) {
	s := newSite(t, rbacAssignment)
	a, b := s.access(binding("user:"+alice), "a", time.Hour), s.access(binding("user:"+alice), "b", time.Hour)
	s.must(s.open(0), jit.Ensure, a)
	s.must(s.open(0), jit.Ensure, b)
	s.Advance(time.Second)
	s.Lag = 10 * time.Minute // lists show nothing yet
	if err := s.recorded(b); err == nil || !strings.Contains(err.Error(), "no assignment bears the marker") {
		t.Errorf("the removal of a grant whose claim is on the assignment of another: %v", err)
	}
	if err := s.recorded(a); err != nil {
		t.Error(err)
	}
	s.may(true, "by the grant that is left")
	s.Advance(10 * time.Minute)
	if err := s.recorded(b); err != nil {
		t.Error(err)
	}
	s.may(false, "after the removal of both")

	s = newSite(t, rbacAssignment)
	s.must(s.open(0), jit.Ensure, a)
	s.Advance(time.Hour / 2)
	s.must(s.open(0), jit.Ensure, b)
	s.Advance(time.Second)
	s.Lag = 10 * time.Minute // lists show the assignment without the claim of b
	for _, access := range []jit.Access{b, a} {
		s.may(true, "before "+access.Marker.String()+" is removed")
		if err := s.recorded(access); err != nil {
			t.Error(err)
		}
	}
	s.may(false, "after the removal of both")
}

// A process removes a plain assignment and dies before it records that, or somebody else removes it. The next removal
// succeeds at once: nothing bears the grant's name, and by the record it shared nothing.
func TestAPlainAssignmentIsGoneAlready(t *testing.T) {
	for name, takeAway := range map[string]func(s *site, a jit.Access){
		"by a removal":     func(s *site, a jit.Access) { s.must(s.open(0), jit.Remove, a) },
		"by somebody else": func(s *site, _ jit.Access) { s.Unassign("jit:") },
	} {
		s := newSite(t, rbacAssignment)
		a := s.access(binding("user:"+alice), "gone", 2*time.Hour)
		s.must(s.open(0), jit.Ensure, a)
		takeAway(s, a)
		remove := func(sole bool) error {
			return s.open(0).Apply(t.Context(), resourceGroup, []jit.Change{{Op: jit.Remove, Access: a, Held: true,
				Sole: func() bool { return sole }}})[0]
		}
		if err := remove(true); err != nil {
			t.Errorf("%s: the removal once more: %v", name, err)
		}
		if err := remove(false); err == nil || !strings.Contains(err.Error(), "no assignment bears the marker") {
			t.Errorf("%s: the removal of what the grant may have shared: %v", name, err)
		}
	}
}

// Azure names the type Unknown also of a principal that was made just now and that it does not know everywhere yet. The
// grant of such a principal lives. Cause 1 of
// https://learn.microsoft.com/azure/role-based-access-control/troubleshooting
func TestAPrincipalThatIsNotKnownEverywhereYet(t *testing.T) {
	for assignment, enforcement := range map[string]jit.Enforcement{pimAssignment: jit.Native,
		rbacAssignment: jit.Sweeper} {
		s := newSite(t, assignment)
		a := s.access(binding("user:"+alice), "new", 2*time.Hour)
		s.must(s.open(0), jit.Ensure, a)
		s.DeletePrincipal(alice) // from now on Azure names the type Unknown
		for _, later := range []time.Duration{time.Second, 9 * time.Minute} {
			s.Advance(later)
			if got := s.drift(a, enforcement); got != "" {
				t.Errorf("%s, %s later: drift %q, want none", assignment, later, got)
			}
		}
	}
	s := newSite(t, pimAssignment)
	s.AddPrincipal("Unknown", alice, 0)
	a := s.access(binding("user:"+alice), "new", 2*time.Hour)
	s.must(s.open(0), jit.Ensure, a)
	s.gives(0, 2*time.Hour, "although the answer to the request named no type")
}

// A process sees its own writes, whatever the lists show.
func TestAPlainAssignmentIsChangedWhileListsLag(t *testing.T) {
	s := newSite(t, rbacAssignment)
	s.Lag = 5 * time.Minute
	p := s.open(0)
	a, b := s.access(binding("user:"+alice), "a", time.Hour), s.access(binding("user:"+alice), "b", 2*time.Hour)
	for _, access := range []jit.Access{a, b} {
		s.must(p, jit.Ensure, access)
	}
	if snapshot, err := p.Read(t.Context(), resourceGroup); err != nil || len(snapshot.Ours) != 2 {
		t.Errorf("%+v, %v; want both grants", snapshot.Ours, err)
	}
	s.must(p, jit.Remove, a)
	s.may(true, "by the other grant")
	s.must(p, jit.Remove, b)
	s.may(false, "after both removals")
	_, before := s.Calls()
	s.must(p, jit.Ensure, b)
	s.may(true, "granted again")
	if _, after := s.Calls(); after != before+1 {
		t.Errorf("%d writes, want 1", after-before)
	}
}

// A removal has succeeded only once the plain assignment is gone, whatever Azure answers.
func TestAnAnswerIsNotTheRemovalOfAPlainAssignment(t *testing.T) {
	s := newSite(t, rbacAssignment)
	a := s.access(binding("user:"+alice), "stays", time.Hour)
	s.must(s.open(0), jit.Ensure, a)
	s.Fail(slices.Repeat([]azuretest.Fault{{Status: 204, Method: "DELETE"}}, 500)...)
	p := s.open(0)
	p.pace.recheck = 20 * time.Millisecond
	if err := s.apply(p, jit.Remove, a); err == nil || !strings.Contains(err.Error(), "still shows") {
		t.Errorf("the removal: %v", err)
	}
	s.Fail()
	s.must(s.open(0), jit.Remove, a)
	s.may(false, "after the removal")
}

// PIM takes the object id of a group for that of a user. What it gave is taken back, also before it begins.
func TestAGroupWrittenAsAUserGetsNothing(t *testing.T) {
	for name, in := range map[string]time.Duration{"begins at once": 0, "scheduled": time.Hour} {
		s := newSite(t, pimAssignment)
		s.Active = 0
		a, b := s.scheduled("group", in, time.Hour), s.scheduled("group too", in, time.Hour)
		a.Binding.Principal, b.Binding.Principal = "user:"+bob, "user:"+bob
		changes := []jit.Change{{Op: jit.Ensure, Access: a}, {Op: jit.Ensure, Access: b}}
		for _, err := range s.open(0).Apply(t.Context(), resourceGroup, changes) {
			if err == nil || !strings.Contains(err.Error(), `write principal = "group:`+bob) {
				t.Errorf("%s: %v", name, err)
			}
		}
		snapshot, err := s.open(0).Read(t.Context(), resourceGroup) // it has a request of the group
		if err != nil {
			t.Fatal(err)
		}
		if told := snapshot.Advise(t.Context(), a.Binding); len(told) != 1 || told[0].Attribute != "principal" ||
			!strings.Contains(told[0].Text, `write principal = "group:`+bob) {
			t.Errorf("%s: the next plan is told %+v", name, told)
		}
		for at := time.Duration(0); at < 3*time.Hour; at += time.Minute {
			if s.Allowed(bob, azuretest.Reader, resourceGroup, s.Now().Add(at)) {
				t.Fatalf("%s: in %s the group may read", name, at)
			}
		}
		if _, writes := s.Calls(); writes != 2 {
			t.Errorf("%s: %d writes, want one that gives and one that takes", name, writes)
		}
	}
}

// If PIM does not take back what a group got in place of a user, the error does not say that the grant gave nothing.
func TestWhatAGroupGotStays(t *testing.T) {
	s := newSite(t, pimAssignment)
	s.Active = 0
	a := s.access(binding("user:"+bob), "group", time.Hour)
	p := s.open(0)
	writes := 0
	p.OnCall = func(op string) {
		if op != "write" {
			return
		}
		if writes++; writes == 2 {
			s.Fail(slices.Repeat([]azuretest.Fault{{Status: 403, Code: "AuthorizationFailed", Method: "PUT"}}, 9)...)
		}
	}
	err := s.apply(p, jit.Ensure, a)
	var problem *jit.Error
	if !errors.As(err, &problem) || problem.Attribute != "" || errors.Is(err, jit.ErrRefused) ||
		!strings.Contains(err.Error(), "still there") {
		t.Errorf("the group keeps the access, and the error is %v", err)
	}
	if !s.Allowed(bob, azuretest.Reader, resourceGroup, s.Now()) {
		t.Error("the group has no access")
	}
}

// The grant of a principal that was deleted is over: it gives nobody access, is nothing critical, and can be ended.
// Object ids are unique for ever, so no other principal gets it.
func TestADeletedPrincipal(t *testing.T) {
	for assignment, enforcement := range map[string]jit.Enforcement{pimAssignment: jit.Native,
		rbacAssignment: jit.Sweeper} {
		s := newSite(t, assignment)
		a := s.access(binding("user:"+alice), "deleted", 2*time.Hour)
		s.must(s.open(0), jit.Ensure, a)
		s.Advance(20 * time.Minute)
		s.DeletePrincipal(alice)
		snapshot, err := s.open(0).Read(t.Context(), resourceGroup)
		if err != nil {
			t.Fatal(err)
		}
		g := jit.Grant{ID: a.Marker.ID, Owner: a.Marker.Owner, Binding: a.Binding, Window: a.Marker.Window,
			Enforcement: enforcement}
		if got := g.Differs(snapshot); got.Kind != jit.DriftGone {
			t.Errorf("%s: drift %+v, want %s", assignment, got, jit.DriftGone)
		}
		err = s.apply(s.open(0), jit.Ensure, s.access(binding("user:"+alice), "another", time.Hour))
		if err == nil || !strings.Contains(err.Error(), "no principal with the object id") {
			t.Errorf("%s: another grant: %v", assignment, err)
		}
		if err := s.recorded(a); err != nil {
			t.Errorf("%s: its end: %v", assignment, err)
		}
	}
}
