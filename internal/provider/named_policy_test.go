package provider_test

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
)

// Removing the policy's name from a block is an update in place; all policies then judge the grant.
func TestPolicyTakenOutOfABlock(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		first, named := policy("a-first"), policy("named")
		both := "depends_on = [jit_policy.a-first, jit_policy.named]"
		configure(w, first, named, grant("a", "policy = jit_policy.named.name", both))
		w.Apply()
		id := fact(t, w, "jit_grant.a", "id")
		if g := record(t, w, id); g.Policy != "named" {
			t.Fatalf("permitted by %q", g.Policy)
		}
		freeze := policy("freeze", `effect = "forbid"`)
		configure(w, first, named, freeze, grant("a", both, "depends_on = [jit_policy.freeze]"))
		if r := w.Plan(); r.ExitCode != 1 {
			t.Errorf("forbidden: exit code %d\n%s", r.ExitCode, r.Text())
		} else {
			says(t, r, "Not permitted by policy", `"freeze"`)
		}
		configure(w, first, named, grant("a", both))
		r := w.Plan()
		if r.ExitCode != 2 {
			t.Errorf("plan: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, "will be updated in-place", `- policy = "named" -> null`, "INC-1: look")
		w.Apply()
		if g := record(t, w, id); g.Policy != "a-first" {
			t.Errorf("the recorded policy is %q, want a-first", g.Policy)
		}
		unchanged(t, w, "without the policy")

		// An import fills in the policy that decided. The block can leave it out.
		w.Must("state", "rm", "jit_grant.a")
		w.Must("import", "jit_grant.a", id)
		w.Apply()
		unchanged(t, w, "imported")
		configure(w, first, named, grant("a", both, `ttl = "3h"`))
		w.Apply()
		unchanged(t, w, "imported and changed")
		configure(w, first, named, grant("a", both, `ttl = "3h"`, "policy = jit_policy.named.name"))
		w.Apply()
		configure(w, first, named, grant("a", both, `ttl = "3h"`))
		if r := w.Plan(); r.ExitCode != 2 {
			t.Errorf("removed after an import: exit code %d\n%s", r.ExitCode, r.Text())
		}
		w.Apply()

		w.Clock.Advance(4 * time.Hour)
		unchanged(t, w, "after the end")
	})
}

// Removing the policy from a block after the end changes only the state.
func TestPolicyTakenOutAfterTheEnd(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		named := policy("named")
		configure(w, named, grant("a", "policy = jit_policy.named.name"))
		w.Apply()
		w.Clock.Advance(3 * time.Hour)
		unchanged(t, w, "after the end")
		before := record(t, w, fact(t, w, "jit_grant.a", "id"))
		w.Calls.Reset()
		configure(w, named, grant("a"))
		says(t, w.Plan("-out=plan"), "will be updated in-place", `- policy = "named" -> null`)
		w.Must("apply", "plan")
		if g := record(t, w, string(before.ID)); g.Version != before.Version {
			t.Errorf("the apply changed the record to %+v", g)
		}
		if got := w.Calls.Count(); got != (acctest.Count{}) {
			t.Errorf("the target was called: %+v", got)
		}
		unchanged(t, w, "without the policy")
	})
}

// plansNothing fails the test unless the plan after an import is empty.
func plansNothing(t *testing.T, w *acctest.World) {
	t.Helper()
	if r := w.Plan(); r.ExitCode != 0 {
		t.Errorf("imported: exit code %d\n%s", r.ExitCode, r.Text())
	}
}

// The ledger knows whether a block named its policy, for a state that is lost.
func TestPolicyTakenOutAfterAnImport(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		prod, named := policy("prod"), "policy = jit_policy.prod.name"
		imports := func() {
			t.Helper()
			id := fact(t, w, "jit_grant.a", "id")
			w.Must("state", "rm", "jit_grant.a")
			w.Must("import", "jit_grant.a", id)
			plansNothing(t, w)
		}
		takenOut := func(when string) {
			t.Helper()
			configure(w, prod, grant("a"))
			r := w.Plan()
			if r.ExitCode != 2 {
				t.Errorf("%s: exit code %d\n%s", when, r.ExitCode, r.Text())
			}
			says(t, r, `- policy = "prod" -> null`)
			w.Apply()
			unchanged(t, w, when)
		}
		configure(w, prod, grant("a", named))
		w.Apply()
		imports()
		takenOut("named from the beginning")
		imports()

		configure(w, prod, grant("a", named, `ttl = "3h"`))
		w.Apply()
		imports()
		configure(w, prod, grant("a", `ttl = "3h"`))
		if r := w.Plan(); r.ExitCode != 2 {
			t.Errorf("named later: exit code %d\n%s", r.ExitCode, r.Text())
		}
	})
}

// A block that names the policy that decided already records that.
func TestTheSamePolicyIsNamed(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		prod := policy("prod")
		depends := "depends_on = [jit_policy.prod]"
		configure(w, prod, grant("a", depends))
		w.Apply()
		configure(w, prod, grant("a", `policy = "prod"`, depends))
		w.Apply()
		id := fact(t, w, "jit_grant.a", "id")
		w.Must("state", "rm", "jit_grant.a")
		w.Must("import", "jit_grant.a", id)
		plansNothing(t, w)
		configure(w, prod, grant("a", depends))
		if r := w.Plan(); r.ExitCode != 2 {
			t.Errorf("taken out: exit code %d\n%s", r.ExitCode, r.Text())
		}
	})
}
