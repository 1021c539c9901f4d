package provider_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
)

// A policy judges the grants of its own plan that name it. A forbidden grant is refused at plan. Removing a policy
// later does not affect live grants.
func TestPolicy(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		oncall := policy("oncall", `max_ttl = "4h"`, `reason_pattern = "^INC-"`)
		named := "policy = jit_policy.oncall.name"

		configure(w, oncall, grant("a", named, `ttl = "5h"`))
		r := w.Plan()
		if r.ExitCode != 1 {
			t.Errorf("longer than its policy allows: exit code %d", r.ExitCode)
		}
		says(t, r, "Not permitted by policy", "4h", `: ttl = "5h"`)
		configure(w, oncall, grant("a", named, `reason = "just so"`))
		says(t, w.Plan(), "Not permitted by policy", `: reason = "just so"`)

		configure(w, oncall, grant("a", named))
		r = w.Plan()
		if r.ExitCode != 2 || strings.Contains(r.Text(), "No policy governs") {
			t.Errorf("permitted by a policy of the same plan: exit code %d\n%s", r.ExitCode, r.Text())
		}
		w.Apply()
		unchanged(t, w, "with a policy")

		// A change is judged by the planned policy.
		configure(w, strings.Replace(oncall, `"4h"`, `"240m"`, 1), grant("a", named, `ttl = "5h"`))
		says(t, w.Plan(), "Not permitted by policy")
		configure(w, strings.Replace(oncall, `"4h"`, `"6h"`, 1), grant("a", named, `ttl = "5h"`))
		w.Apply()
		unchanged(t, w, "with a longer policy")

		freeze := policy("freeze", `effect = "forbid"`, `description = "no changes this week"`)
		configure(w, strings.Replace(oncall, `"4h"`, `"6h"`, 1), freeze, grant("a", named, `ttl = "5h"`))
		w.Apply()
		unchanged(t, w, "with a live grant that is now forbidden")
		w.Calls.Reset()
		configure(w, freeze, grant("a", `policy = "oncall"`, `ttl = "5h"`),
			grant("b", fmt.Sprintf("principal = %q", bob)))
		r = w.Run("apply", "-auto-approve")
		if r.ExitCode != 1 || w.Calls.Count().Writes != 0 {
			t.Errorf("forbidden: exit code %d, %+v", r.ExitCode, w.Calls.Count())
		}
		says(t, r, "Not permitted by policy", "freeze")

		configure(w, grant("a", `policy = "oncall"`, `ttl = "5h"`))
		w.Apply()
		unchanged(t, w, "after the policies were removed")
		w.Clock.Advance(6 * time.Hour)
		unchanged(t, w, "after the end, without a policy")

		// Somebody else removes the policy from the ledger. The next plan adds it again.
		configure(w, oncall)
		w.Apply()
		if err := w.Runtime().Broker.DropPolicy(t.Context(), "oncall", 0); err != nil {
			t.Fatal(err)
		}
		if r := w.Plan(); r.ExitCode != 2 {
			t.Errorf("a missing policy: exit code %d", r.ExitCode)
		}
		w.Apply()
		w.Must("state", "rm", "jit_policy.oncall")
		w.Must("import", "jit_policy.oncall", "oncall")
		if r := w.Plan(); r.ExitCode != 0 {
			t.Errorf("after the import: exit code %d\n%s", r.ExitCode, r.Text())
		}
		if r := w.Run("import", "jit_policy.oncall", "nobody"); r.ExitCode == 0 {
			t.Error("an unknown policy was imported")
		}
	})
}

// Terraform drops a name that match does not have without a word, so the list narrows nothing. The plan of a permit that
// matches every grant says so, once.
func TestPolicyThatMatchesEverything(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		const warning = "Warning: The policy matches every grant"
		misspelt := strings.Replace(policy("oncall"), "{}", `{ target = ["bastion"], role = ["login"] }`, 1)
		narrow := strings.Replace(policy("narrow"), "{}", `{ targets = ["bastion"], roles = ["login"] }`, 1)
		configure(w, misspelt, narrow, policy("freeze", `effect = "forbid"`))
		r := w.Plan()
		says(t, r, warning, `policy "oncall" permits every grant`, "targets, platforms, owners, principals, roles, scopes")
		if n := strings.Count(r.Text(), warning); n != 1 {
			t.Errorf("%d warnings, want one\n%s", n, r.Text())
		}
		w.Apply()
		if r := w.Plan(); r.ExitCode != 0 || strings.Contains(r.Text(), warning) {
			t.Errorf("an unchanged policy: exit code %d\n%s", r.ExitCode, r.Text())
		}
		configure(w, strings.Replace(narrow, "targets", "target", 1), policy("freeze", `effect = "forbid"`))
		if r := w.Plan(); strings.Contains(r.Text(), warning) {
			t.Errorf("an entry with one list: %s", r.Text())
		}
	})
}

// A policy with unknown values refuses at plan only what its known values refuse. The apply judges by the whole policy.
func TestPolicyThatIsNotKnownYet(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		values := func(longest, principal string) string {
			return fmt.Sprintf("resource \"terraform_data\" \"longest\" {\n  input = %q\n}\nresource \"terraform_data\" \"who\" {\n  input = %q\n}\n", longest, principal)
		}
		limited := func(name string, lines ...string) string {
			return policy(name, append(lines, "max_ttl = terraform_data.longest.output", `reason_pattern = "^INC-"`)...)
		}
		named := "policy = jit_policy.oncall.name"
		foreseen := func(when string) {
			t.Helper()
			r := w.Plan()
			if r.ExitCode != 2 {
				t.Errorf("%s: plan: exit code %d\n%s", when, r.ExitCode, r.Text())
			}
			says(t, r, "The policy is not known yet")
			if strings.Contains(r.Text(), "No policy governs") {
				t.Errorf("%s: the plan says that no policy governs the grant:\n%s", when, r.Text())
			}
		}
		refused := func(when string, r acctest.Result, parts ...string) {
			t.Helper()
			if r.ExitCode != 1 {
				t.Errorf("%s: exit code %d\n%s", when, r.ExitCode, r.Text())
			}
			says(t, r, parts...)
		}

		configure(w, values("4h", alice), limited("oncall"), grant("a", named))
		foreseen("named")
		configure(w, values("4h", alice), limited("oncall"), grant("a", "depends_on = [jit_policy.oncall]"))
		refused("the first policy, not named", w.Plan(), "the policies first")
		configure(w, values("4h", alice), limited("oncall"), grant("a", named, `reason = "just so"`))
		refused("against what is known", w.Plan(), "Not permitted by policy", `reason = "just so"`)
		configure(w, values("1h", alice), limited("oncall"), grant("a", named))
		foreseen("too long")
		refused("too long", w.Run("apply", "-auto-approve"), "Not permitted by policy", "1h")
		if got := w.Calls.Count(); got.Writes != 0 {
			t.Errorf("the refused apply made the calls %+v", got)
		}

		// The policy is recorded by now. A planned change replaces the recorded policy in the judgement.
		configure(w, values("5h", alice), limited("oncall"), grant("a", named, `ttl = "3h"`))
		foreseen("changed")
		w.Apply()
		unchanged(t, w, "with everything known")
		configure(w, values("7h", alice), limited("oncall"), grant("a", named, `ttl = "6h"`))
		foreseen("changed with its grant")
		w.Apply()
		unchanged(t, w, "with both changed")

		// First the policy's principals are unknown, then its name.
		about := func(lines ...string) string {
			return strings.Replace(policy("some", lines...), "match = [{}]",
				"match = [{ roles = [\"login\"], principals = [\"nobody\", terraform_data.who.output] }]", 1)
		}
		// The policy that goes does not permit it: nothing orders its removal before the plan of the grant.
		others, why := fmt.Sprintf("principal = %q", bob), `reason = "CHG-1: look"`
		configure(w, values("7h", bob), about(), grant("b", others, why, "policy = jit_policy.some.name"))
		foreseen("about nobody yet")
		configure(w, values("7h", bob), strings.Replace(about(), `name = "some"`,
			"name = \"some-${terraform_data.longest.output}\"", 1),
			grant("b", others, why, "depends_on = [jit_policy.some]"))
		foreseen("without a name")
		w.Apply()
		unchanged(t, w, "with a name")

		// A forbidding policy with unknown principals forbids nothing at plan, and permits nothing.
		configure(w, values("8h", alice), policy("any"), about(`effect = "forbid"`), grant("b", others, why, `renewal = 2`))
		if r := w.Plan(); r.ExitCode != 2 {
			t.Errorf("beside a forbidding policy: plan: exit code %d\n%s", r.ExitCode, r.Text())
		}
		configure(w, values("8h", alice), policy("any"), about(`effect = "forbid"`),
			grant("b", others, why, `renewal = 2`, "policy = jit_policy.some.name"))
		refused("by a forbidding policy", w.Plan(), "permits nothing")
	})
}

// A policy survives its own replacement. No block takes over another policy by its name.
func TestPolicyHasOneHolder(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		oncall := policy("oncall", `max_ttl = "4h"`, "lifecycle {\n create_before_destroy = true\n}")
		configure(w, oncall)
		w.Apply()
		w.Apply("-replace=jit_policy.oncall")
		unchanged(t, w, "after the policy was replaced")
		configure(w, oncall, grant("a", `ttl = "5h"`))
		says(t, w.Plan(), "Not permitted by policy", "4h")

		w.Must("state", "rm", "jit_policy.oncall")
		configure(w, policy("oncall", `max_ttl = "20h"`))
		says(t, w.Plan(), "Warning: Invalid name", "with other content", "terraform import")
		r := w.Run("apply", "-auto-approve")
		if r.ExitCode != 1 {
			t.Errorf("another policy of the same name: exit code %d", r.ExitCode)
		}
		says(t, r, "with other content", "terraform import")
		configure(w, oncall)
		w.Apply()
		unchanged(t, w, "after the same policy was taken over")
	})
}

// A plan refuses access that a policy forbids or does not permit, in every spelling.
func TestPolicyJudgesWhatIsGiven(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		about := func(name, match string, lines ...string) string {
			return strings.Replace(policy(name, lines...), "match = [{}]", "match = [{ "+match+" }]", 1)
		}
		backup := about("backup", `roles = ["command:/usr/bin/backup *"], owners = ["*"]`)
		noLogin := about("no-login", `roles = ["login"]`, `effect = "forbid"`)
		named := "policy = jit_policy.backup.name"
		for _, c := range []struct{ role, forbidden, want string }{
			{"command:/usr/bin/backup --now", noLogin, ""},
			{"command:/usr/bin/backup --now; exec bash -i", "", "must name it without wildcards"},
			{"command:/usr/bin/backup /../bash", "", "must name it without wildcards"},
			{"command:exec bash -l", noLogin, `"no-login" forbids it, since its role gives "login"`},
		} {
			w.Calls.Reset()
			configure(w, backup, c.forbidden,
				grant("a", named, fmt.Sprintf("depends_on = [%s]",
					map[bool]string{true: "jit_policy.no-login"}[c.forbidden != ""]), fmt.Sprintf("role = %q", c.role)))
			r := w.Plan()
			if c.want == "" {
				if r.ExitCode != 2 {
					t.Errorf("%s: exit code %d\n%s", c.role, r.ExitCode, r.Text())
				}
				continue
			}
			if r.ExitCode != 1 || w.Calls.Count() != (acctest.Count{}) {
				t.Errorf("%s: exit code %d, %+v", c.role, r.ExitCode, w.Calls.Count())
			}
			says(t, r, "Not permitted by policy", c.want)
		}
		configure(w, about("others", `owners = ["others"]`), grant("a", "policy = jit_policy.others.name"))
		r := w.Plan()
		if r.ExitCode != 1 {
			t.Errorf("a policy of another owner: exit code %d", r.ExitCode)
		}
		says(t, r, "Not permitted by policy", `wners of policy "others" are "others"`)
	})
}

// Two blocks with one policy name would overwrite each other with each apply.
func TestTwoPoliciesOfOneName(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		first := policy("oncall", `max_ttl = "4h"`)
		second := func(lines ...string) string {
			return strings.Replace(policy("oncall", lines...), `"jit_policy" "oncall"`, `"jit_policy" "other"`, 1)
		}
		refused := func(when string, r acctest.Result) {
			t.Helper()
			if r.ExitCode != 1 {
				t.Errorf("%s: exit code %d\n%s", when, r.ExitCode, r.Text())
			}
			says(t, r, "nother jit_policy of this configuration")
		}
		configure(w, first, second(`max_ttl = "5h"`))
		refused("two new ones", w.Plan())
		either := func(strict string) []string {
			counted := func(block, count string) string {
				return strings.Replace(block, "match =", "count = "+count+"\n  match =", 1)
			}
			return []string{fmt.Sprintf("variable \"strict\" {\n  default = %s\n}\n", strict),
				counted(first, "var.strict ? 1 : 0"), counted(second(`max_ttl = "5h"`), "var.strict ? 0 : 1")}
		}
		for _, strict := range []string{"true", "false"} {
			configure(w, either(strict)...)
			w.Must("validate")
			if r := w.Plan(); r.ExitCode != 2 {
				t.Errorf("after removing one of two blocks: exit code %d\n%s", r.ExitCode, r.Text())
			}
		}
		configure(w, first)
		w.Must("validate")
		w.Apply()

		configure(w, first, second(`max_ttl = "5h"`))
		refused("an existing block and a new one", w.Plan())
		configure(w, first, strings.Replace(policy("twins"), "match =", "count = 2\n  match =", 1))
		refused("two instances of one block", w.Plan())
		configure(w, first)
		w.Apply("-replace=jit_policy.oncall")
		unchanged(t, w, "after the policy was replaced")
	})
}

// A recorded policy plans while a setting of the provider is unknown.
func TestPlanOfAPolicyWhileTheProviderIsUnconfigured(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		const limit = "resource \"terraform_data\" \"limit\" {\n  input = \"24h\"\n}\n"
		configure(w, policy("any"))
		w.Apply()
		configureWith(w, "max_ttl = terraform_data.limit.output", policy("any"), limit)
		if r := w.Plan(); r.ExitCode != 2 {
			t.Errorf("plan: exit code %d\n%s", r.ExitCode, r.Text())
		} else {
			says(t, r, "1 to add, 0 to change, 0 to destroy")
		}
		w.Apply()
		unchanged(t, w, "after the apply")
	})
}
