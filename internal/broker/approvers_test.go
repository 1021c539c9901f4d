package broker_test

import (
	"testing"
	"testing/synctest"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A policy that nobody can satisfy is refused. The people of the same plan count.
func TestCheckApprovers(t *testing.T) { synctest.Test(t, testCheckApprovers) }

func testCheckApprovers(t *testing.T) {
	o := newOffice(t)
	o.Planned = &broker.Planned{}
	check := func(r jit.Requirement, parts ...string) {
		t.Helper()
		err := o.CheckApprovers(t.Context(), jit.Policy{Approval: []jit.Requirement{r}})
		if len(parts) == 0 && err != nil {
			t.Errorf("%+v: %v", r, err)
		}
		if len(parts) > 0 {
			wantError(t, err, jit.ErrInvalid, parts...)
		}
	}
	check(jit.Requirement{Required: 3, From: []string{"group:leads"}})
	check(jit.Requirement{Required: 4, From: []string{"group:leads"}},
		"approval[0].required", "4 people", "only 3 can: bob, lea, leo")
	check(jit.Requirement{Required: 2, From: []string{"group:leads"}, Evidence: []jit.Evidence{jit.PullRequest}},
		"only 1 can: lea")
	check(jit.Requirement{Required: 1, From: []string{"group:nobody"}}, "approval[0].from", `group "group:nobody"`)
	check(jit.Requirement{Required: 1, From: []string{"lena"}}, "approval[0].from", `person "lena"`, "depends_on")
	lena := jit.Person{Name: "lena"}
	o.Planned.PutPerson(lena)
	check(jit.Requirement{Required: 1, From: []string{"lena"}}, "only 0 can: nobody")
	o.Planned.DropPerson("leo")
	check(jit.Requirement{Required: 3, From: []string{"group:leads"}}, "only 2 can: bob, lea")
	o.Planned.PutIncompletePerson(lena)
	check(jit.Requirement{Required: 1, From: []string{"lena"}})
}

// If the ledger has persons, the requester must be one of them.
func TestCheckRequester(t *testing.T) { synctest.Test(t, testCheckRequester) }

func testCheckRequester(t *testing.T) {
	o := newOffice(t)
	for name, known := range map[string]bool{"": true, "lea": true, "Lea": true, "lena": false} {
		if err := o.CheckRequester(t.Context(), name); (err == nil) != known {
			t.Errorf("%q: %v", name, err)
		}
	}
	empty := newWorld(t, jit.Native)
	if err := empty.CheckRequester(t.Context(), "lena"); err != nil {
		t.Errorf("without persons: %v", err)
	}
}
