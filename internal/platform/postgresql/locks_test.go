package postgresql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// open begins a transaction of a foreign tool, runs the statements and leaves it open.
func open(t *testing.T, s *site, statements ...string) *pgx.Conn {
	t.Helper()
	conn := connect(t, s.url+"&application_name=foreign")
	for _, sql := range append([]string{"BEGIN"}, statements...) {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	return conn
}

// TestAnOpenGrantOfTheRoleDelaysNoEnd: 60 ends of a role that a foreign transaction has locked, and one of another
// role.
func TestAnOpenGrantOfTheRoleDelaysNoEnd(t *testing.T) {
	s := newSite(t)
	p := s.open(t)
	s.role(t, "other"+databaseOf(t, s.url), "NOLOGIN")
	var changes []jit.Change
	for i := range 60 {
		changes = append(changes, ensured(s.access(0, 0, fmt.Sprint("crowd ", i))))
	}
	bob := s.access(1, 1, "bob")
	apply(t, p, append(changes, ensured(bob))...)
	open(t, s, "GRANT "+quote(s.roles[0])+" TO other"+databaseOf(t, s.url))

	for i := range changes {
		changes[i].Op = jit.Remove
	}
	changes = append(changes, removed(bob))
	alices, bobs := connect(t, s.as(s.principals[0])), connect(t, s.as(s.principals[1]))
	began := time.Now()
	done := make(chan []error)
	go func() { done <- p.Apply(t.Context(), cluster, changes) }()
	for selects(t, bobs, bob.Binding.Role) || selects(t, alices, s.roles[0]) {
		if time.Since(began) > 20*time.Second {
			break
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("access ended after %s; want seconds", took)
	}
	for i, err := range <-done {
		if err != nil {
			t.Errorf("end %d: %v", i, err)
		}
	}
}

// TestABlockedEndTakesTheAccessAndSaysWhoIsInTheWay: the wrapper cannot be dropped, since a foreign transaction
// uses it; the principal loses its membership at once.
func TestABlockedEndTakesTheAccessAndSaysWhoIsInTheWay(t *testing.T) {
	s := newSite(t)
	p, a, b := s.open(t), s.access(0, 0, "blocked"), s.access(1, 1, "free")
	apply(t, p, ensured(a), ensured(b))
	s.exec(t, "CREATE TABLE mine (n int)")
	foreign := open(t, s, "GRANT SELECT ON mine TO "+quote(wrapperName(a.Marker.Owner, a.Marker.ID)))

	began := time.Now()
	errs := p.Apply(t.Context(), cluster, []jit.Change{removed(a), removed(b)})
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("took %s", took)
	}
	var user *jit.Error
	if !errors.As(errs[0], &user) || !errors.Is(errs[0], jit.ErrRemains) || errs[1] != nil {
		t.Fatalf("errors %v, want remains for the first alone", errs)
	}
	for _, want := range []string{"access has ended",
		fmt.Sprintf("process %d of %q", foreign.PgConn().PID(), s.server.User), "(foreign)"} {
		if !strings.Contains(user.Problem, want) {
			t.Errorf("the error %q does not say %q", user.Problem, want)
		}
	}
	if !strings.Contains(user.Hint, fmt.Sprintf("pg_terminate_backend(%d)", foreign.PgConn().PID())) {
		t.Errorf("the hint %q does not say how to end the session", user.Hint)
	}
	if s.allowed(t, a.Binding) || s.allowed(t, b.Binding) {
		t.Error("access lives on")
	}
	if _, err := foreign.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	apply(t, p, removed(a))
	if _, there := observed(t, p, a); there {
		t.Error("the wrapper is still there")
	}
}

// TestAnEndWhosePrincipalCannotBeTakenOff: the membership itself is locked, so the wrapper loses the role.
func TestAnEndWhosePrincipalCannotBeTakenOff(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), s.access(0, 0, "the edge is locked")
	apply(t, p, ensured(a))
	wrapper := quote(wrapperName(a.Marker.Owner, a.Marker.ID))
	foreign := open(t, s, "GRANT "+wrapper+" TO "+quote(a.Binding.Principal)+" WITH ADMIN OPTION")
	err := p.Apply(t.Context(), cluster, []jit.Change{removed(a)})[0]
	if !errors.Is(err, jit.ErrRemains) ||
		!strings.Contains(err.Error(), fmt.Sprint("process ", foreign.PgConn().PID())) && s.server.Major >= 16 {
		t.Errorf("the error is %v, want remains and the process", err)
	}
	if s.allowed(t, a.Binding) {
		t.Error("access lives on")
	}
}

// TestABlockedGrantHoldsNoOther: since 16 a grant of a role waits for other open grants of it.
func TestABlockedGrantHoldsNoOther(t *testing.T) {
	s := newSite(t)
	if s.server.Major < 16 {
		t.Skip("before 16 grants of one role do not wait for each other")
	}
	p, other := s.open(t), "other"+databaseOf(t, s.url)
	s.role(t, other, "NOLOGIN")
	foreign := open(t, s, "GRANT "+quote(s.roles[0])+" TO "+other)
	a, b := s.access(0, 0, "blocked"), s.access(1, 1, "free")
	bobs := connect(t, s.as(b.Binding.Principal))
	done := make(chan []error)
	go func() { done <- p.Apply(t.Context(), cluster, []jit.Change{ensured(a), ensured(b)}) }()
	for began := time.Now(); !selects(t, bobs, b.Binding.Role); {
		if time.Since(began) > 3*time.Second {
			t.Error("the free grant waits for the blocked one")
			break
		}
	}
	errs := <-done
	if errs[0] == nil || !strings.Contains(errs[0].Error(), fmt.Sprint("process ", foreign.PgConn().PID())) ||
		errs[1] != nil {
		t.Errorf("errors %v, want one that names the process, for the first alone", errs)
	}
	if _, err := foreign.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	apply(t, p, ensured(a))
}

// TestWhoeverHoldsOurLockDelaysNothingForLong: any role can take an advisory lock.
func TestWhoeverHoldsOurLockDelaysNothingForLong(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), s.access(0, 0, "advisory")
	apply(t, p, ensured(a))
	mallory := connect(t, s.as(s.principals[1]))
	if _, err := mallory.Exec(t.Context(),
		turnSQL[:len("SELECT pg_catalog.pg_advisory_")]+"lock"+turnSQL[strings.Index(turnSQL, "("):]); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*maxTurn)
	defer cancel()
	if err := p.Apply(ctx, cluster, []jit.Change{removed(a)})[0]; err != nil || s.allowed(t, a.Binding) {
		t.Errorf("Remove under a foreign lock: %v", err)
	}
}
