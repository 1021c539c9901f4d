package hoop

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// forge makes a session of a user with the name of a request for the grant, and has a reviewer approve it.
func (s *site) forge(token, email string, m jit.Marker, lasts time.Duration) (session string) {
	session = s.Ask(email, db, askName(m), lasts)
	s.Decide(token, session, approved, time.Now())
	return session
}

// The name of a session hides no access: a review that is longer than any grant is standing access everywhere.
func TestAForgedRequestIsStandingAccess(t *testing.T) {
	s, lead, p := askSite(t)
	nobody := access("nobody's", time.Hour)
	s.forge(lead, alice, nobody.Marker, 10*365*24*time.Hour)
	for _, p := range []*Platform{p, s.open(t, Config{}, 0)} {
		snap, err := p.Read(t.Context(), db)
		must(t, err)
		if len(snap.Ours) != 0 || len(snap.Standing) != 1 || snap.Standing[0].Principal != alice {
			t.Errorf(
				"approval left to reviewers %t: Ours %+v, Standing %+v; want alice's standing access",
				p.Asks(),
				snap.Ours,
				snap.Standing,
			)
		}
	}
	must(t, apply(t, p, jit.Remove, nobody))
	s.may(t, time.Now(), true, "by a review that no grant can have")
}

// A review of 48 hours with the name of another target's request is an ordinary review for a target where the key
// approves.
func TestAForgedRequestOnATargetThatAsksNobody(t *testing.T) {
	s, lead, _ := askSite(t)
	s.forge(lead, alice, access("nobody's", time.Hour).Marker, maxTTL)
	snap, err := s.open(t, Config{}, 0).Read(t.Context(), db)
	must(t, err)
	if len(snap.Ours) != 0 || len(snap.Standing) != 1 {
		t.Errorf("Ours %+v, Standing %+v; want it as standing access", snap.Ours, snap.Standing)
	}
}

// A session of alice with the id of bob's grant does not prevent the repair of bob's grant, and is not removed with it.
func TestAForgedRequestWithTheIDOfAnothersGrant(t *testing.T) {
	s, lead, p := askSite(t)
	a := access("bob's", time.Hour)
	a.Binding.Principal = bob
	ask(t, p, a)
	s.Decide(lead, s.Reviews()[0].Session, approved, time.Now())
	a.Marker.Window = ask(t, p, a).Window
	s.forge(lead, alice, a.Marker, time.Hour)
	must(t, apply(t, p, jit.Ensure, a))
	must(t, apply(t, p, jit.Remove, a))
	if s.MayConnect(bob, db, time.Now()) {
		t.Error("bob is let in after his grant was removed")
	}
	s.may(t, time.Now(), true, "after bob's grant was removed")
}

// The key does not copy a review that reviewers approved to put it in front of a shorter grant of the same user.
func TestAForgedRequestIsNotPutInFront(t *testing.T) {
	s, lead, _ := askSite(t)
	session := s.forge(lead, alice, access("nobody's", time.Hour).Marker, 3*time.Hour)
	must(t, apply(t, s.open(t, Config{}, 0), jit.Ensure, access("short", time.Hour)))
	if all := s.Reviews(); len(all) != 2 || all[0].Session != session || all[0].Status != approved {
		t.Errorf("the reviews are %+v, want the forged one and the grant's", all)
	}
}
