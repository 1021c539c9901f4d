package postgresql

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// ended reports whether the server closes the session within a few seconds.
func ended(t *testing.T, conn *pgx.Conn) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := conn.Exec(ctx, "SELECT pg_sleep(10)")
	return !errors.Is(err, context.DeadlineExceeded)
}

func TestOpenSessionLosesInheritedAccessAtTheNextStatement(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), s.access(0, 0, "open session")
	session := connect(t, s.as(a.Binding.Principal))
	for _, step := range []struct {
		change jit.Change
		want   bool
	}{{removed(a), false}, {ensured(a), true}, {removed(a), false}, {ensured(a), true}} {
		apply(t, p, step.change)
		if got := selects(t, session, a.Binding.Role); got != step.want {
			t.Errorf("after %s the open session reads the table: %t, want %t", step.change.Op, got, step.want)
		}
	}
}

func TestSetRoleOutlivesRemoveUnlessSessionsAreTerminated(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), s.access(0, 0, "set role")
	apply(t, p, ensured(a))
	session, bystander := connect(t, s.as(s.principals[0])), connect(t, s.as(s.principals[1]))
	_, err := session.Exec(t.Context(), "SET ROLE "+quote(a.Binding.Role))
	if s.server.Major >= 16 {
		if err == nil {
			t.Error("SET ROLE through the grant was let pass; want SET FALSE to refuse it")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	apply(t, p, removed(a))
	if !selects(t, session, a.Binding.Role) {
		t.Error("the session lost its role on REVOKE; the session tail of this platform could be zero")
	}
	if s.allowed(t, a.Binding) {
		t.Error("a new session still has access")
	}

	// The grant is gone already: the answer of a first Remove may have been lost.
	a.TerminateSessions = true
	apply(t, p, removed(a))
	if !ended(t, session) {
		t.Error("the session lives on after terminate_sessions")
	}
	if selects(t, bystander, a.Binding.Role) {
		t.Error("the other principal has access")
	}
}

func TestTerminateSessionsOnRemoveByIDAlone(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), s.access(0, 0, "terminate by id")
	apply(t, p, ensured(a))
	session := connect(t, s.as(s.principals[0]))
	apply(t, p, removed(jit.Access{Marker: a.Marker, TerminateSessions: true}))
	if !ended(t, session) {
		t.Error("the principal, known to the wrapper only, keeps its session")
	}
}

// ownTable makes the wrapper own a table in the database of the URL: before 16 the
// principal does it, by SET ROLE; since 16 only an administrator can.
func ownTable(t *testing.T, s *site, url string, a jit.Access) {
	t.Helper()
	wrapper := quote(wrapperName(a.Marker.Owner, a.Marker.ID))
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	statements := []string{"SET ROLE " + wrapper, "CREATE TABLE precious AS SELECT 7 AS n"}
	if s.server.Major >= 16 {
		config.User, config.Password = s.server.User, s.server.Password
		statements = []string{"CREATE TABLE precious AS SELECT 7 AS n", "ALTER TABLE precious OWNER TO " + wrapper}
	}
	session, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close(context.Background()) })
	for _, sql := range statements {
		if _, err := session.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// TestWhatAWrapperOwnsStays: the access is over, no data is lost, and nobody becomes the owner.
func TestWhatAWrapperOwnsStays(t *testing.T) {
	s := newSite(t)
	s.exec(t, "GRANT CREATE ON SCHEMA public TO "+quote(s.roles[0]))
	p, a := s.open(t), s.access(0, 0, "owner")
	apply(t, p, ensured(a))
	ownTable(t, s, s.as(a.Binding.Principal), a)
	err := p.Apply(t.Context(), cluster, []jit.Change{removed(jit.Access{Marker: a.Marker})})[0]
	if !errors.Is(err, jit.ErrRemains) || !strings.Contains(err.Error(), "owner of table public.precious") ||
		s.allowed(t, a.Binding) {
		t.Fatalf("the error is %v, want remains that name the table, and no access", err)
	}
	follow(t, s.admin, s, err)
	if got := s.text(t, "SELECT n::text || tableowner FROM precious, pg_tables WHERE tablename = "+
		"'precious'"); got != "7leftover" {
		t.Errorf("the table and its owner are %q", got)
	}
	apply(t, p, removed(a))
	if o, there := observed(t, p, a); there {
		t.Errorf("the wrapper is still there: %+v", o)
	}
}

func TestAccessEndsEvenWhenTheWrapperCannotBeDropped(t *testing.T) {
	s := newSite(t)
	other := s.server.Database(t)
	elsewhere := connect(t, other)
	role := quote(s.roles[0])
	if _, err := elsewhere.Exec(t.Context(), "GRANT CREATE ON SCHEMA public TO "+role); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = elsewhere.Exec(context.Background(), "DROP OWNED BY "+role) })
	p, a, neighbour := s.open(t), s.access(0, 0, "owns elsewhere"), s.access(1, 1, "neighbour")
	apply(t, p, ensured(a), ensured(neighbour))
	ownTable(t, s, strings.Replace(s.as(a.Binding.Principal), databaseOf(t, s.url), databaseOf(t, other), 1), a)

	for range 2 { // a repeated Remove says the same
		errs := p.Apply(t.Context(), cluster, []jit.Change{removed(a), removed(neighbour)})
		var user *jit.Error
		if !errors.As(errs[0], &user) || !strings.Contains(user.Problem, "access has ended") ||
			!strings.Contains(user.Problem, databaseOf(t, other)) || !strings.Contains(user.Hint, "REASSIGN OWNED") {
			t.Errorf("the error is %v, want one that says that access has ended, the database, and what to run",
				errs[0])
		}
		if errs[1] != nil {
			t.Errorf("the neighbour: %v", errs[1])
		}
		if s.allowed(t, a.Binding) {
			t.Error("access lives on")
		}
	}
	if o, there := observed(t, p, a); !there || o.Damage == "" {
		t.Errorf("the leftover is read as %+v (there: %t), want it with its damage", o, there)
	}
	if _, err := elsewhere.Exec(t.Context(),
		"REASSIGN OWNED BY "+quote(wrapperName(a.Marker.Owner, a.Marker.ID))+" TO "+role); err != nil {
		t.Fatal(err)
	}
	apply(t, p, removed(a))
	if _, there := observed(t, p, a); there {
		t.Error("the wrapper is still there after the hint was followed")
	}
	var n int
	if err := elsewhere.QueryRow(t.Context(), "SELECT n FROM precious").Scan(&n); err != nil || n != 7 {
		t.Errorf("the table holds %d, %v", n, err)
	}
}

func TestAnOpenTransactionDoesNotKeepAccessAlive(t *testing.T) {
	s := newSite(t)
	if s.server.Major >= 16 {
		t.Skip("since 16 no principal can SET ROLE to a wrapper, so its transactions hold none")
	}
	s.exec(t, "GRANT CREATE ON SCHEMA public TO "+quote(s.roles[0]))
	p, a, neighbour := s.open(t), s.access(0, 0, "holds"), s.access(1, 1, "neighbour")
	apply(t, p, ensured(a), ensured(neighbour))
	session := connect(t, s.as(a.Binding.Principal))
	for _, sql := range []string{"SET ROLE " + quote(wrapperName(a.Marker.Owner, a.Marker.ID)), "BEGIN",
		"CREATE TABLE uncommitted (n int)"} {
		if _, err := session.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	started := time.Now()
	errs := p.Apply(t.Context(), cluster, []jit.Change{removed(a), removed(neighbour)})
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("Remove took %s", took)
	}
	var user *jit.Error
	if !errors.As(errs[0], &user) || !strings.Contains(user.Problem, "access has ended") ||
		!strings.Contains(user.Hint, "terminate_sessions") || errs[1] != nil {
		t.Errorf("errors %v, want one that says that access has ended and how to end the session", errs)
	}
	if s.allowed(t, a.Binding) || s.allowed(t, neighbour.Binding) {
		t.Error("access lives on")
	}
	a.TerminateSessions = true
	apply(t, p, removed(a))
	if _, there := observed(t, p, a); there {
		t.Error("the wrapper is still there after its user's session was ended")
	}
}

func databaseOf(t *testing.T, url string) string {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return config.Database
}
