package provider_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A grant whose target carried it out and lost the answer is in the state, tainted: the next apply completes it within its window, and
// taking the block away ends it.
func TestAnswerThatWasLost(t *testing.T) {
	for name, then := range map[string]func(*testing.T, *acctest.World){
		"applied again": func(t *testing.T, w *acctest.World) {
			end := fact(t, w, "jit_grant.a", "expires_at")
			w.Apply()
			if got := fact(t, w, "jit_grant.a", "expires_at"); got != end || lines(w) != 1 {
				t.Errorf("it ends at %s, want %s:\n%s", got, end, w.Read("authorized_keys"))
			}
			if got := w.Calls.Count(); got.Ensures != 1 || got.Removes != 0 {
				t.Errorf("completing it made %+v", got)
			}
			if g := record(t, w, fact(t, w, "jit_grant.a", "id")); g.State(w.Clock.Now()) != jit.StateActive {
				t.Errorf("recorded is %+v", g)
			}
			unchanged(t, w, "when it is completed")
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
			unchanged(t, w, "when it is over")
			if got := w.Calls.Count(); got.Ensures != 0 {
				t.Errorf("what is over was granted: %+v", got)
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
				says(t, r, "Error: Cannot grant", "the access may be in force all the same", "`jit revoke "+fact(t, w, "jit_grant.a", "id")+"` ends it")
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
