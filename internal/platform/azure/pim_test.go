package azure

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/azuretest"
)

// PIM does not take an assignment back in its first five minutes: Remove waits for them to pass.
func TestRemoveInTheFirstFiveMinutes(t *testing.T) {
	s := newSite(t, pimAssignment)
	p := s.open(0)
	a := s.access(binding("user:"+alice), "early", time.Hour)
	s.must(p, jit.Ensure, a)
	s.may(true, "after the grant")
	s.Advance(2 * time.Minute)
	done := make(chan error, 1)
	go func() { done <- s.apply(p, jit.Remove, a) }()
	select {
	case err := <-done:
		t.Fatalf("Remove after two minutes returned %v, want it to wait", err)
	case <-time.After(300 * time.Millisecond):
	}
	s.may(true, "while it waits")
	s.Advance(3 * time.Minute)
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("Remove after five minutes: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Remove still waits after five minutes")
	}
	s.may(false, "after the removal")
}

// An interrupted wait is an error with the reason; the access counts as present.
func TestRemoveIsInterrupted(t *testing.T) {
	s := newSite(t, pimAssignment)
	a := s.access(binding("user:"+alice), "early", time.Hour)
	s.must(s.open(0), jit.Ensure, a)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p, writes := s.open(0), 0
	p.OnCall = func(op string) {
		if op == "write" {
			if writes++; writes == 2 { // PIM has refused the first
				cancel()
			}
		}
	}
	err := p.Apply(ctx, a.Binding.Scope, []jit.Change{{Op: jit.Remove, Access: a}})[0]
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "PIM does not take it back") {
		t.Errorf("got %v, want the error of the context with the reason", err)
	}
	s.may(true, "after the attempt")
	if got := s.drift(a, jit.Native); got != "" {
		t.Errorf("drift %q, want none", got)
	}
}

// An ended grant leaves nothing: its removal makes no request, and Read does not return it.
func TestItEndsByItself(t *testing.T) {
	s := newSite(t, pimAssignment)
	a := s.access(binding("user:"+alice), "ends", 10*time.Minute)
	s.must(s.open(0), jit.Ensure, a)
	s.Advance(9*time.Minute + 50*time.Second)
	s.may(true, "in the last seconds")
	s.Lag = 5 * time.Minute // the lists still have it
	s.Advance(20 * time.Second)
	s.may(false, "after the end")
	snapshot, err := s.open(0).Read(t.Context(), resourceGroup)
	if err != nil || len(snapshot.Ours) > 0 || len(snapshot.Standing) > 0 {
		t.Errorf("after the end: %+v, %v; want nothing", snapshot, err)
	}
	_, before := s.Calls()
	s.must(s.open(0), jit.Remove, a)
	if _, after := s.Calls(); after != before {
		t.Errorf("the removal of an ended grant made %d writes", after-before)
	}
	again := s.access(binding("user:"+alice), "again", time.Hour)
	s.must(s.open(0), jit.Ensure, again)
	s.may(true, "after another grant")
}

// The shorter of two overlapping grants ends on time, and the longer one stays.
func TestOverlappingGrantsShareTheAssignment(t *testing.T) {
	s := newSite(t, pimAssignment)
	short, long := s.access(binding("user:"+alice), "short", 10*time.Minute),
		s.access(binding("user:"+alice), "long", time.Hour)
	s.must(s.open(0), jit.Ensure, long)
	s.must(s.open(0), jit.Ensure, short)
	for _, a := range []jit.Access{short, long} {
		if got := s.drift(a, jit.Native); got != "" {
			t.Errorf("drift %q, want none", got)
		}
	}
	s.Advance(11 * time.Minute)
	_, before := s.Calls()
	s.must(s.open(0), jit.Remove, short)
	if _, after := s.Calls(); after != before {
		t.Errorf("the removal of the short one, which has ended, made %d writes", after-before)
	}
	s.may(true, "after the end of the short one")
	if got := s.drift(long, jit.Native); got != "" {
		t.Errorf("drift of the long one %q, want none", got)
	}
	if got := s.drift(short, jit.Native); got != jit.Missing {
		t.Errorf("drift of the short one %q, want %q", got, jit.Missing)
	}
	s.must(s.open(0), jit.Ensure, s.access(binding("user:"+alice), "longest", 3*time.Hour))
	s.must(s.open(0), jit.Remove, jit.Access{Binding: long.Binding, Marker: long.Marker})
	s.Advance(2 * time.Hour)
	s.may(true, "within the longest, after the long one was revoked")
	s.Advance(2 * time.Hour)
	s.may(false, "after the end of all")
}

// When the longest grant is revoked, the access ends with the remaining one.
func TestRevokingTheLongestShortensIt(t *testing.T) {
	s := newSite(t, pimAssignment)
	short, long := s.access(binding("user:"+alice), "short", 10*time.Minute),
		s.access(binding("user:"+alice), "long", time.Hour)
	s.must(s.open(0), jit.Ensure, long)
	s.must(s.open(0), jit.Ensure, short)
	s.Advance(6 * time.Minute)
	s.must(s.open(0), jit.Remove, long)
	s.may(true, "within the short one")
	s.Advance(5 * time.Minute)
	s.may(false, "after the end of the short one, with nothing running")
}

// A removal that races with a new claim gives the assignment back.
func TestAClaimDuringARemoval(t *testing.T) {
	s := newSite(t, pimAssignment)
	s.Active = 0
	a, b := s.access(binding("user:"+alice), "a", time.Hour), s.access(binding("user:"+alice), "b", 2*time.Hour)
	p := s.open(0)
	s.must(p, jit.Ensure, a)
	other := s.open(0)
	came := false
	p.OnCall = func(op string) {
		if op == "write" && !came {
			came = true
			s.must(other, jit.Ensure, b)
		}
	}
	s.must(p, jit.Remove, a)
	if !came {
		t.Fatal("no other writer interfered")
	}
	s.may(true, "after the removal, with another grant made meanwhile")
	if got := s.drift(b, jit.Native); got != "" {
		t.Errorf("drift %q, want none", got)
	}
	if got := s.drift(a, jit.Native); got != jit.Missing {
		t.Errorf("drift of the removed grant %q, want %q", got, jit.Missing)
	}
}

// The marker lasts as long as the grant. When the requests of an assignment have vanished, it is not ours.
func TestRequestsVanish(t *testing.T) {
	s := newSite(t, pimAssignment)
	a := s.access(binding("user:"+alice), "long", longest)
	s.must(s.open(0), jit.Ensure, a)
	s.Advance(longest - time.Hour)
	if got := s.drift(a, jit.Native); got != "" {
		t.Errorf("in the last hour of the longest grant: drift %q, want none", got)
	}
	s.must(s.open(0), jit.Remove, a)
	s.may(false, "after the removal")

	b := s.access(binding("group:"+bob), "theirs", longest)
	s.must(s.open(0), jit.Ensure, b)
	s.Move(bob, azuretest.Reader, resourceGroup, s.Now().Add(100*24*time.Hour))
	s.Advance(46 * 24 * time.Hour)
	if got := s.drift(b, jit.Native); got != jit.Missing {
		t.Errorf("drift of a grant without requests %q, want %q", got, jit.Missing)
	}
	before := s.Dump(func(string) bool { return true })
	if err := s.apply(s.open(0), jit.Ensure, s.access(binding("group:"+bob), "new", time.Hour)); err == nil ||
		!strings.Contains(err.Error(), "has this role on") {
		t.Errorf("a grant of existing access: %v, want a refusal", err)
	}
	if after := s.Dump(func(string) bool { return true }); after != before {
		t.Errorf("the assignment changed to\n%s\nfrom\n%s", after, before)
	}
}

// Azure moves ends while it provides assignments, and its lists lag. Neither is drift.
func TestMovedEndsAndLateListsAreNoDrift(t *testing.T) {
	for _, moved := range []time.Duration{-20 * time.Second, 20 * time.Second} {
		s := newSite(t, pimAssignment)
		s.Moved, s.Lag, s.Looks = moved, 3*time.Minute, 3
		a := s.access(binding("user:"+alice), "moved", 2*time.Hour)
		s.must(s.open(0), jit.Ensure, a)
		for range 4 {
			if got := s.drift(a, jit.Native); got != "" {
				t.Errorf("moved by %s: drift %q, want none", moved, got)
			}
			s.Advance(20 * time.Minute)
		}
		s.must(s.open(0), jit.Remove, a)
		if got := s.drift(a, jit.Native); got != jit.Missing {
			t.Errorf("moved by %s: drift after the removal %q, want %q", moved, got, jit.Missing)
		}
		snapshot, err := s.open(0).Read(t.Context(), resourceGroup)
		if err != nil || len(snapshot.Standing) > 0 {
			t.Errorf("after the removal %+v is standing access (%v)", snapshot.Standing, err)
		}
	}
}

// A removal without a request shows once the lists are current.
func TestRemovedWithoutARequest(t *testing.T) {
	s := newSite(t, pimAssignment)
	a := s.access(binding("user:"+alice), "around", time.Hour)
	s.must(s.open(0), jit.Ensure, a)
	s.Unschedule(alice, azuretest.Reader, resourceGroup)
	s.Advance(lag + time.Minute)
	if got := s.drift(a, jit.Native); got != jit.Missing {
		t.Errorf("drift %q, want %q", got, jit.Missing)
	}
	s.must(s.open(0), jit.Ensure, a)
	s.may(true, "after the repair")
	s.Unschedule(alice, azuretest.Reader, resourceGroup)
	s.must(s.open(0), jit.Ensure, jit.Access{Binding: a.Binding,
		Marker: jit.Marker{Owner: a.Marker.Owner, ID: a.Marker.ID,
			Window: jit.Window{Start: a.Marker.Window.Start, End: a.Marker.Window.End.Add(time.Hour)}}})
	s.may(true, "after another end was requested at once")
}

// One assignment cannot hold two windows with a gap between them.
func TestAGapIsRefused(t *testing.T) {
	s := newSite(t, pimAssignment)
	first, later := s.access(binding("user:"+alice), "first", time.Hour),
		s.access(binding("user:"+alice), "later", time.Hour)
	later.Marker.Window.Start = later.Marker.Window.Start.Add(2 * time.Hour)
	later.Marker.Window.End = later.Marker.Window.End.Add(2 * time.Hour)
	s.must(s.open(0), jit.Ensure, first)
	err := s.apply(s.open(0), jit.Ensure, later)
	var user *jit.Error
	if !errors.As(err, &user) || user.Attribute != "starts_at" || user.Hint == "" {
		t.Fatalf("got %v, want an error about starts_at", err)
	}
	s.Advance(90 * time.Minute)
	s.may(false, "between the two")
	s.must(s.open(0), jit.Ensure, later)
	s.may(false, "before its beginning")
	s.Advance(40 * time.Minute)
	s.may(true, "within its window, with nothing running")
}

// A short grant that is made late is refused with the reason; it is not lengthened.
func TestTooLateForPIM(t *testing.T) {
	s := newSite(t, pimAssignment)
	a := s.access(binding("user:"+alice), "late", 6*time.Minute)
	s.Advance(2 * time.Minute)
	err := s.apply(s.open(0), jit.Ensure, a)
	var user *jit.Error
	if !errors.As(err, &user) || user.Attribute != "expires_at" || !strings.Contains(err.Error(), "less than 5m") {
		t.Errorf("got %v, want an error about expires_at", err)
	}
	s.may(false, "afterwards")
}

// Check returns the limits of each way to assign.
func TestTraits(t *testing.T) {
	for assignment, want := range map[string]jit.Traits{
		pimAssignment: {Enforcement: jit.Native, NativeStart: true, SessionTail: 10 * time.Minute,
			MinTTL: 5 * time.Minute, MaxTTL: 44 * 24 * time.Hour, MaxAhead: 44 * 24 * time.Hour},
		rbacAssignment: {Enforcement: jit.Sweeper, SessionTail: 10 * time.Minute},
	} {
		_, got, err := newSite(t, assignment).open(0).Check(binding("user:" + alice))
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", assignment, got, err, want)
		}
	}
}

// A request that another process makes during a read is not taken for somebody else's assignment.
func TestARequestDuringARead(t *testing.T) {
	s := newSite(t, pimAssignment)
	a, other := s.access(binding("user:"+alice), "one", time.Hour),
		s.access(binding("user:"+alice), "another", time.Hour)
	made := make(chan struct{})
	between := sync.OnceFunc(func() {
		s.must(s.open(0), jit.Ensure, other)
		close(made)
	})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		list := r.Method == http.MethodGet && strings.Contains(r.URL.RawQuery, "filter")
		requests := strings.HasSuffix(r.URL.Path, "/roleAssignmentScheduleRequests")
		if list && !requests {
			select { // if this list came after the requests, the other grant would be made between them
			case <-made:
			case <-time.After(200 * time.Millisecond):
			}
		}
		s.ServeHTTP(w, r)
		if list && requests {
			between()
		}
	}))
	defer front.Close()
	p, err := New(Config{Assignment: s.assignment, Endpoint: front.URL}, jit.Services{Now: s.Now})
	if err != nil {
		t.Fatal(err)
	}
	p.pace = pace{tick: 20 * time.Millisecond, recheck: 800 * time.Millisecond, replication: 50 * time.Millisecond,
		patience: 30 * time.Second, throttle: 2 * time.Second}
	s.must(p, jit.Ensure, a)
	select {
	case <-made:
	default:
		t.Fatal("the requests were not listed")
	}
	for _, access := range []jit.Access{a, other} {
		if drift := s.drift(access, jit.Native); drift != "" {
			t.Errorf("drift %q, want none", drift)
		}
	}
}

// The expiration type of a request decides whether its date or its duration is the end.
func TestTheEndOfARequest(t *testing.T) {
	from := time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC)
	soon := from.Add(time.Hour)
	for _, tt := range []struct {
		at       *time.Time
		kind     armauthorization.Type
		duration string
		want     time.Time
	}{
		{&soon, armauthorization.TypeAfterDateTime, "", soon},
		{&soon, armauthorization.TypeNoExpiration, "", time.Time{}},
		{&soon, armauthorization.TypeAfterDuration, "PT8H", from.Add(8 * time.Hour)},
		{&soon, armauthorization.TypeAfterDuration, "P1Y", time.Time{}},
		{nil, armauthorization.TypeNoExpiration, "", time.Time{}},
	} {
		h := &history{slot: &slot{end: from.Add(time.Minute)}}
		if h.expire(tt.at, tt.kind, tt.duration, from); !h.end.Equal(tt.want) {
			t.Errorf("%s %q ends at %s, want %s", tt.kind, tt.duration, h.end, tt.want)
		}
	}
}
