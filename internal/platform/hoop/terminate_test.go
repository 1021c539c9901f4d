package hoop

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

func TestTerminateSessions(t *testing.T) {
	for _, tt := range []struct {
		name             string
		terminate, other bool
		lives            bool
	}{
		{"asked for", true, false, false},
		{"not asked for", false, false, true},
		{"another grant is live", true, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, nil)
			p, a, b := s.open(t, Config{}, 0), access("a", time.Hour), access("b", time.Hour)
			a.TerminateSessions = tt.terminate
			must(t, apply(t, p, jit.Ensure, a))
			if tt.other {
				must(t, apply(t, p, jit.Ensure, b))
			}
			s.Decide(s.boss, s.Ask(bob, db, "", time.Hour), approved, time.Now())
			hers, his := s.Connect(alice, db), s.Connect(bob, db)
			if hers == "" || his == "" {
				t.Fatal("they are not let in")
			}
			must(t, apply(t, p, jit.Remove, a))
			if got := s.Lives(hers, time.Now()); got != tt.lives {
				t.Errorf("the session lives: %t, want %t", got, tt.lives)
			}
			if !s.Lives(his, time.Now()) {
				t.Error("the session of somebody else was ended")
			}
			must(t, apply(t, p, jit.Remove, a)) // again
		})
	}
}

// A request to kill a session that another replica of the gateway holds has no effect, whatever the answer says. The
// removal fails and names the session. It succeeds when the request reaches that replica.
func TestASessionOnAnotherReplica(t *testing.T) {
	s := newSite(t, nil)
	p, a := s.open(t, Config{}, 0), access("replica", time.Hour)
	a.TerminateSessions = true
	must(t, apply(t, p, jit.Ensure, a))
	id := s.Connect(alice, db)
	s.Strand(id, true)
	err := apply(t, p, jit.Remove, a)
	if err == nil || !strings.Contains(err.Error(), "session "+id+" of "+alice+" on "+db+" is still open") {
		t.Errorf("Remove = %v, want an error that names the session", err)
	}
	s.may(t, time.Now(), false, "after the removal")
	kills := 0
	s.Interrupt(func(r *http.Request) hooptest.Cut {
		if strings.HasSuffix(r.URL.Path, "/kill") {
			if kills++; kills == 2 {
				s.Strand(id, false)
			}
		}
		return hooptest.Through
	})
	must(t, apply(t, p, jit.Remove, a))
	if s.Lives(id, time.Now()) {
		t.Error("the session lives")
	}
}

func TestSessionsFromBeforeTheGrantGoOn(t *testing.T) {
	s := newSite(t, nil)
	p, a := s.open(t, Config{}, 0), access("later", time.Hour)
	asked := s.Ask(alice, db, "", time.Hour)
	s.Decide(s.boss, asked, approved, time.Now())
	before := s.Connect(alice, db)
	s.Decide(s.boss, asked, "REVOKED", time.Now())
	a.TerminateSessions = true
	a.Marker.Window.Start = jit.Second(time.Now()).Add(time.Second)
	must(t, apply(t, p, jit.Ensure, a))
	time.Sleep(time.Until(a.Marker.Window.Start))
	within := s.Connect(alice, db)
	must(t, apply(t, p, jit.Remove, a))
	if !s.Lives(before, time.Now()) || s.Lives(within, time.Now()) {
		t.Errorf(
			"the session of before lives: %t, that of the grant: %t",
			s.Lives(before, time.Now()),
			s.Lives(within, time.Now()),
		)
	}
}
