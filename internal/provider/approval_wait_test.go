package provider_test

import (
	"os"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
)

// An apply waits for an approval that arrives while it runs.
func TestWaitForApproval(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		named := "policy = jit_policy.prod.name"
		wait := `wait_for_approval = "1m"`
		configureWith(w, wait, office(t), approved())
		w.Apply()
		configureWith(w, wait, office(t), approved(), grant("a", named))
		file := signs(t, w, "lea", "jit_grant.a")
		content := w.Read(file)
		if err := os.Remove(w.Path(file)); err != nil {
			t.Fatal(err)
		}
		later := time.AfterFunc(3*time.Second, func() { w.Write(file, content) })
		defer later.Stop()
		w.Apply()
		unchanged(t, w, "approved while the apply waited")

		// So does more time for a live grant, on top of the time that the change itself may take.
		longer := grant("a", named, `ttl = "4h"`, `timeouts = { update = "2s" }`)
		configureWith(w, wait, office(t), approved(), longer)
		end := fact(t, w, "jit_grant.a", "expires_at")
		r := w.Interrupted(4*time.Second, "apply", "-auto-approve")
		if r.ExitCode != 1 || fact(t, w, "jit_grant.a", "expires_at") != end {
			t.Errorf("interrupted: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, "Error: The grant needs approval", "1 of: lea, leo")
		file = signs(t, w, "leo", "jit_grant.a")
		content = w.Read(file)
		if err := os.Remove(w.Path(file)); err != nil {
			t.Fatal(err)
		}
		later = time.AfterFunc(4*time.Second, func() { w.Write(file, content) })
		defer later.Stop()
		w.Apply()
		if fact(t, w, "jit_grant.a", "expires_at") == end {
			t.Error("the approved change did not move the end")
		}
		unchanged(t, w, "extended while the apply waited")

		// Ctrl-C ends the wait, and nothing is granted.
		configureWith(w, wait, office(t), approved(), longer, grant("b", named, "renewal = 2"))
		begun := time.Now()
		interrupted := w.Interrupted(4*time.Second, "apply", "-auto-approve")
		if interrupted.ExitCode != 1 || time.Since(begun) > 30*time.Second || lines(w) != 1 {
			t.Errorf("interrupted: exit code %d after %s, %d lines\n%s", interrupted.ExitCode, time.Since(begun),
				lines(w), interrupted.Text())
		}
		says(t, interrupted, "Error: The grant needs approval")

		configureWith(w, `wait_for_approval = "never"`, office(t))
		r = w.Plan()
		if r.ExitCode != 1 {
			t.Errorf("a wrong wait: exit code %d", r.ExitCode)
		}
		says(t, r, "Invalid wait_for_approval")
	})
}
