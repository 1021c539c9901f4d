package hoop

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// recorded is the record of a grant that was made.
func recorded(a jit.Access) jit.Grant {
	return jit.Grant{
		ID:          a.Marker.ID,
		Owner:       a.Marker.Owner,
		Binding:     a.Binding,
		Window:      a.Marker.Window,
		Enforcement: jit.Native,
		GrantedAt:   a.Marker.Window.Start,
	}
}

// A reviewer approves the review of a grant again. It is the reviewer's from then on, and its end moves. Every read and
// change reports that with the reviewer's name, nothing is added, and the grant has not ended while the user is let in.
func TestApprovedAgain(t *testing.T) {
	s := newSite(t, nil)
	p, a := s.open(t, Config{}, 0), access("again", time.Hour)
	must(t, apply(t, p, jit.Ensure, a))
	session := s.ours(a.Marker)[0].Session
	s.Decide(s.boss, session, approved, time.Now().Add(30*time.Minute))
	says := func(what string, err error) {
		t.Helper()
		for _, part := range []string{session, "approved again by boss@example.com until " + jit.FormatTime(jit.Second(s.ours(a.Marker)[0].Ends))} {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s = %v, want an error that says %q", what, err, part)
			}
		}
	}
	snap, err := p.Read(t.Context(), db)
	must(t, err)
	if d := recorded(a).Differs(snap); d.Kind != jit.DriftTaken || d.Kind.Severity() != jit.Critical ||
		!strings.Contains(d.Words, "approved again by boss@example.com") {
		t.Errorf("the drift is %+v", d)
	}
	before := s.Dump("", "")
	says("Ensure", apply(t, p, jit.Ensure, a))
	says("Remove", apply(t, p, jit.Remove, a))
	old := a // however old it is
	old.Marker.Window.Start = old.Marker.Window.Start.Add(-30 * 24 * time.Hour)
	says("Remove", apply(t, p, jit.Remove, old))
	if after := s.Dump("", ""); after != before {
		t.Errorf("the review of the boss is\n%s\nwas\n%s", after, before)
	}
	s.Decide(s.boss, session, "REVOKED", time.Now())
	must(t, apply(t, p, jit.Remove, a))
	s.may(t, time.Now(), false, "when the boss has revoked it")
	must(t, apply(t, p, jit.Ensure, a)) // a sweep puts it back within its window
	if n := len(s.ours(a.Marker)); n != 1 {
		t.Errorf("%d reviews, want 1", n)
	}
}

// If one of several reviewers approves again, the end moves too.
func TestApprovedAgainByOneGroup(t *testing.T) {
	s := newSite(t, nil)
	lead := s.AddUser("lead@example.com", "leads")
	s.Put(connectionOf("leads", "dba"))
	p, a := s.open(t, Config{}, 0), access("again", time.Hour)
	must(t, apply(t, p, jit.Ensure, a))
	s.Decide(lead, s.ours(a.Marker)[0].Session, approved, time.Now().Add(30*time.Minute))
	if err := apply(t, p, jit.Remove, a); err == nil || !strings.Contains(err.Error(), "lead@example.com") {
		t.Errorf("Remove = %v, want an error that names the reviewer", err)
	}
}
