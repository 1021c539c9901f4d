package hoop

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

// A user's own session with the correlation id of a grant does not count as the grant. A review that a person approved
// under it is reported with that person's name, and left alone.
func TestAForgedCorrelationID(t *testing.T) {
	s := newSite(t, nil)
	p, a := s.open(t, Config{}, 0), access("forged", time.Hour)
	forged := s.Ask(alice, db, a.Marker.String(), time.Hour)
	must(t, apply(t, p, jit.Ensure, a)) // nobody has approved it so far
	s.Decide(s.boss, forged, approved, time.Now())
	before := s.Dump("jit", "")
	snap, err := p.Read(t.Context(), db)
	if err != nil || len(snap.Ours) != 1 || len(snap.Standing) != 1 ||
		!strings.Contains(snap.Standing[0].Detail, "boss@example.com") {
		t.Errorf("Read = %+v, %v; want one of ours, and that of the boss as standing access", snap, err)
	}
	must(t, apply(t, p, jit.Ensure, a))
	if err := apply(t, p, jit.Remove, a); err == nil ||
		!strings.Contains(err.Error(), "approved again by boss@example.com until") {
		t.Errorf("Remove = %v, want an error that says who lets alice in", err)
	}
	if n := len(s.ours(a.Marker)); n != 1 {
		t.Errorf("%d reviews are called so, want the forged one", n)
	}
	if after := s.Dump("jit", ""); after != before {
		t.Errorf("the session of the user is\n%s\nwas\n%s", after, before)
	}
	scopes, err := p.Scopes(t.Context())
	if err != nil || len(scopes) != 0 {
		t.Errorf("Scopes = %q, %v", scopes, err)
	}
	// Somebody else's session with the marker of the grant does not matter.
	s.Decide(s.boss, forged, "REVOKED", time.Now())
	s.Decide(s.boss, s.Ask(bob, db, a.Marker.String(), time.Hour), approved, time.Now())
	must(t, apply(t, p, jit.Ensure, a))
	must(t, apply(t, p, jit.Remove, a))
}

func TestPaging(t *testing.T) {
	s := newSite(t, nil)
	p := s.open(t, Config{}, 0)
	a := access("paged", time.Hour)
	var others []string
	for i := range 230 {
		if i == 100 {
			must(t, apply(t, p, jit.Ensure, a))
		}
		id := s.Ask(bob, db, "", time.Hour)
		s.Decide(s.boss, id, approved, time.Now())
		others = append(others, id)
	}
	pages := 0
	s.Interrupt(func(r *http.Request) hooptest.Cut {
		if r.URL.Path == "/api/sessions" {
			if pages++; pages > 1 { // what is on the pages before moves up all that is on the next ones
				for _, id := range others[len(others)-60:] {
					s.Decide(s.boss, id, "REVOKED", time.Now())
				}
				others = others[:len(others)-60]
			}
		}
		return hooptest.Through
	})
	snap, err := p.Read(t.Context(), db)
	if err != nil || len(snap.Ours) != 1 {
		t.Errorf("Read = %d of ours, %v; want 1", len(snap.Ours), err)
	}
	if pages < 2 {
		t.Fatalf("%d pages were read", pages)
	}
	s.Interrupt(nil)
	must(t, apply(t, p, jit.Remove, a))
	s.may(t, time.Now(), false, "after the removal")
}

func TestNamesAreNotPatterns(t *testing.T) {
	s := newSite(t, nil)
	for _, name := range []string{"a_b", "a-b"} {
		s.Put(hooptest.Connection{Name: name, JIT: true, Groups: []string{"engineers"}})
	}
	p, a := s.open(t, Config{}, 0), access("pattern", time.Hour)
	a.Binding.Scope = "a-b"
	must(t, apply(t, p, jit.Ensure, a))
	snap, err := p.Read(t.Context(), "a_b")
	if err != nil || len(snap.Ours) != 0 {
		t.Errorf("Read(a_b) = %+v, %v; the grant is on a-b", snap.Ours, err)
	}
	a.Binding.Scope = "a_b"
	must(t, apply(t, p, jit.Remove, a))
	if !s.MayConnect(alice, "a-b", time.Now()) {
		t.Error("the grant of the other connection was removed")
	}
}

// The list has its full time to follow each write, however long the write took.
func TestASlowWriteLeavesTimeForTheList(t *testing.T) {
	s := newSite(t, nil)
	p, a := s.open(t, Config{}, 0), access("slow", time.Hour)
	p.patience = 500 * time.Millisecond
	s.Lag(300 * time.Millisecond)
	s.Interrupt(func(r *http.Request) hooptest.Cut {
		if r.Method != http.MethodGet {
			time.Sleep(600 * time.Millisecond)
		}
		return hooptest.Through
	})
	must(t, apply(t, p, jit.Ensure, a))
	s.may(t, time.Now(), true, "after a slow write")
	must(t, apply(t, p, jit.Remove, a))
	s.may(t, time.Now(), false, "after a slow revocation")
}
