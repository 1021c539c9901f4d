package azure

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/azuretest"
)

const forged = "jit:zzz:3f2b8c1e-0000-8000-8000-000000000000:20250101T000000Z:20250101T000100Z"

// standing is the standing access of alice on the resource group, with nothing recorded.
func (s *site) standing() []jit.Standing {
	s.t.Helper()
	snapshot, err := s.open(0).Read(s.t.Context(), resourceGroup)
	if err != nil {
		s.t.Fatal(err)
	}
	all := (jit.Records{Now: s.Now(), MaxTTL: 24 * time.Hour}).Standing(snapshot, resourceGroup)
	var found []jit.Standing
	for _, a := range all {
		if a.Principal == "user:"+alice {
			found = append(found, a)
		}
	}
	return found
}

// A description that claims to be a grant's hides nothing, and has nothing removed: who may write assignments may not
// always delete them.
func TestADescriptionProvesNothing(t *testing.T) {
	const theirs = "eeeeeeee-0000-4000-8000-000000000001"
	s := newSite(t, rbacAssignment)
	s.Assign(theirs, alice, azuretest.Reader, resourceGroup, "break glass")
	mine := s.access(binding("user:"+alice), "mine", time.Hour)
	for _, description := range []string{forged, "break glass " + mine.Marker.String(), mine.Marker.String() + " made:payments:" + string(mine.Marker.ID)} {
		s.Describe(theirs, description)
		if found := s.standing(); len(found) != 1 || !found[0].Claims() || !strings.Contains(found[0].Detail, theirs) {
			t.Errorf("%q: standing access is %+v", description, found)
		}
		s.must(s.open(0), jit.Remove, mine)
		s.must(s.open(0), jit.Remove, jit.Access{Binding: mine.Binding, Marker: jit.Marker{Owner: "zzz", ID: "3f2b8c1e-0000-8000-8000-000000000000"}})
		s.may(true, "after Remove of a grant that its description claims")
		if err := s.apply(s.open(0), jit.Ensure, mine); err == nil {
			t.Error("what somebody else has given was taken for ours")
		}
	}
}

// An assignment stays ours when the grant for which it was made has ended before the others.
func TestAnAssignmentOutlivesItsMaker(t *testing.T) {
	s := newSite(t, rbacAssignment)
	a, b := s.access(binding("user:"+alice), "a", time.Hour), s.access(binding("user:"+alice), "b", 2*time.Hour)
	s.must(s.open(0), jit.Ensure, a)
	s.must(s.open(0), jit.Ensure, b)
	s.must(s.open(0), jit.Remove, a)
	if got := s.drift(b, jit.Sweeper); got != "" {
		t.Errorf("drift %q, want none", got)
	}
	s.must(s.open(0), jit.Ensure, a)
	s.must(s.open(0), jit.Remove, b)
	if got := s.drift(a, jit.Sweeper); got != "" {
		t.Errorf("drift %q, want none", got)
	}
	s.must(s.open(0), jit.Remove, a)
	s.may(false, "after all have ended")
}

// A justification excuses nothing; the end that PIM enforces does, if it comes soon.
func TestAJustificationProvesNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		justification string
		lasts         time.Duration // 0: for ever
		hides         bool
	}{
		"for ever":               {"because I can", 0, false},
		"for ever, claimed":      {forged, 0, false},
		"for years":              {"because I can", 70 * 365 * 24 * time.Hour, false},
		"for years, claimed":     {forged, 70 * 365 * 24 * time.Hour, false},
		"for an hour":            {"because I can", time.Hour, true},
		"for an hour, claimed":   {forged, time.Hour, true},
		"for ever, says an hour": {strings.Replace(forged, "20250101T000100Z", "20260101T000000Z", 1), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, pimAssignment)
			end := time.Time{}
			if tt.lasts > 0 {
				end = jit.Second(s.Now().Add(tt.lasts))
			}
			s.Admit(alice, azuretest.Reader, resourceGroup, tt.justification, end)
			s.may(true, "given by an administrator")
			for _, later := range []time.Duration{0, 20 * time.Minute} { // when lists may lag, and when they may not
				s.Advance(later)
				found := s.standing()
				if tt.hides != (len(found) == 0) || len(found) > 1 || len(found) == 1 && found[0].Claims() != strings.HasPrefix(tt.justification, "jit:") {
					t.Errorf("after %s standing access is %+v", later, found)
				}
			}
		})
	}
}

// What is assigned on a wider scope says where.
func TestStandingAccessOfAWiderScope(t *testing.T) {
	for _, assignment := range []string{pimAssignment, rbacAssignment} {
		s := newSite(t, assignment)
		s.Assign("eeeeeeee-0000-4000-8000-000000000001", alice, azuretest.Reader, subscription, "of old")
		if found := s.standing(); len(found) != 1 || found[0].From != subscription {
			t.Errorf("%s: %+v", assignment, found)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"PT8H": 8 * time.Hour, "P1D": 24 * time.Hour, "P1DT2H30M5S": 26*time.Hour + 30*time.Minute + 5*time.Second, "PT0S": 0} {
		if got, ok := parseDuration(text); !ok || got != want {
			t.Errorf("%s is %s, %t", text, got, ok)
		}
	}
	for _, text := range []string{"", "P", "PT", "P1Y", "P1M", "8H", "PT-1H", "PT8H "} {
		if got, ok := parseDuration(text); ok {
			t.Errorf("%q is %s", text, got)
		}
	}
}

// A role that cannot be assigned is told.
func TestARoleThatDoesNotExistIsTold(t *testing.T) {
	for _, assignment := range []string{pimAssignment, rbacAssignment} {
		s := newSite(t, assignment)
		p := s.open(0)
		b := binding("user:" + alice)
		if told := p.advise(t.Context(), b); len(told) != 0 {
			t.Errorf("%s: of a role that exists is told %+v", assignment, told)
		}
		b.Role = "Reeder"
		if told := p.advise(t.Context(), b); len(told) != 1 || told[0].Attribute != "role" || !strings.Contains(told[0].Text, `"Reeder"`) {
			t.Errorf("%s: told %+v", assignment, told)
		}
	}
}
