package postgresql

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/pgsession"
)

// TestWhatOthersTieToAWrapperIsUntied: whoever owns a table can grant something to a wrapper. That keeps no role
// from being dropped, and nothing that holds data is lost.
func TestWhatOthersTieToAWrapperIsUntied(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), s.access(0, 0, "tied")
	apply(t, p, ensured(a))
	wrapper := quote(wrapperName(a.Marker.Owner, a.Marker.ID))
	tie(t, s, wrapper)
	apply(t, p, removed(jit.Access{Marker: a.Marker}))
	if _, there := observed(t, p, a); there || s.allowed(t, a.Binding) {
		t.Error("the wrapper is still there")
	}
	if got := s.text(t, "SELECT answer::text FROM mine"); got != "42" {
		t.Errorf("the table of somebody else holds %q", got)
	}
}

// TestNothingOfAWrapperGetsTheRightsOfTheRole: the name of an ended grant's role is known, so whoever may create roles
// makes it once more, gives it a function, and waits for a sweep to make that function run with the rights of the role.
func TestNothingOfAWrapperGetsTheRightsOfTheRole(t *testing.T) {
	s := newSite(t)
	p, a, name := s.open(t), s.access(0, 0, "over"), "mallory"+databaseOf(t, s.url)
	s.role(t, name, "LOGIN CREATEROLE PASSWORD "+pgsession.Literal(password))
	s.exec(t, "GRANT CREATE ON DATABASE "+quote(databaseOf(t, s.url))+" TO "+name)
	apply(t, p, ensured(a), removed(a))
	session, wrapper := connect(t, s.as(name)), quote(wrapperName(a.Marker.Owner, a.Marker.ID))
	for _, sql := range []string{
		"CREATE ROLE " + wrapper,
		"GRANT " + wrapper + " TO " + name,
		"CREATE SCHEMA trap",
		"GRANT USAGE, CREATE ON SCHEMA trap TO " + wrapper,
		"CREATE FUNCTION trap.f() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN (SELECT answer FROM " +
			strings.ReplaceAll(quote("data of "+s.roles[0]), "'", "''") + "); END'",
		"ALTER FUNCTION trap.f() OWNER TO " + wrapper,
	} {
		if _, err := session.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	for range 2 { // a repeated Remove says the same
		err := p.Apply(t.Context(), cluster, []jit.Change{removed(a)})[0]
		if !errors.Is(err, jit.ErrRemains) || !strings.Contains(err.Error(), "owner of function trap.f()") {
			t.Errorf("the error is %v, want remains that name the function", err)
		}
	}
	if got := s.text(t, "SELECT pg_get_userbyid(proowner)::text FROM pg_proc WHERE proname = "+
		"'f'"); quote(got) != wrapper {
		t.Errorf("the function belongs to %q", got)
	}
	var answer int
	if err := session.QueryRow(t.Context(), "SELECT trap.f()").Scan(&answer); err == nil {
		t.Errorf("the function reads what only the role may read: %d", answer)
	}
	s.exec(t, "DROP SCHEMA trap CASCADE")
	apply(t, p, removed(a)) // what tied others to it has gone with the schema
}

// TestNothingIsDroppedThatBecameTheWrappers: between the look at what the wrapper owns and DROP OWNED, a table becomes
// the wrapper's.
func TestNothingIsDroppedThatBecameTheWrappers(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), s.access(0, 0, "late")
	apply(t, p, ensured(a))
	wrapper := quote(wrapperName(a.Marker.Owner, a.Marker.ID))
	tie(t, s, wrapper)
	s.exec(t, "CREATE TABLE precious AS SELECT 7 AS n")
	hook, writes := p.OnCall, 0
	p.OnCall = func(op string) {
		hook(op)
		if op != "write" {
			return
		}
		if writes++; writes == 2 { // the first one finds that privileges are in the way
			s.exec(t, "ALTER TABLE precious OWNER TO "+wrapper)
		}
	}
	err := p.Apply(t.Context(), cluster, []jit.Change{removed(a)})[0]
	if !errors.Is(err, jit.ErrRemains) || !strings.Contains(err.Error(), "owner of table public.precious") {
		t.Errorf("the error is %v, want remains that name the table", err)
	}
	if got := s.text(t, "SELECT n::text FROM precious"); got != "7" {
		t.Errorf("the table holds %q", got)
	}
}

// follow runs the statements of the hint, as the superuser of the session.
func follow(t *testing.T, session *pgx.Conn, s *site, err error) {
	t.Helper()
	_, statements, _ := strings.Cut(err.Error(), "as a superuser: ")
	statements, _, ok := strings.Cut(statements, "; the next sweep")
	if !ok {
		t.Fatalf("%v has no statements", err)
	}
	if _, err := session.Exec(t.Context(), statements); err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
	t.Cleanup(func() {
		if _, err := session.Exec(context.Background(), "DROP OWNED BY leftover CASCADE"); err != nil {
			t.Error(err)
		}
		s.exec(t, "DROP ROLE leftover")
	})
}

// tie lets a bystander grant all kinds of things to the wrapper.
func tie(t *testing.T, s *site, wrapper string) {
	t.Helper()
	bystander := "bystander" + databaseOf(t, s.url)
	s.role(t, bystander, "LOGIN PASSWORD "+pgsession.Literal(password))
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
	sql := "ALTER DEFAULT PRIVILEGES FOR ROLE " + quote(wrapperName(own.Marker.Owner,
		own.Marker.ID)) + " GRANT SELECT ON TABLES TO PUBLIC"
	if _, err := session.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	tie(t, s, quote(wrapperName(foreign.Marker.Owner, foreign.Marker.ID)))
	errs := p.Apply(t.Context(), cluster, []jit.Change{removed(own), removed(foreign)})
	if errs[0] != nil {
		t.Errorf("default privileges: %v", errs[0])
	}
	if !errors.Is(errs[1], jit.ErrRemains) || !strings.Contains(errs[1].Error(), "privileges for table public.mine") ||
		!strings.Contains(errs[1].Error(), "as a superuser") {
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
	var err error
	for range 2 {
		err = p.Apply(t.Context(), cluster, []jit.Change{removed(a)})[0]
		var user *jit.Error
		if !errors.Is(err, jit.ErrRemains) || !errors.As(err, &user) ||
			!strings.Contains(user.Problem, databaseOf(t, other)) {
			t.Errorf("the error is %v, want remains in database %s", err, databaseOf(t, other))
		}
		if s.allowed(t, a.Binding) {
			t.Error("access lives on")
		}
	}
	follow(t, elsewhere, s, err)
	apply(t, p, removed(a))
	if _, there := observed(t, p, a); there {
		t.Error("the wrapper is still there after the hint was followed")
	}
}
