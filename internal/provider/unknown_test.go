package provider_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The target carries a grant out, but the answer is lost. The grant is in the state, tainted. The next apply completes
// it within its window, and removing the block ends it.
func TestAnswerThatWasLost(t *testing.T) {
	for name, then := range map[string]func(*testing.T, *acctest.World){
		"applied again": func(t *testing.T, w *acctest.World) {
			end := fact(t, w, "jit_grant.a", "expires_at")
			w.Apply()
			if got := fact(t, w, "jit_grant.a", "expires_at"); got != end || lines(w) != 1 {
				t.Errorf("the grant ends at %s, want %s:\n%s", got, end, w.Read("authorized_keys"))
			}
			if got := w.Calls.Count(); got.Ensures != 1 || got.Removes != 0 {
				t.Errorf("the completing apply made the calls %+v", got)
			}
			if g := record(t, w, fact(t, w, "jit_grant.a", "id")); g.State(w.Clock.Now()) != jit.StateActive {
				t.Errorf("the record is %+v", g)
			}
			unchanged(t, w, "after the completion")
		},
		"taken away": func(t *testing.T, w *acctest.World) {
			configure(w)
			w.Apply()
			if got := w.Read("authorized_keys"); got != foreign {
				t.Errorf("authorized_keys is\n%s", got)
			}
		},
		"over": func(t *testing.T, w *acctest.World) {
			w.Clock.Advance(3 * time.Hour)
			w.Apply()
			unchanged(t, w, "after the end")
			if got := w.Calls.Count(); got.Ensures != 0 {
				t.Errorf("an ended grant was granted: %+v", got)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *acctest.World) {
				configure(w, grant("a"))
				w.Calls.Lose(errNoAnswer)
				r := w.Run("apply", "-auto-approve")
				if r.ExitCode != 1 {
					t.Errorf("apply: exit code %d\n%s", r.ExitCode, r.Text())
				}
				says(t, r, "Error: Cannot grant", "nevertheless the access may be in force",
					"`jit revoke "+fact(t, w, "jit_grant.a", "id")+"` ends it")
				if !strings.Contains(w.Must("state", "pull").Stdout, "tainted") || lines(w) != 1 {
					t.Errorf("the test is wrong:\n%s", w.Read("authorized_keys"))
				}
				w.Calls.Fail(nil)
				w.Calls.Reset()
				w.Clock.Advance(2 * time.Minute)
				then(t, w)
			})
		})
	}
}

// The apply judges values that are unknown at plan.
func TestUnknownValues(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		later := fmt.Sprintf("resource \"terraform_data\" \"later\" {\n  input = %q\n}\n", w.Path("authorized_keys"))
		configure(w, later, grant("a", `reason = "INC-1: ${terraform_data.later.output}"`))
		w.Write("main.tf", strings.Replace(w.Read("main.tf"),
			fmt.Sprintf("authorized_keys = %q", w.Path("authorized_keys")),
			"authorized_keys = terraform_data.later.output", 1))
		r := w.Plan()
		if r.ExitCode != 2 || w.Calls.Count() != (acctest.Count{}) {
			t.Errorf("plan: exit code %d, %+v\n%s", r.ExitCode, w.Calls.Count(), r.Text())
		}
		w.Apply()
		if lines(w) != 1 {
			t.Errorf("nothing was granted:\n%s", w.Read("authorized_keys"))
		}
		unchanged(t, w, "with everything known")

		// A live grant's target becomes unknown. The plan does not change the grant.
		w.Write("main.tf", strings.Replace(w.Read("main.tf"), "input =", "triggers_replace = 1\n  input =", 1))
		if r := w.Plan(); r.ExitCode != 2 {
			t.Errorf("plan with an unknown target: exit code %d\n%s", r.ExitCode, r.Text())
		}

		bad := grant("a", `ttl = terraform_data.length.output`)
		configure(w, "resource \"terraform_data\" \"length\" {\n  input = \"never\"\n}\n", bad)
		r = w.Run("apply", "-auto-approve")
		if r.ExitCode != 1 {
			t.Errorf("a ttl of \"never\": exit code %d", r.ExitCode)
		}
		says(t, r, `"never" is not a duration`)
	})
}

// A policy is removed from a block while a provider setting is unknown at plan. The apply carries the change out.
func TestPolicyTakenOutWhileTheProviderIsUnconfigured(t *testing.T) {
	for name, lines := range map[string][]string{"alone": nil, "with another length": {`ttl = "3h"`}} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *acctest.World) {
				first, named, both := policy("a-first"), policy("named"),
					"depends_on = [jit_policy.a-first, jit_policy.named]"
				limit := func(n int) string {
					return fmt.Sprintf("resource \"terraform_data\" \"limit\" {\n  triggers_replace = %d\n"+
						"  input = \"24h\"\n}\n", n)
				}
				configure(w, limit(1), first, named, grant("a", "policy = jit_policy.named.name", both))
				w.Apply()
				configureWith(w, "max_ttl = terraform_data.limit.output", limit(2), first, named,
					grant("a", append(lines, both)...))
				if r := w.Plan("-out=plan"); r.ExitCode != 2 {
					t.Errorf("plan: exit code %d\n%s", r.ExitCode, r.Text())
				} else {
					says(t, r, `- policy = "named" -> null`)
				}
				w.Must("apply", "plan")
				if g := record(t, w, fact(t, w, "jit_grant.a", "id")); g.Policy != "a-first" {
					t.Errorf("the recorded policy is %q, want a-first", g.Policy)
				}
				unchanged(t, w, "after the apply")
			})
		})
	}
}
