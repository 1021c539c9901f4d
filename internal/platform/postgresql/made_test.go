package postgresql

import (
	"errors"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Before 16 the holder of a grant can leave a function or a view that acts with the rights of the role. The end of the
// grant names what was made since its beginning, once; what was there before is not named.
func TestWhatTheHolderLeavesIsNamed(t *testing.T) {
	s := newSite(t)
	p, a, quiet := s.open(t), s.access(0, 0, "leaves"), s.access(1, 1, "leaves nothing")
	role, principal := quote(a.Binding.Role), quote(a.Binding.Principal)
	apply(t, p, ensured(quiet))
	s.exec(t, "CREATE SCHEMA left_behind")
	s.exec(t, "GRANT USAGE, CREATE ON SCHEMA left_behind TO "+role+", "+quote(quiet.Binding.Role))
	s.exec(t, "GRANT USAGE ON SCHEMA left_behind TO "+principal)
	body := " LANGUAGE plpgsql SECURITY DEFINER AS $body$ BEGIN RETURN (SELECT answer FROM " +
		quote("data of "+a.Binding.Role) + "); END $body$"
	s.exec(t, "SET ROLE "+role)
	s.exec(t, "CREATE FUNCTION left_behind.older() RETURNS int"+body)
	s.exec(t, "CREATE FUNCTION left_behind.replaced() RETURNS int LANGUAGE sql AS 'SELECT 1'")
	s.exec(t, "RESET ROLE")
	apply(t, p, ensured(a))
	session := connect(t, s.as(a.Binding.Principal))
	_, err := session.Exec(t.Context(), "SET ROLE "+role)
	if s.server.Major >= 16 {
		if err == nil {
			t.Error("the holder can take on the role")
		}
		return
	}
	for _, sql := range []string{
		"CREATE FUNCTION left_behind.newer() RETURNS int" + body,
		"CREATE OR REPLACE FUNCTION left_behind.replaced() RETURNS int" + body,
		"CREATE FUNCTION left_behind.harmless() RETURNS int LANGUAGE sql AS 'SELECT 2'",
		"CREATE VIEW left_behind.seen AS SELECT answer FROM " + quote("data of "+a.Binding.Role),
		"CREATE TABLE left_behind.own (n int)",
	} {
		if _, err := session.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	apply(t, p, removed(quiet))
	err = p.Apply(t.Context(), cluster, []jit.Change{removed(a)})[0]
	if !errors.Is(err, jit.ErrRemains) {
		t.Fatalf("the error is %v, want remains", err)
	}
	for text, want := range map[string]bool{
		"function left_behind.newer()": true, "function left_behind.replaced()": true, "view left_behind.seen": true,
		"older()": false, "harmless": false, "left_behind.own": false, "database": false,
	} {
		if strings.Contains(err.Error(), text) != want {
			t.Errorf("the error names %q: %t, want %t: %v", text, !want, want, err)
		}
	}
	if s.allowed(t, a.Binding) {
		t.Error("the access goes on")
	}
	var answer int
	again := connect(t, s.as(a.Binding.Principal))
	if err := again.QueryRow(t.Context(), "SELECT left_behind.newer()").Scan(&answer); err != nil || answer != 42 {
		t.Errorf("the function answers %d, %v: this test shows nothing", answer, err)
	}
	apply(t, p, removed(a)) // it says so once
}

// A function in another database is in sight as one of the database.
func TestWhatTheHolderLeavesInAnotherDatabase(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), s.access(0, 0, "elsewhere")
	other := s.server.Database(t)
	apply(t, p, ensured(a))
	admin := connect(t, other)
	for _, sql := range []string{
		"GRANT CREATE ON SCHEMA public TO " + quote(a.Binding.Role),
		"SET ROLE " + quote(a.Binding.Role),
		"CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
	} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	err := p.Apply(t.Context(), cluster, []jit.Change{removed(a)})[0]
	want := "functions in the database " + databaseOf(t, other)
	if told := err != nil && strings.Contains(err.Error(), want); told != (s.server.Major < 16) {
		t.Errorf("%v, want %q before 16", err, want)
	}
}
