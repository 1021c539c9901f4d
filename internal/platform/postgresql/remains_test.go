package postgresql

import (
	"errors"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// TestWhatOthersTieToAWrapperIsUntied: whoever owns a table can grant something to a wrapper. That keeps no role
// from being dropped, and nothing that holds data is lost.
func TestWhatOthersTieToAWrapperIsUntied(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), s.access(0, 0, "tied")
	apply(t, p, ensured(a))
	wrapper := quote(wrapperName(a.Marker.Owner, a.Marker.ID))
	tie(t, s, wrapper)
	s.exec(t, "CREATE SCHEMA theirs AUTHORIZATION "+wrapper)
	s.exec(t, "CREATE TABLE theirs.precious AS SELECT 7 AS n")
	s.exec(t, "ALTER TABLE theirs.precious OWNER TO "+wrapper)
	apply(t, p, removed(jit.Access{Marker: a.Marker}))
	if _, there := observed(t, p, a); there || s.allowed(t, a.Binding) {
		t.Error("the wrapper is still there")
	}
	if got := s.text(t, "SELECT answer::text FROM mine"); got != "42" {
		t.Errorf("the table of somebody else holds %q", got)
	}
	if got := s.text(t, "SELECT n::text || tableowner FROM theirs.precious, pg_tables WHERE tablename = 'precious'"); got != "7"+s.roles[0] {
		t.Errorf("the wrapper's own table and its owner are %q", got)
	}
	s.exec(t, "DROP SCHEMA theirs CASCADE")
}

// tie lets a bystander grant all kinds of things to the wrapper.
func tie(t *testing.T, s *site, wrapper string) {
	t.Helper()
	bystander := "bystander" + databaseOf(t, s.url)
	s.role(t, bystander, "LOGIN PASSWORD "+literal(password))
	s.exec(t, "GRANT CREATE ON SCHEMA public TO "+bystander)
	mine := connect(t, s.as(bystander))
	for _, sql := range []string{
		"CREATE TABLE mine AS SELECT 42 AS answer",
		"GRANT SELECT ON mine TO " + wrapper + " WITH GRANT OPTION",
		"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
		"GRANT EXECUTE ON FUNCTION f() TO " + wrapper,
		"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO " + wrapper,
	} {
		if _, err := mine.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// TestAnOperatorThatIsNoSuperuserCleansUpWhatItMay: default privileges that the principal left as the wrapper go;
// what strangers granted to it only they or a superuser can take back, so it remains, and the access is over.
func TestAnOperatorThatIsNoSuperuserCleansUpWhatItMay(t *testing.T) {
	s := newSite(t)
	p := s.adminOf(t, "least", "CREATEROLE", quote(s.roles[0]))
	own, foreign := s.access(0, 0, "default privileges"), s.access(0, 0, "tied")
	apply(t, p, ensured(own), ensured(foreign))
	session := connect(t, s.as(own.Binding.Principal))
	sql := "ALTER DEFAULT PRIVILEGES FOR ROLE " + quote(wrapperName(own.Marker.Owner, own.Marker.ID)) + " GRANT SELECT ON TABLES TO PUBLIC"
	if _, err := session.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	tie(t, s, quote(wrapperName(foreign.Marker.Owner, foreign.Marker.ID)))
	errs := p.Apply(t.Context(), cluster, []jit.Change{removed(own), removed(foreign)})
	if errs[0] != nil {
		t.Errorf("default privileges: %v", errs[0])
	}
	if !errors.Is(errs[1], jit.ErrRemains) || !strings.Contains(errs[1].Error(), "privileges for table public.mine") || !strings.Contains(errs[1].Error(), "as a superuser") {
		t.Errorf("tied: %v, want remains that name the table, and who can untie them", errs[1])
	}
	if s.allowed(t, own.Binding) {
		t.Error("access lives on")
	}
	apply(t, s.open(t), removed(foreign)) // a superuser can
}

// TestTiesInAnotherDatabaseRemain: they are out of reach, so the access ends and the error says that something is left.
func TestTiesInAnotherDatabaseRemain(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), s.access(0, 0, "tied elsewhere")
	apply(t, p, ensured(a))
	other := s.server.Database(t)
	elsewhere := connect(t, other)
	wrapper := quote(wrapperName(a.Marker.Owner, a.Marker.ID))
	for _, sql := range []string{"CREATE TABLE mine (n int)", "GRANT SELECT ON mine TO " + wrapper} {
		if _, err := elsewhere.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		err := p.Apply(t.Context(), cluster, []jit.Change{removed(a)})[0]
		var user *jit.Error
		if !errors.Is(err, jit.ErrRemains) || !errors.As(err, &user) || !strings.Contains(user.Problem, databaseOf(t, other)) {
			t.Errorf("the error is %v, want remains in database %s", err, databaseOf(t, other))
		}
		if s.allowed(t, a.Binding) {
			t.Error("access lives on")
		}
	}
	// The hint is what helps.
	if _, err := elsewhere.Exec(t.Context(), "REASSIGN OWNED BY "+wrapper+" TO "+quote(s.roles[0])+"; DROP OWNED BY "+wrapper); err != nil {
		t.Fatal(err)
	}
	apply(t, p, removed(a))
	if _, there := observed(t, p, a); there {
		t.Error("the wrapper is still there after the hint was followed")
	}
}
