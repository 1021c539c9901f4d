package broker_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
	check(jit.Requirement{Required: 1, From: []string{"person:bob"}}, "approval[0].from",
		`write the name of a jit_person, such as "bob@example.com", or a group`)
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

// TestApproversOfTheSamePlan come in any order, while Terraform plans few blocks at a time. A run waits for them once.
func TestApproversOfTheSamePlan(t *testing.T) { synctest.Test(t, testApproversOfTheSamePlan) }

func testApproversOfTheSamePlan(t *testing.T) {
	const policies, parallelism = 50, 10
	for _, come := range []bool{true, false} {
		o := newOffice(t)
		o.Planned = &broker.Planned{}
		errs := make([]error, policies)
		var all sync.WaitGroup
		slots := make(chan struct{}, parallelism)
		begun := time.Now()
		for i := range policies {
			slots <- struct{}{}
			all.Go(func() {
				errs[i] = o.CheckApprovers(t.Context(), jit.Policy{Name: fmt.Sprintf("p%d", i),
					Approval: []jit.Requirement{{Required: 1, From: []string{"group:new"}}}})
				<-slots
			})
		}
		slots <- struct{}{}
		if come {
			o.Planned.PutPerson(jit.Person{Name: "new", Groups: []string{"group:new"}, SigningKeys: []string{
				"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJYKhZZyG4rA1HzbbAxkkWxnnIWqGvWGm0HjVgEnQzpG"}})
		}
		all.Wait()
		var text strings.Builder
		for _, err := range errs {
			if err != nil {
				text.WriteString(err.Error())
			}
		}
		if took := time.Since(begun); took > 4*time.Second || come && took > time.Second {
			t.Errorf("the persons come: %t; the plan took %s", come, took)
		}
		refused := 0
		for i := range policies {
			if strings.Contains(text.String(), fmt.Sprintf("policy \"p%d\"", i)) {
				refused++
			}
		}
		if come && text.Len() > 0 || !come && refused < policies-1 { // the first speaks for itself
			t.Errorf("the persons come: %t; %d policies are refused: %s", come, refused, text.String())
		}
	}
}
