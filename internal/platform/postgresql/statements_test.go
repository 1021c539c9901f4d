package postgresql

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/pgsession"
)

// alice is a grant to alice of readers; name is its wrapper, quoted.
func alice() (a jit.Access, name string) {
	start := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	a = jit.Access{
		Marker: jit.Marker{Owner: "payments", ID: "00000000-0000-8000-8000-000000000001",
			Window: jit.Window{Start: start, End: start.Add(time.Hour)}},
		Binding: jit.Binding{Target: "db", Principal: "alice", Role: "readers", Scope: cluster},
	}
	return a, `"jit:00000000-0000-8000-8000-000000000001:payments"`
}

// aliceRole is her role.
var aliceRole = role{OID: 16402, Name: "alice", Login: true, Inherit: true}

// found is the wrapper of the grant as it is after Ensure.
func found(a jit.Access, major int) *state {
	name := wrapperName(a.Marker.Owner, a.Marker.ID)
	row := func(role, member string) membership {
		return membership{Role: role, Member: member, Grantor: "admin", Inherit: true, Set: major < 16}
	}
	return &state{
		roles: map[string]role{
			name:    {Name: name, Inherit: true, Comment: comment(a.Marker, aliceRole)},
			"alice": aliceRole,
		},
		memberships: []membership{row(name, a.Binding.Principal), row(a.Binding.Role, name)},
	}
}

func sqlOf(list []statement) []string {
	var texts []string
	for _, s := range list {
		if s.needs == "" {
			texts = append(texts, "without a privilege named:")
		}
		texts = append(texts, s.sql())
	}
	return texts
}

func TestEnsureStatements(t *testing.T) {
	a, n := alice()
	comment := `COMMENT ON ROLE ` + n + ` IS E'jit:payments:00000000-0000-8000-8000-000000000001:20261123T180000Z:20261123T190000Z for role 16402'`
	for _, c := range []struct {
		name   string
		major  int
		before func(*state) // nil: nothing is there
		want   []string
	}{
		{"new before 16", 15, nil, []string{
			"CREATE ROLE " + n + " NOLOGIN INHERIT", comment,
			`GRANT "readers" TO ` + n, `GRANT ` + n + ` TO "alice"`}},
		{"new since 16", 16, nil, []string{
			"CREATE ROLE " + n + " NOLOGIN INHERIT", comment,
			`GRANT "readers" TO ` + n + ` WITH INHERIT TRUE, SET FALSE`, `GRANT ` + n + ` TO "alice" WITH INHERIT TRUE, SET FALSE`}},
		{"right before 16", 15, func(*state) {}, nil},
		{"right since 16", 17, func(*state) {}, nil},
		{"SET allowed since 16", 16, func(s *state) { s.memberships[0].Set = true }, []string{
			`REVOKE ` + n + ` FROM "alice" GRANTED BY "admin" CASCADE`, `GRANT ` + n + ` TO "alice" WITH INHERIT TRUE, SET FALSE`}},
		{"the server's own grant to the creator", 16, func(s *state) {
			m := s.memberships[0]
			m.Member, m.Grantor, m.Admin, m.Inherit, m.Automatic = "admin", "postgres", true, false, true
			s.memberships = append(s.memberships, m)
		}, nil},
		{"a second grantor", 16, func(s *state) {
			m := s.memberships[0]
			m.Grantor, m.Admin = "postgres", true
			s.memberships = append(s.memberships, m)
		}, []string{`REVOKE ` + n + ` FROM "alice" GRANTED BY "postgres" CASCADE`}},
		{"another principal", 15, func(s *state) { s.memberships[0].Member = "mallory" }, []string{
			`REVOKE ` + n + ` FROM "mallory" CASCADE`, `GRANT ` + n + ` TO "alice"`}},
		{"another window and LOGIN", 15, func(s *state) {
			r := s.roles[wrapperName(a.Marker.Owner, a.Marker.ID)]
			r.Login, r.Comment = true, "jit:old"
			s.roles[r.Name] = r
		}, []string{"ALTER ROLE " + n + " NOLOGIN", comment}},
	} {
		var w *wrapper
		if c.before != nil {
			s := found(a, c.major)
			c.before(s)
			w = s.wrappers()[0]
		}
		if got := sqlOf(ensure(a, aliceRole, w, server{c.major, "jit_admin"}, how{})); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

func TestRemoveStatements(t *testing.T) {
	a, n := alice()
	cut, sever, drop := `REVOKE `+n+` FROM "alice" CASCADE`, `REVOKE "readers" FROM `+n+` CASCADE`, "DROP ROLE "+n
	join, guard, disown := `GRANT `+n+` TO CURRENT_USER`, unlessOwner(wrapperName(a.Marker.Owner,
		a.Marker.ID)), "DROP OWNED BY "+n
	for _, c := range []struct {
		name   string
		how    how
		before func(w *wrapper)
		want   [][]string
	}{
		{"as a rule", how{}, func(*wrapper) {}, [][]string{{cut}, {drop}}},
		{"the principal cannot be taken off", how{sever: true}, func(*wrapper) {}, [][]string{{cut}, {sever}, {drop}}},
		{"a wrapper that can log in", how{}, func(w *wrapper) { w.Login = true }, [][]string{{cut}, {sever}, {drop}}},
		{"something depends on it", how{clean: true}, func(*wrapper) {},
			[][]string{{cut}, {join, guard, disown, sever, drop}}},
		{"it gives nothing any more", how{clean: true}, func(w *wrapper) { w.memberOf = nil },
			[][]string{{cut}, {join, guard, disown, drop}}},
		{"it owns something", how{clean: true}, func(w *wrapper) { w.Owns = true }, [][]string{{cut}, {drop}}},
	} {
		w := found(a, 15).wrappers()[0]
		c.before(w)
		var got [][]string
		for _, u := range remove(0, jit.Access{Marker: a.Marker}, w, server{15, "jit_admin"}, c.how) {
			got = append(got, sqlOf(u.statements))
		}
		if !slices.EqualFunc(got, c.want, slices.Equal[[]string]) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

func TestSnapshotSince16(t *testing.T) {
	a, _ := alice()
	s := found(a, 16)
	if got, want := s.snapshot(16).Ours, []jit.Observed{whole(a)}; !slices.Equal(got, want) {
		t.Errorf("ours is %+v, want %+v", got, want)
	}
	s.memberships[1].Set = true
	if s.snapshot(16).Ours[0].Damage == "" {
		t.Error("a membership with SET is no damage")
	}
	s.memberships[1].Inherit, s.memberships[1].Set = false, false
	if got := s.snapshot(16).Ours[0]; got.Principal != "" {
		t.Errorf("a membership that is not inherited gives the access to %q", got.Principal)
	}
	// An administrator's right to grant a role gives nothing by itself.
	s.memberships = append(s.memberships,
		membership{Role: "writers", Member: "alice", Admin: true},
		membership{Role: "auditors", Member: "alice", Set: true})
	if got, want := s.snapshot(16).Standing, []jit.Standing{{Principal: "alice", Role: "auditors",
		Detail: "member"}}; !slices.Equal(got, want) {
		t.Errorf("standing is %+v, want %+v", got, want)
	}
}

func TestLostRaces(t *testing.T) {
	for _, c := range []struct {
		code, message string
		want          bool
	}{
		{"XX000", "tuple concurrently updated", true},
		{"XX000", "tuple concurrently deleted", true},
		{"XX000", "cache lookup failed for role 16385", true},
		{"40001", "could not serialize access", true},
		{"40P01", "deadlock detected", true},
		{"42710", "role already exists", true},
		{"XX000", "out of luck", false},
		{"42501", "permission denied", false},
		{"2BP01", "role cannot be dropped", false},
	} {
		err := fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: c.code, Message: c.message})
		if got := lostRace(err); got != c.want {
			t.Errorf("lostRace(%s %s) = %t, want %t", c.code, c.message, got, c.want)
		}
	}
	if lostRace(errors.New("tuple concurrently updated")) {
		t.Error("an error that is not the server's is taken for a lost race")
	}
}

// TestJoined: changes share the statements that differ in one role only, and each keeps the order of its own.
func TestJoined(t *testing.T) {
	var units []unit
	names := make([]string, 3)
	for i := range 3 {
		a, _ := alice()
		a.Marker.ID = jit.ID(fmt.Sprintf("00000000-0000-8000-8000-%012d", i))
		names[i] = quote(wrapperName(a.Marker.Owner, a.Marker.ID))
		on := server{15, "jit_admin"}
		w := found(a, 15).wrappers()[0]
		switch i {
		case 1: // somebody else made the wrapper: it is dropped and created again
			w.makers, w.Comment = []string{"mallory"}, ""
			units = append(units, unit{change: i, statements: ensure(a, aliceRole, w, on, how{})})
		default:
			units = append(units, remove(i, a, w, on, how{})...)
		}
	}
	a, _ := alice()
	a.Marker.ID = "00000000-0000-8000-8000-000000000001"
	want := []string{
		`REVOKE ` + names[0] + `, ` + names[2] + ` FROM "alice" CASCADE`,
		`DROP ROLE ` + names[1],
		`CREATE ROLE ` + names[1] + ` NOLOGIN INHERIT`,
		`COMMENT ON ROLE ` + names[1] + ` IS ` + pgsession.Literal(comment(a.Marker, aliceRole)),
		`DROP ROLE ` + names[0] + `, ` + names[2],
		`GRANT "readers" TO ` + names[1],
		`GRANT ` + names[1] + ` TO "alice"`,
	}
	if got := joined(units); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}

	units = units[:0]
	for i := range maxList + 1 {
		units = append(units, unit{change: i, statements: []statement{drop(fmt.Sprint("jit:", i), server{})}})
	}
	if got := joined(units); len(got) != 2 || strings.Count(got[0], `"jit:`) != maxList {
		t.Errorf("%d roles are dropped by %d statements", maxList+1, len(got))
	}
}
