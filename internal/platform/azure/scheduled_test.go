package azure

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/azuretest"
)

// scheduled is a grant to alice that begins later.
func (s *site) scheduled(why string, in, length time.Duration) jit.Access {
	a := s.access(binding("user:"+alice), why, length)
	a.Marker.Window = jit.Window{Start: a.Marker.Window.Start.Add(in), End: a.Marker.Window.End.Add(in)}
	return a
}

// gives fails the test unless the assignments as they stand give alice access exactly from one time from now to
// another; never if both are zero.
func (s *site) gives(from, until time.Duration, when string) {
	s.t.Helper()
	for at := time.Duration(0); at < 4*time.Hour; at += time.Minute {
		want := at >= from && at < until
		if got := s.Allowed(alice, azuretest.Reader, resourceGroup, s.Now().Add(at)); got != want {
			s.t.Errorf("%s: in %s access is %t, want %t", when, at, got, want)
			return
		}
	}
}

// Access that was revoked before it began never begins, whoever revokes it, and whatever the lists still show.
func TestAScheduledGrantIsRevoked(t *testing.T) {
	for name, prepare := range map[string]func(s *site){
		"prompt":      func(*site) {},
		"late lists":  func(s *site) { s.Lag = 15 * time.Minute },
		"old lists":   func(s *site) { s.Lag = time.Minute },
		"slow":        func(s *site) { s.Looks = 3 },
		"not found":   func(s *site) { s.Unfound = 3 },
		"moved":       func(s *site) { s.Moved = 20 * time.Second },
		"lost answer": func(s *site) { s.Fail(azuretest.Fault{Status: 504, Method: "POST", Lost: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, pimAssignment)
			prepare(s)
			a := s.scheduled("revoked", 9*time.Minute, 10*time.Minute)
			s.must(s.open(0), jit.Ensure, a)
			s.Advance(2 * time.Minute)
			_, before := s.Calls()
			s.must(s.open(0), jit.Remove, a)
			if _, after := s.Calls(); after-before > 4 {
				t.Errorf("the removal made %d writes", after-before)
			}
			s.gives(0, 0, "after the removal")
			if got := s.drift(a, jit.Native); got != jit.Missing {
				t.Errorf("drift %q, want %q", got, jit.Missing)
			}
			if found := s.standing(); len(found) > 0 {
				t.Errorf("standing access %+v", found)
			}
			again := s.scheduled("again", 9*time.Minute, 10*time.Minute) // while lists may show the old one
			s.must(s.open(0), jit.Ensure, again)
			s.must(s.open(0), jit.Remove, again)
			s.Advance(8 * time.Minute)
			s.must(s.open(0), jit.Ensure, s.access(binding("user:"+alice), "another", time.Hour))
			s.gives(0, time.Hour+s.Moved, "after another grant")
		})
	}
}

// A scheduled grant is repeated, extended, shortened and moved before it begins; the last change counts.
func TestAScheduledGrantIsChanged(t *testing.T) {
	s := newSite(t, pimAssignment)
	s.Looks = 2
	a := s.scheduled("changed", time.Hour, time.Hour)
	w := a.Marker.Window
	s.must(s.open(0), jit.Ensure, a)
	_, before := s.Calls()
	s.must(s.open(0), jit.Ensure, a)
	if _, after := s.Calls(); after > before {
		t.Errorf("the same grant again made %d writes", after-before)
	}
	for _, tt := range []struct{ from, until time.Duration }{
		{time.Hour, 3 * time.Hour}, {time.Hour, 90 * time.Minute}, {30 * time.Minute, time.Hour}, {0, 2 * time.Hour},
	} {
		a.Marker.Window = jit.Window{Start: w.Start.Add(tt.from - time.Hour), End: w.Start.Add(tt.until - time.Hour)}
		s.must(s.open(0), jit.Ensure, a)
		s.gives(tt.from, tt.until-time.Second, "after a change")
		if got := s.drift(a, jit.Native); got != "" {
			t.Errorf("from %s: drift %q, want none", tt.from, got)
		}
	}
}

// Of grants that wait together, one is revoked or refused, and the others stay.
func TestScheduledGrantsShareTheAssignment(t *testing.T) {
	s := newSite(t, pimAssignment)
	s.Limit(azuretest.Reader, 3*time.Hour)
	a, b := s.scheduled("a", time.Hour, time.Hour), s.scheduled("b", 90*time.Minute, time.Hour)
	s.must(s.open(0), jit.Ensure, a)
	s.must(s.open(0), jit.Ensure, b)
	s.gives(time.Hour, 150*time.Minute, "with two grants")
	if err := s.apply(s.open(0), jit.Ensure, s.scheduled("c", time.Hour, 4*time.Hour)); err == nil ||
		!strings.Contains(err.Error(), "ExpirationRule") {
		t.Errorf("a third grant that is too long: %v", err)
	}
	s.gives(time.Hour, 150*time.Minute, "after a grant that was refused")
	for _, access := range []jit.Access{a, b} {
		if got := s.drift(access, jit.Native); got != "" {
			t.Errorf("after a grant that was refused: drift %q, want none", got)
		}
	}
	s.must(s.open(0), jit.Remove, a)
	s.gives(90*time.Minute, 150*time.Minute, "after the removal of the first")
	s.must(s.open(0), jit.Ensure, s.access(binding("user:"+alice), "now", 100*time.Minute))
	s.gives(0, 150*time.Minute, "with one that begins now")
}

// When the grant that holds the assignment now is revoked, the next one begins at its own time.
func TestTheFirstOfTwoGrantsIsRevoked(t *testing.T) {
	s := newSite(t, pimAssignment)
	first, next := s.access(binding("user:"+alice), "first", time.Hour), s.scheduled("next", time.Hour, time.Hour)
	s.must(s.open(0), jit.Ensure, first)
	s.must(s.open(0), jit.Ensure, next)
	s.Advance(6 * time.Minute)
	s.must(s.open(0), jit.Remove, first)
	s.gives(54*time.Minute, 114*time.Minute, "after the removal of the first")
	if got := s.drift(next, jit.Native); got != "" {
		t.Errorf("drift %q, want none", got)
	}
}

// A grant that is revoked while another process changes the request that it shares does not come back with it.
func TestARemovalDuringAChange(t *testing.T) {
	s := newSite(t, pimAssignment)
	a, b := s.scheduled("a", time.Hour, time.Hour), s.scheduled("b", 30*time.Minute, time.Hour)
	s.must(s.open(0), jit.Ensure, a)
	s.must(s.open(0), jit.Ensure, b)
	changes := s.open(0)
	writes, removed := 0, make(chan error, 1)
	changes.OnCall = func(op string) {
		if op != "write" {
			return
		}
		if writes++; writes == 2 { // it has cancelled the request and asks again
			go func() {
				removed <- s.recorded(b)
			}()
			time.Sleep(200 * time.Millisecond)
		}
	}
	a.Marker.Window.End = a.Marker.Window.End.Add(time.Hour)
	s.must(changes, jit.Ensure, a)
	if err := <-removed; err != nil {
		t.Fatal(err)
	}
	s.gives(time.Hour, 3*time.Hour, "after the change and the removal")
}

// The access begins between the read and the write of a removal.
func TestItBeginsDuringARemoval(t *testing.T) {
	s := newSite(t, pimAssignment)
	a := s.scheduled("begins", time.Minute, time.Hour)
	s.must(s.open(0), jit.Ensure, a)
	p := s.open(0)
	p.OnCall = func(op string) {
		if op == "write" {
			s.Advance(2 * time.Minute)
		}
	}
	s.must(p, jit.Remove, a)
	s.gives(0, 0, "after the removal")
}

// Lists may lack an assignment that has just begun, long after its request.
func TestItHasJustBegun(t *testing.T) {
	s := newSite(t, pimAssignment)
	a := s.scheduled("begun", 24*time.Hour, time.Hour)
	s.must(s.open(0), jit.Ensure, a)
	s.Advance(24*time.Hour + time.Minute)
	s.Lag = 48 * time.Hour
	if got := s.drift(a, jit.Native); got != "" {
		t.Errorf("drift %q, want none", got)
	}
	s.may(true, "after its beginning")
}

// A removal succeeds only once the assignment is gone, whatever Azure answers, and gives up after some writes.
func TestAnAnswerIsNotARemoval(t *testing.T) {
	for name, in := range map[string]time.Duration{"begun": 0, "scheduled": time.Hour} {
		s := newSite(t, pimAssignment)
		a := s.scheduled("absent", in, 2*time.Hour)
		s.must(s.open(0), jit.Ensure, a)
		s.Advance(20 * time.Minute)
		absent := azuretest.Fault{Status: 400, Code: assignmentAbsent, Method: "PUT"}
		cannot := azuretest.Fault{Status: 400, Code: notCancellable, Method: "POST"}
		s.Fail(slices.Repeat([]azuretest.Fault{absent, cannot}, 500)...)
		_, before := s.Calls()
		if err := s.apply(s.open(0), jit.Remove, a); err == nil {
			t.Errorf("%s: the removal succeeded", name)
		}
		if _, after := s.Calls(); after-before > mostWrites {
			t.Errorf("%s: the removal made %d writes", name, after-before)
		}
		s.Fail()
		s.must(s.open(0), jit.Remove, a)
		s.gives(0, 0, name+": after the removal")
	}
}

// PIM forgets requests 45 days after they were made. A grant whose marker would vanish before its end is refused.
func TestAGrantOfTheFarFuture(t *testing.T) {
	s := newSite(t, pimAssignment)
	late := s.scheduled("late", 44*24*time.Hour+20*time.Hour, 8*time.Hour)
	err := s.apply(s.open(0), jit.Ensure, late)
	var user *jit.Error
	if !errors.As(err, &user) || user.Attribute != "expires_at" || user.Hint == "" {
		t.Errorf("a grant that ends in 45 days: %v", err)
	}
	target := broker.Broker{Ledger: &jittest.Ledger{}, Targets: map[string]jit.Platform{"prod": s.open(0)},
		Owner: "jit", MaxTTL: 24 * time.Hour, Now: s.Now}
	_, err = target.Preview(t.Context(), broker.Request{Binding: late.Binding, Reason: "INC-1: look", Renewal: 1,
		StartsAt: late.Marker.Window.Start, TTL: jit.RecordedTTL("8h")}, false)
	if !errors.As(err, &user) || user.Attribute != "starts_at" || user.Hint == "" {
		t.Errorf("its plan: %v", err)
	}
	if _, writes := s.Calls(); writes > 0 {
		t.Errorf("%d writes", writes)
	}
	a := s.scheduled("near", longest-8*time.Hour, 8*time.Hour)
	s.must(s.open(0), jit.Ensure, a)
	s.Advance(longest - time.Hour)
	if got := s.drift(a, jit.Native); got != "" {
		t.Errorf("in its last hour: drift %q, want none", got)
	}
	s.must(s.open(0), jit.Remove, a)
	s.gives(0, 0, "after the removal")
}

// The longest grant is given, however old the latest answer of Azure is, and if this machine is a little behind.
func TestTheLongestGrantIsGiven(t *testing.T) {
	for name, c := range map[string]struct{ sinceRead, offset time.Duration }{
		"seconds after a read": {5 * time.Second, 0},
		"days after a read":    {50 * time.Hour, 0},
		"a clock behind":       {0, 5*time.Second - jit.MaxSkew},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, pimAssignment)
			p := s.open(c.offset)
			if _, err := p.Read(t.Context(), resourceGroup); err != nil {
				t.Fatal(err)
			}
			s.Advance(c.sinceRead)
			s.must(p, jit.Ensure, s.access(binding("user:"+alice), "long", longest))
			s.may(true, "after the apply")
		})
	}
}

// A grant that joined an assignment keeps its marker when the request that made the assignment has vanished.
func TestAnAssignmentOutlivesItsFirstRequest(t *testing.T) {
	s := newSite(t, pimAssignment)
	const day = 24 * time.Hour
	s.must(s.open(0), jit.Ensure, s.access(binding("user:"+alice), "first", 30*day))
	s.Advance(20 * day)
	a := s.access(binding("user:"+alice), "second", 40*day)
	s.must(s.open(0), jit.Ensure, a)
	s.Advance(30 * day)
	if got := s.drift(a, jit.Native); got != "" {
		t.Errorf("drift %q, want none", got)
	}
	s.must(s.open(0), jit.Remove, a)
	s.gives(0, 0, "after the removal")
}

// A recorded grant whose request cannot be found is not taken for gone.
func TestAVanishedMarkerIsNoAbsence(t *testing.T) {
	s := newSite(t, pimAssignment)
	a := s.access(binding("user:"+alice), "vanished", 50*24*time.Hour)
	s.Admit(alice, azuretest.Reader, resourceGroup, a.Marker.String(), a.Marker.Window.End)
	s.Advance(46 * 24 * time.Hour)
	if err := s.recorded(a); err == nil || !strings.Contains(err.Error(), "no request of PIM") {
		t.Errorf("the removal of a recorded grant: %v", err)
	}
	s.must(s.open(0), jit.Remove, a) // by the record it was never there
	s.may(true, "which is not ours to end")
}

// recorded removes the access of a grant that the record says is there.
func (s *site) recorded(a jit.Access) error {
	s.t.Helper()
	return s.open(0).Apply(s.t.Context(), resourceGroup, []jit.Change{{Op: jit.Remove, Access: a, Held: true}})[0]
}

// Another process may not see a request for some minutes. It does not take the access for gone meanwhile.
func TestALateListOfRequests(t *testing.T) {
	for name, in := range map[string]time.Duration{"begun": 0, "scheduled": time.Hour} {
		s := newSite(t, pimAssignment)
		s.Lag, s.RequestLag = 9*time.Minute, 9*time.Minute
		p := s.open(0)
		a, b := s.scheduled("late", in, 2*time.Hour), s.scheduled("known", in, 2*time.Hour)
		s.must(p, jit.Ensure, a)
		s.Advance(6 * time.Minute)
		if err := s.recorded(a); err == nil || !strings.Contains(err.Error(), "no request of PIM") {
			t.Errorf("%s: the removal by another process: %v", name, err)
		}
		s.Advance(4 * time.Minute)
		if err := s.recorded(a); err != nil {
			t.Errorf("%s: the removal by another process, later: %v", name, err)
		}
		s.gives(0, 0, name+": after the removal")
		s.must(p, jit.Ensure, b)
		s.Advance(6 * time.Minute)
		s.must(p, jit.Remove, b)
		s.gives(0, 0, name+": after the removal by the process that made it")
	}
}

// The operator's role permits every action of the life of a grant, and an error names the one that is missing.
func TestTheOperatorsRole(t *testing.T) {
	role, err := os.ReadFile("operator.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, assignment := range []string{pimAssignment, rbacAssignment} {
		s := newSite(t, assignment)
		s.Active = 0
		now, later := s.access(binding("user:"+alice), "now", time.Hour), s.scheduled("later", time.Hour, time.Hour)
		later.Binding.Principal = "group:" + bob
		for _, op := range []jit.Op{jit.Ensure, jit.Remove} {
			s.must(s.open(0), op, now)
			s.must(s.open(0), op, later)
		}
		for _, action := range s.Done() {
			if !strings.Contains(string(role), `"`+action+`"`) {
				t.Errorf("%s: the role lacks %s", assignment, action)
			}
		}
	}
	const cancel = "Microsoft.Authorization/roleAssignmentScheduleRequests/cancel/action"
	s := newSite(t, pimAssignment)
	a := s.scheduled("waits", time.Hour, time.Hour)
	s.must(s.open(0), jit.Ensure, a)
	s.Deny(cancel)
	if err := s.apply(s.open(0), jit.Remove, a); err == nil || !strings.Contains(err.Error(), "add "+cancel) {
		t.Errorf("a removal without the action: %v", err)
	}
}
