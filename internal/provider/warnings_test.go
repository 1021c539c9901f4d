package provider_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/azuretest"
)

// Six grants give each warning once in a plan, and none that their policy has decided on. The protocol does not tell a
// provider whether Terraform plans or applies, so an apply of a saved plan repeats what it still finds.
func TestWarningsOfSixGrants(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		const scope = "/subscriptions/11111111-0000-4000-8000-000000000000"
		s := azuretest.New(t)
		s.Clock = w.Clock.Now
		s.AddScope(scope)
		count := func(when string, r acctest.Result, want ...string) {
			t.Helper()
			says(t, r, want...)
			if got := warnings(r); got != len(want) || r.ExitCode == 1 {
				t.Errorf("%s: exit code %d, %d warnings, want %d\n%s", when, r.ExitCode, got, len(want), r.Text())
			}
		}
		write := func(assignment string, policies ...string) {
			by := "policy ="
			if len(policies) > 0 {
				by = "policy = jit_policy.all.name"
			}
			for i := range 6 {
				who := fmt.Sprintf("aaaaaaaa-0000-4000-8000-00000000000%d", i)
				s.AddPrincipal("User", who, 0)
				policies = append(policies, grant(fmt.Sprintf("g%d", i), `target = "prod"`, `role = "Reader"`,
					fmt.Sprintf("principal = %q", "user:"+who), fmt.Sprintf("scope = %q", scope), by))
			}
			for i, p := range policies { // a policy that matches everything gives a warning of its own
				policies[i] = strings.Replace(p, "match = [{}]", `match = [{ targets = ["*"] }]`, 1)
			}
			configure(w, policies...)
			target := fmt.Sprintf("{ prod = { azure = { endpoint = %q, assignment = %q } }, host", s.URL, assignment)
			w.Write("main.tf", strings.Replace(w.Read("main.tf"), "{ host", target, 1))
		}
		ungoverned, sessions, sweeper := "Warning: No policy governs the grant",
			"Warning: Sessions can outlive the grant", "Warning: No sweeper is at work"
		write("rbac")
		count("without a policy", w.Plan(), ungoverned, sessions, sweeper)
		write("rbac", policy("all"))
		count("a policy that leaves both open", w.Plan(), sessions, sweeper)
		write("rbac", policy("all", `enforcement = "any"`))
		count("a policy that takes the sweeper", w.Plan(), sessions)
		write("rbac", policy("all", `max_session_tail = "1h"`))
		count("a policy that takes the tail", w.Plan(), sweeper)
		write("rbac", policy("all", `enforcement = "any"`, `max_session_tail = "1h"`))
		count("a policy that takes both", w.Plan("-out=plan"))
		count("its apply", w.Must("apply", "plan"))
	})
}

// Where sessions can go on for ever, a policy can accept that, and the warning is gone.
func TestPolicyAcceptsUnlimitedSessions(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		for tail, warns := range map[string]bool{`description = "none"`: true, `max_session_tail = "unlimited"`: false} {
			configure(w, policy("all", tail), grant("g", "policy = jit_policy.all.name"))
			r := w.Plan()
			if got := strings.Contains(r.Text(), "Sessions can outlive"); got != warns || r.ExitCode != 2 {
				t.Errorf("%s: exit code %d, a warning: %t, want %t\n%s", tail, r.ExitCode, got, warns, r.Text())
			}
		}
		configure(w, policy("all", `max_session_tail = "unlimited"`), grant("g", "policy = jit_policy.all.name"))
		w.Apply()
		if r := w.Plan(); r.ExitCode != 0 {
			t.Errorf("after the apply: exit code %d\n%s", r.ExitCode, r.Text())
		}
	})
}
