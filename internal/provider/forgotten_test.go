package provider_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

// A role that takes no condition is a membership that only the ledger tells from standing access. With the ledger lost,
// plan and destroy name the membership, and the destroy fails until it is gone.
func TestTheLedgerOfAMembershipIsLost(t *testing.T) {
	const who, scope = "user:alice@example.com", "projects/payments-prod"
	each(t, func(t *testing.T, w *acctest.World) {
		s := gcptest.New(t)
		s.Add(scope, "")
		s.AddAccounts(who)
		s.SetClock(time.Until(w.Clock.Now()))
		w.Write("main.tf", fmt.Sprintf(`
terraform {
  required_providers {
    jit = { source = "jitaccess/jit" }
  }
}

provider "jit" {
  targets = { prod = { gcp = { endpoint = %q } } }
}

%s`, s.URL, grant("a", `target = "prod"`, fmt.Sprintf("principal = %q", who), `role = "roles/viewer"`,
			fmt.Sprintf("scope = %q", scope))))
		w.Apply()
		if err := os.RemoveAll(w.Path(".jit")); err != nil {
			t.Fatal(err)
		}
		named := func(r acctest.Result) bool {
			return strings.Contains(r.Text(), "roles/viewer to "+who+" on "+scope)
		}
		if r := w.Plan(); r.ExitCode == 1 || !named(r) {
			t.Errorf("the plan (%d) does not name the membership:\n%s", r.ExitCode, r.Text())
		}
		if r := w.Run("destroy", "-auto-approve"); r.ExitCode == 0 || !named(r) {
			t.Errorf("the destroy (%d) does not fail with the membership:\n%s", r.ExitCode, r.Text())
		}
		if !slices.Contains(s.Policy(scope).Bindings[0].Members, who) || len(w.State()) != 1 {
			t.Errorf("%d resources are left, and the policy is %+v", len(w.State()), s.Policy(scope))
		}
		s.Edit(scope, func(p *gcptest.Policy) { p.Bindings = nil })
		w.Must("destroy", "-auto-approve")
	})
}
