package azure

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/azuretest"
)

// PIM begins and ends access some seconds beside the times that were asked for. That is no drift, and nothing writes
// the times again.
func TestMovedTimesAreNoDrift(t *testing.T) {
	for _, moved := range []time.Duration{-20 * time.Second, time.Second, 20 * time.Second} {
		for name, in := range map[string]time.Duration{"now": 0, "scheduled": time.Hour} {
			s := newSite(t, pimAssignment)
			s.Moved = moved
			a := s.scheduled(name, in, 3*time.Hour)
			s.must(s.open(0), jit.Ensure, a)
			_, before := s.Calls()
			for range 4 {
				if got := s.drift(a, jit.Native); got != "" {
					t.Errorf("%s, moved by %s: drift %q, want none", name, moved, got)
				}
				s.must(s.open(0), jit.Ensure, a)
				s.Advance(20*time.Minute - 5*time.Second) // once to a few seconds before the beginning
			}
			if _, after := s.Calls(); after > before {
				t.Errorf("%s, moved by %s: %d writes of what is there", name, moved, after-before)
			}
			a.Marker.Window.End = a.Marker.Window.End.Add(time.Hour)
			s.must(s.open(0), jit.Ensure, a)
			s.Advance(time.Hour)
			s.must(s.open(0), jit.Remove, a)
			s.gives(0, 0, "after the removal")
		}
	}
}

// Another end than ours comes back after each write: an apply gives up after some writes and says so.
func TestWritesThatDoNotHold(t *testing.T) {
	s := newSite(t, pimAssignment)
	s.Moved = 5 * time.Minute
	_, before := s.Calls()
	err := s.apply(s.open(0), jit.Ensure, s.access(binding("user:"+alice), "moved", time.Hour))
	_, after := s.Calls()
	if after-before > mostWrites {
		t.Errorf("%d writes", after-before)
	}
	if err != nil && !strings.Contains(err.Error(), "still shows") {
		t.Error(err)
	}
}

// PIM may not find a request that was made just now, and an answer may be lost. The grant succeeds.
func TestARequestIsNotFoundYet(t *testing.T) {
	for name, prepare := range map[string]func(s *site){
		"not found": func(s *site) { s.Unfound = 4 },
		"lost":      func(s *site) { s.Fail(azuretest.Fault{Status: 504, Method: "PUT", Lost: true}) },
		"lost for good": func(s *site) {
			s.Fail(slices.Repeat([]azuretest.Fault{{Status: 503, Method: "PUT", Lost: true}}, retries+1)...)
		},
		"lost, then not found": func(s *site) {
			s.Unfound = 4
			s.Fail(azuretest.Fault{Status: 504, Method: "PUT", Lost: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, pimAssignment)
			s.Looks = 2
			prepare(s)
			a := s.access(binding("user:"+alice), "made", time.Hour)
			s.must(s.open(0), jit.Ensure, a)
			s.gives(0, time.Hour, "after the grant")
			if got := s.drift(a, jit.Native); got != "" {
				t.Errorf("drift %q, want none", got)
			}
		})
	}
}

// PIM gives no access for a few minutes: neither a new assignment nor a changed one is tried again and again.
func TestTooShortForPIM(t *testing.T) {
	s := newSite(t, pimAssignment)
	a := s.access(binding("user:"+alice), "short", time.Hour)
	s.Active = 2 * time.Hour
	refused := func(when string) {
		t.Helper()
		_, before := s.Calls()
		err := s.apply(s.open(0), jit.Ensure, a)
		if err == nil || !strings.Contains(err.Error(), "for so short a time") ||
			strings.Contains(err.Error(), "take it back") {
			t.Errorf("%s: %v", when, err)
		}
		if _, after := s.Calls(); after-before > 1 {
			t.Errorf("%s: %d writes", when, after-before)
		}
	}
	refused("a new assignment")
	s.Active = 5 * time.Minute
	s.must(s.open(0), jit.Ensure, a)
	s.Active = 2 * time.Hour
	a.Marker.Window.End = a.Marker.Window.End.Add(time.Minute)
	refused("a changed assignment")
}

// Somebody else extends the assignment for a duration. It stays ours, its end was moved, and it can be removed.
func TestSomebodyExtendsTheAssignment(t *testing.T) {
	for written, lasts := range map[string]time.Duration{"PT24H": 24 * time.Hour, "P1D": 24 * time.Hour,
		"P1M": 30 * 24 * time.Hour} { // no fixed length: unreadable
		s := newSite(t, pimAssignment)
		a := s.access(binding("user:"+alice), "extended", time.Hour)
		s.must(s.open(0), jit.Ensure, a)
		s.Advance(50 * time.Minute)
		s.Extend(alice, azuretest.Reader, resourceGroup, written, lasts)
		for _, later := range []time.Duration{0, 15 * time.Minute, time.Hour} {
			s.Advance(later)
			s.may(true, "after the extension")
			if got := s.drift(a, jit.Native); got == "" || got == jit.Missing {
				t.Errorf("%s, later %s: drift %q, want a moved or missing end", written, later, got)
			}
		}
		s.must(s.open(0), jit.Remove, a)
		s.gives(0, 0, "after the removal")
	}
}

// An end that the requests do not tell, and the schedules do, counts.
func TestTheScheduleLastsLonger(t *testing.T) {
	s := newSite(t, pimAssignment)
	a := s.access(binding("user:"+alice), "longer", time.Hour)
	s.must(s.open(0), jit.Ensure, a)
	s.Advance(30 * time.Minute)
	s.Extend(alice, azuretest.Reader, resourceGroup, "PT30M", 24*time.Hour) // it counts from the old end
	s.Advance(time.Hour)
	s.may(true, "after the end that the requests tell")
	if got := s.drift(a, jit.Native); got == "" || got == jit.Missing {
		t.Errorf("drift %q, want a moved end", got)
	}
	s.must(s.open(0), jit.Remove, a)
	s.gives(0, 0, "after the removal")
}

// Lists may lack an assignment for longer than ten minutes.
func TestListsThatMissAnAssignment(t *testing.T) {
	s := newSite(t, pimAssignment)
	s.Lag = 2 * time.Hour
	a := s.access(binding("user:"+alice), "missed", 3*time.Hour)
	s.must(s.open(0), jit.Ensure, a)
	s.Advance(time.Hour)
	if got := s.drift(a, jit.Native); got != "" {
		t.Errorf("drift %q, want none", got)
	}
	s.must(s.open(0), jit.Ensure, a)
	s.must(s.open(0), jit.Remove, a)
	s.gives(0, 0, "after the removal")
}

// An older request of ours, on the same principal, role and scope, does not hide the access that somebody else gives.
func TestAnOlderRequestHidesNothing(t *testing.T) {
	give := map[string]func(s *site){
		"plain": func(s *site) {
			s.Assign("eeeeeeee-0000-4000-8000-000000000001", alice, azuretest.Reader, resourceGroup, "of old")
		},
		"with PIM": func(s *site) { s.Admit(alice, azuretest.Reader, resourceGroup, "because I can", time.Time{}) },
	}
	for name, prepare := range map[string]func(s *site){
		"ended": func(s *site) {
			s.must(s.open(0), jit.Ensure, s.access(binding("user:"+alice), "ours", time.Hour))
			s.Advance(61 * time.Minute)
		},
		"ended long ago": func(s *site) {
			s.must(s.open(0), jit.Ensure, s.access(binding("user:"+alice), "ours", time.Hour))
			s.Advance(20 * 24 * time.Hour)
		},
		"removed": func(s *site) {
			a := s.access(binding("user:"+alice), "ours", time.Hour)
			s.must(s.open(0), jit.Ensure, a)
			s.Advance(6 * time.Minute)
			s.must(s.open(0), jit.Remove, a)
			s.Advance(time.Second)
		},
		"cancelled": func(s *site) {
			a := s.scheduled("ours", time.Minute, time.Hour)
			s.must(s.open(0), jit.Ensure, a)
			s.must(s.open(0), jit.Remove, a)
			s.Advance(2 * time.Minute)
		},
	} {
		for how, do := range give {
			s := newSite(t, pimAssignment)
			prepare(s)
			do(s)
			s.may(true, "from somebody else")
			if found := s.standing(); len(found) != 1 {
				t.Errorf("ours has %s, theirs is %s: standing access is %+v", name, how, found)
			}
			err := s.apply(s.open(0), jit.Ensure, s.access(binding("user:"+alice), "new", time.Hour))
			if err == nil || !strings.Contains(err.Error(), "has this role") {
				t.Errorf("ours has %s, theirs is %s: a new grant: %v", name, how, err)
			}
			s.may(true, "from somebody else")
		}
	}
}

// A grant that waits does not hide access that somebody else gives meanwhile, which in turn does not hide the grant.
func TestAScheduledGrantHidesNothing(t *testing.T) {
	s := newSite(t, pimAssignment)
	a := s.scheduled("waits", time.Hour, time.Hour)
	s.must(s.open(0), jit.Ensure, a)
	s.Advance(2 * time.Second)
	s.Assign("eeeeeeee-0000-4000-8000-000000000001", alice, azuretest.Reader, resourceGroup, "of old")
	s.Advance(2 * time.Second)
	if found := s.standing(); len(found) != 1 {
		t.Errorf("standing access is %+v", found)
	}
	if got := s.drift(a, jit.Native); got != "" {
		t.Errorf("drift %q, want none", got)
	}
	s.must(s.open(0), jit.Remove, a)
	s.Unassign("of old")
	s.gives(0, 0, "after the removal of both")
}

// Azure may ask for a long pause. Apply waits for it, or says how long it is.
func TestALongPause(t *testing.T) {
	p, err := New(Config{}, jit.Services{Now: time.Now})
	if err != nil || p.pace.throttle < 10*time.Minute {
		t.Errorf("it waits for at most %s (%v)", p.pace.throttle, err)
	}
	s := newSite(t, pimAssignment)
	s.Fail(azuretest.Fault{Status: 429, Code: "TooManyRequests", RetryAfter: "1", Method: "PUT"})
	s.must(s.open(0), jit.Ensure, s.access(binding("user:"+alice), "waits", time.Hour))
	s.Fail(azuretest.Fault{Status: 429, Code: "TooManyRequests", RetryAfter: "900", Method: "PUT"})
	err = s.apply(s.open(0), jit.Ensure, s.access(binding("user:"+alice), "waits too", 2*time.Hour))
	if err == nil || !strings.Contains(err.Error(), "apply again in 15m") || strings.Contains(err.Error(), "tries") {
		t.Errorf("a pause of 15 minutes: %v", err)
	}
}

// A plan names what no grant on Azure can have: a condition, a name in place of an object id, an end too far ahead.
func TestPlansThatAreRefused(t *testing.T) {
	for _, tt := range []struct{ principal, role, says string }{
		{"user:" + alice, `Reader if resource.name == "a"`, "has a condition"},
		{"user:alice@example.com", "Reader", "az ad user show --query id --id alice@example.com"},
		{"group:payments", "Reader", "az ad group show --query id --group payments"},
		{"group:x'; rm -rf ~; '", "Reader", "az ad group show --query id --group NAME"},
		{"servicePrincipal:deploy", "Reader", "az ad sp show --query id --id deploy"},
	} {
		b := binding(tt.principal)
		b.Role = tt.role
		_, _, err := newSite(t, pimAssignment).open(0).Check(b)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s, %s: %v, want %q", tt.principal, tt.role, err, tt.says)
		}
	}
	if err := platformtest.Plan(t, newSite(t, pimAssignment).open(0), binding("user:"+alice)); err != nil {
		t.Errorf("a plan without fault: %v", err)
	}
}
