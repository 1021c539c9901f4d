package hoop

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
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
