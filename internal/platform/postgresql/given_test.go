package postgresql

import (
	"errors"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
)

// A role is judged by all that it includes: the roles that it is a member of, predefined ones and superusers among
// them.
func TestPoliciesSeeWhatARoleIncludes(t *testing.T) {
	s := newSite(t)
	tag := databaseOf(t, s.url)
	dba, through, super := "dba"+tag, "through"+tag, "super"+tag
	s.role(t, dba, "NOLOGIN")
	s.role(t, through, "NOLOGIN")
	s.role(t, super, "SUPERUSER NOLOGIN")
	s.exec(t, "GRANT pg_execute_server_program TO "+through)
	s.exec(t, "GRANT "+through+" TO "+dba)

	all := jit.Policy{Name: "all", Effect: jit.Permit, Match: jit.Matches{{Roles: []string{"*"}}}}
	literal := jit.Policy{Name: "literal", Effect: jit.Permit,
		Match: jit.Matches{{Roles: []string{dba, super, "pg_read_all_data"}}}}
	forbid := jit.Policy{Name: "never", Effect: jit.Forbid, Match: jit.Matches{{Roles: []string{"pg_execute_*"}}}}
	old := strings.HasPrefix(s.text(t, "SHOW server_version"), "15")
	for _, c := range []struct {
		role      string
		policies  []jit.Policy
		permitted bool
	}{
		{s.roles[0], []jit.Policy{all}, true},
		{dba, []jit.Policy{all}, false},
		{"pg_read_all_data", []jit.Policy{all}, false},
		{super, []jit.Policy{all}, !old},
		{dba, []jit.Policy{literal}, true},
		{super, []jit.Policy{literal}, true},
		{dba, []jit.Policy{literal, forbid}, false},
		{s.roles[0], []jit.Policy{all, forbid}, true},
	} {
		err := platformtest.Plan(t, s.open(t), jit.Binding{Principal: s.principals[0], Role: c.role, Scope: cluster},
			c.policies...)
		if c.permitted && err != nil || !c.permitted && !errors.Is(err, jit.ErrDenied) {
			t.Errorf("%s by %+v: %v, want permitted %t", c.role, c.policies, err, c.permitted)
		}
	}

	// Asked once for many grants of a role, and not at all where the role is named.
	p := s.open(t)
	before := s.reads.Load()
	for range 20 {
		if err := platformtest.Plan(t, p, jit.Binding{Principal: s.principals[0], Role: s.roles[0], Scope: cluster},
			all); err != nil {
			t.Fatal(err)
		}
	}
	if err := platformtest.Plan(t, p, jit.Binding{Principal: s.principals[0], Role: dba, Scope: cluster},
		literal); err != nil {
		t.Error(err)
	}
	if asked := s.reads.Load() - before; asked != 1 {
		t.Errorf("the server was asked %d times, want once", asked)
	}
}
