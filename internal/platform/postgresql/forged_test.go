package postgresql

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/pgsession"
)

// mallory is a role that may create roles, and administers the first role of the site.
func mallory(t *testing.T, s *site) string {
	t.Helper()
	name := "mallory" + databaseOf(t, s.url)
	s.role(t, name, "LOGIN CREATEROLE PASSWORD "+pgsession.Literal(password))
	s.exec(t, "GRANT "+quote(s.roles[0])+" TO "+name+" WITH ADMIN OPTION, INHERIT FALSE, SET FALSE")
	return name
}

// TestAForgedMarkerHidesNothing: who may create roles can write the name and the comment of a wrapper.
func TestAForgedMarkerHidesNothing(t *testing.T) {
	s := newSite(t)
	if s.server.Major < 16 {
		t.Skip("mallory's own membership has options since 16")
	}
	p, m := s.open(t), mallory(t, s)
	forged := s.access(0, 0, "forged")
	forged.Marker.Owner = "ghost"
	session := connect(t, s.as(m))
	wrapper := quote(wrapperName(forged.Marker.Owner, forged.Marker.ID))
	for _, sql := range []string{
		"CREATE ROLE " + wrapper,
		"COMMENT ON ROLE " + wrapper + " IS " + pgsession.Literal(forged.Marker.String()),
		"GRANT " + quote(s.roles[0]) + " TO " + wrapper,
		"GRANT " + wrapper + " TO " + m,
	} {
		if _, err := session.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	snap, err := p.Read(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range (jit.Records{Now: time.Now(), MaxTTL: time.Hour}).Standing(snap, cluster) {
		if st.Principal == m && st.Role == s.roles[0] {
			return
		}
	}
	t.Errorf("%+v hides what %s has", snap, m)
}

// TestARoleMadeAheadOfAGrantGivesItsMakerNothing: the id of a grant can be foreseen.
func TestARoleMadeAheadOfAGrantGivesItsMakerNothing(t *testing.T) {
	s := newSite(t)
	if s.server.Major < 16 {
		t.Skip("before 16 CREATEROLE can grant every role anyway")
	}
	p, a, name := s.open(t), s.access(0, 1, "foreseen"), mallory(t, s) // mallory has nothing to do with the second role
	session := connect(t, s.as(name))
	wrapper := quote(wrapperName(a.Marker.Owner, a.Marker.ID))
	if _, err := session.Exec(t.Context(), "CREATE ROLE "+wrapper); err != nil {
		t.Fatal(err)
	}
	apply(t, p, ensured(a))
	if !s.allowed(t, a.Binding) {
		t.Error("no access through the grant")
	}
	if _, err := session.Exec(t.Context(), "GRANT "+wrapper+" TO "+name); err == nil ||
		selects(t, session, s.roles[1]) {
		t.Errorf("whoever made the role ahead has what was granted: %v", err)
	}
}
