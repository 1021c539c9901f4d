package postgresql

import (
	"errors"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/pgsession"
)

// TestAfterAMajorUpgrade: pg_upgrade from 15 or older to 16 or newer leaves every membership granted by the bootstrap
// superuser and WITH SET TRUE, and nobody has ADMIN OPTION on the roles in between. (Seen with pg_upgrade from 15 to 16
// and 18.) An operator that is no superuser can do nothing about them until the statement of the error has been run.
func TestAfterAMajorUpgrade(t *testing.T) {
	s := newSite(t)
	if s.server.Major < 16 {
		t.Skip("before 16 every role with CREATEROLE administers every other")
	}
	p := s.adminOf(t, "operator", "CREATEROLE", quote(s.roles[0]))
	ends, goes := s.access(0, 0, "ends"), s.access(0, 0, "goes on")
	for _, a := range []jit.Access{ends, goes} {
		wrapper := quote(wrapperName(a.Marker.Owner, a.Marker.ID))
		s.exec(t, "CREATE ROLE "+wrapper)
		s.exec(t, "COMMENT ON ROLE "+wrapper+" IS "+pgsession.Literal(a.Marker.String()))
		s.exec(t, "GRANT "+quote(a.Binding.Role)+" TO "+wrapper)
		s.exec(t, "GRANT "+wrapper+" TO "+quote(a.Binding.Principal))
	}
	changes := []jit.Change{removed(ends), ensured(goes)}
	for i, err := range p.Apply(t.Context(), cluster, changes) {
		var user *jit.Error
		if !errors.As(err, &user) {
			t.Fatalf("%s: %v, want an error that says what to run", changes[i].Op, err)
		}
		_, paste, _ := strings.Cut(user.Hint, "as a superuser, run: ")
		if !strings.HasPrefix(paste, "GRANT ") {
			t.Fatalf("%s: the hint %q has nothing to run", changes[i].Op, user.Hint)
		}
		s.exec(t, paste)
	}
	if snap, err := p.Read(t.Context(), cluster); err != nil || len(snap.Ours) != 2 {
		t.Errorf("%d have access through the grants (%v), want the principal of each", len(snap.Ours), err)
	}
	apply(t, p, changes...)
	if _, there := observed(t, p, ends); there {
		t.Error("the grant that ended is still there")
	}
	wantWhole(t, p, goes)
	if !s.allowed(t, goes.Binding) {
		t.Error("no access through the grant that goes on")
	}
	apply(t, p, removed(goes))
	if s.allowed(t, goes.Binding) {
		t.Error("access lives on")
	}
}
