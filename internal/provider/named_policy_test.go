package provider_test

import (
	"fmt"
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

// The grants of one apply with the first policy of a ledger begin only as that policy says. Terraform knows of no order
// between the two, so a grant without the name of its policy is refused at plan, and one whose policy is not recorded
// yet at apply.
func TestFirstPolicyIsNamed(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		base := []string{office(t), approved()}
		late := "resource \"terraform_data\" \"late\" {\n  input = \"INC-1: look\"\n}\n"
		for _, lines := range [][]string{nil, {"reason = terraform_data.late.output"},
			{"depends_on = [jit_policy.prod]"}} { // the policy is planned last, last, and first
			configure(w, append(base, late, grant("a", lines...))...)
			r := w.Plan()
			if r.ExitCode != 1 {
				t.Errorf("without a name, %v: exit code %d\n%s", lines, r.ExitCode, r.Text())
			}
			says(t, r, "policy = jit_policy.<name>.name", "ledger has no policy yet", "without approval")
		}

		for _, named := range []string{`policy = "prod"`, "policy = jit_policy.prod.name"} {
			for _, order := range []string{"-parallelism=1", "-parallelism=10"} {
				configure(w, append(base, grant("a", named))...)
				r := w.Run("apply", "-auto-approve", order)
				if r.ExitCode != 1 || w.Calls.Count().Writes != 0 || lines(w) != 0 {
					t.Errorf("%s %s: exit code %d, %+v\n%s", named, order, r.ExitCode, w.Calls.Count(), r.Text())
				}
				configure(w)
				w.Apply("-parallelism=1")
			}
		}

		// Nothing waits for a policy that asks for nobody's approval, or that has been recorded before.
		configure(w, policy("any"), grant("a"))
		w.Apply()
		if lines(w) != 1 {
			t.Error("the permitted grant is not on the target")
		}
		configure(w, append(base, policy("any"), grant("a"), grant("b", fmt.Sprintf("principal = %q", bob)))...)
		if r := w.Plan(); r.ExitCode != 2 {
			t.Errorf("after another policy: exit code %d\n%s", r.ExitCode, r.Text())
		}
	})
}

// One apply that renames or replaces the only policy, and makes a grant that names none, records the policy: the ledger
// had one before.
func TestTheOnlyPolicyIsReplaced(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		asks := []string{`approval = [{ required = 1, from = ["group:leads"], unless = "grant.ttl <= duration('30m')" }]`,
			"depends_on = [jit_person.lea, jit_person.leo]"}
		base := []string{office(t), policy("prod", asks...)}
		configure(w, base...)
		w.Apply()
		for _, name := range []string{"a", "b"} {
			base = append(base, grant(name, `ttl = "20m"`, fmt.Sprintf(`reason = "INC-1: %s"`, name)))
			configure(w, base...)
			w.Apply("-replace=jit_policy.prod")
		}
		configure(w, append([]string{office(t), policy("production", asks...)}, base[2:]...)...)
		w.Apply()
		if lines(w) != 2 {
			t.Errorf("%d grants are on the target, want 2", lines(w))
		}
	})
}

// A recorded policy that asks for approval from an apply on also decides on the new grants of that apply: one that names
// no policy could begin before, so the plan refuses it.
func TestApprovalOfTheSameApply(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, office(t), policy("prod"), grant("live"))
		w.Apply()
		asks := approved()
		late := "resource \"terraform_data\" \"late\" {\n  input = \"INC-1: more\"\n}\n"
		for _, reason := range [][]string{{`reason = "INC-1: more"`}, {"reason = terraform_data.late.output"},
			{`reason = "INC-1: more"`, "depends_on = [jit_policy.prod]"}} { // the policy is planned at any time
			configure(w, office(t), asks, late, grant("live"), grant("new", reason...))
			r := w.Run("apply", "-auto-approve", "-parallelism=1")
			if r.ExitCode != 1 || lines(w) != 1 {
				t.Errorf("%v: exit code %d, %d grants are on the target\n%s", reason, r.ExitCode, lines(w), r.Text())
			}
			says(t, r, "policy = jit_policy.<name>.name", "without approval")
		}
		// A plan without a new grant records the policy, and the live grant stays.
		configure(w, office(t), asks, grant("live"))
		w.Apply()
		if lines(w) != 1 {
			t.Errorf("%d grants are on the target, want 1", lines(w))
		}
	})
}
