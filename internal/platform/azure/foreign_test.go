package azure

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/azuretest"
)

const forged = "jit:zzz:3f2b8c1e-0000-8000-8000-000000000000:20250101T000000Z:20250101T000100Z"

// standing is alice's standing access on the resource group if the ledger is empty.
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

// A description that claims to be a grant's neither hides the assignment nor lets it be removed: an identity that may
// write assignments may not always delete them.
func TestADescriptionProvesNothing(t *testing.T) {
	const theirs = "eeeeeeee-0000-4000-8000-000000000001"
	s := newSite(t, rbacAssignment)
	s.Assign(theirs, alice, azuretest.Reader, resourceGroup, "break glass")
	mine := s.access(binding("user:"+alice), "mine", time.Hour)
	for _, description := range []string{
		forged, "break glass " + mine.Marker.String(),
		mine.Marker.String() + " made:payments:" + string(mine.Marker.ID),
	} {
		s.Describe(theirs, description)
		if found := s.standing(); len(found) != 1 || !found[0].Claims() || !strings.Contains(found[0].Detail, theirs) {
			t.Errorf("%q: standing access is %+v", description, found)
		}
		s.must(s.open(0), jit.Remove, mine)
		s.must(s.open(0), jit.Remove, jit.Access{Binding: mine.Binding,
			Marker: jit.Marker{Owner: "zzz", ID: "3f2b8c1e-0000-8000-8000-000000000000"}})
		s.may(true, "after Remove of a grant that its description claims")
		if err := s.apply(s.open(0), jit.Ensure, mine); err == nil {
			t.Error("Ensure took over somebody else's assignment")
		}
	}
}

// An assignment stays ours when the grant that it was made for ends before the others.
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

// A justification does not excuse access; an end that PIM enforces soon does.
func TestAJustificationProvesNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		justification string
		lasts         time.Duration // 0: no end
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
			for _, later := range []time.Duration{0, 20 * time.Minute} { // while lists may lag, and later
				s.Advance(later)
				found := s.standing()
				if tt.hides != (len(found) == 0) || len(found) > 1 || len(found) == 1 &&
					found[0].Claims() != strings.HasPrefix(tt.justification, "jit:") {
					t.Errorf("after %s standing access is %+v", later, found)
				}
			}
		})
	}
}

// Standing access on a wider scope names that scope.
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
	for text, want := range map[string]time.Duration{"PT8H": 8 * time.Hour, "P1D": 24 * time.Hour,
		"P1DT2H30M5S": 26*time.Hour + 30*time.Minute + 5*time.Second, "PT0S": 0} {
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

// Advice names a role that cannot be assigned.
func TestAdviceAboutAMissingRole(t *testing.T) {
	for _, assignment := range []string{pimAssignment, rbacAssignment} {
		s := newSite(t, assignment)
		p := s.open(0)
		b := binding("user:" + alice)
		if advice := p.advise(t.Context(), b); len(advice) != 0 {
			t.Errorf("%s: advice about a role that exists: %+v", assignment, advice)
		}
		b.Role = "Reeder"
		advice := p.advise(t.Context(), b)
		if len(advice) != 1 || advice[0].Attribute != "role" || !strings.Contains(advice[0].Text, `"Reeder"`) {
			t.Errorf("%s: the advice is %+v", assignment, advice)
		}
	}
}
