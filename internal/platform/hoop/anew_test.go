package hoop

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

// A user made anew under the e-mail is another one: the grant is over, and the new user gets nothing of it, not even
// beside a grant of their own.
func TestAUserMadeAnewGetsNothing(t *testing.T) {
	s := newSite(t, nil)
	p, long := s.open(t, Config{}, 0), access("long", 3*time.Hour)
	must(t, apply(t, p, jit.Ensure, long))
	s.AddUser(alice, "engineers")
	s.may(t, time.Now(), false, "the new user")
	snap, err := p.Read(t.Context(), db)
	must(t, err)
	if d := recorded(long).Differs(snap); d.Kind != jit.DriftGone {
		t.Errorf("the drift is %+v, want that the user is gone", d)
	}
	if err := apply(t, p, jit.Ensure, long); !errors.Is(err, jit.ErrOver) ||
		!strings.Contains(err.Error(), "was deleted or has another subject now") {
		t.Errorf("Ensure = %v, want ErrOver", err)
	}
	longer := long
	longer.Marker.Window.End = long.Marker.Window.End.Add(time.Hour)
	if err := apply(t, p, jit.Ensure, longer); !errors.Is(err, jit.ErrOver) {
		t.Errorf("Ensure of a longer grant = %v, want ErrOver", err)
	}
	s.may(t, time.Now(), false, "the new user, after the repair")

	short := access("short", time.Hour)
	must(t, apply(t, p, jit.Ensure, short))
	s.may(t, time.Now(), true, "the new user, with a grant of their own")
	s.may(t, short.Marker.Window.End.Add(time.Minute), false, "the new user, after that grant")
	must(t, apply(t, p, jit.Remove, long))
	must(t, apply(t, p, jit.Remove, short))
	if n := len(s.ours(long.Marker)) + len(s.ours(short.Marker)); n != 0 {
		t.Errorf("%d reviews are left", n)
	}
}

// A pass over many connections lists the users once. A list from before a user was made anew, or was made at all, does
// not decide whose grant it is.
func TestAPassListsTheUsersOnce(t *testing.T) {
	s := newSite(t, nil)
	p := s.open(t, Config{}, 0)
	const connections = 5
	for i := range connections {
		c := connectionOf("admin")
		c.Name = fmt.Sprintf("db-%d", i)
		s.Put(c)
		a := access(c.Name, time.Hour)
		a.Binding.Scope = c.Name
		if err := p.Apply(t.Context(), c.Name, []jit.Change{{Op: jit.Ensure, Access: a}})[0]; err != nil {
			t.Fatal(err)
		}
	}
	var lists atomic.Int64
	s.Interrupt(func(r *http.Request) hooptest.Cut {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/users") {
			lists.Add(1)
		}
		return hooptest.Through
	})
	pass := func() (ours []jit.Observed) {
		t.Helper()
		for i := range connections {
			snap, err := p.Read(t.Context(), fmt.Sprintf("db-%d", i))
			must(t, err)
			ours = append(ours, snap.Ours...)
		}
		return ours
	}
	if ours := pass(); len(ours) != connections || ours[0].Gone {
		t.Errorf("the pass reads %+v", ours)
	}
	if n := lists.Load(); n != 1 {
		t.Errorf("%d lists of the users for %d connections, want 1", n, connections)
	}

	const carol = "carol@example.com"
	s.AddUser(carol, "engineers")
	a := access("new", time.Hour)
	a.Binding.Principal, a.Binding.Scope = carol, "db-0"
	if err := s.open(t, Config{}, 0).Apply(t.Context(), "db-0", []jit.Change{{Op: jit.Ensure, Access: a}})[0]; err != nil {
		t.Fatal(err)
	}
	for _, o := range pass() {
		if o.Gone {
			t.Errorf("after carol was made, %+v counts as gone", o)
		}
	}
}
