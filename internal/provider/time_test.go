package provider_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Promises 3 and 4: time passing never changes a plan, and no ended grant comes back by itself.
func TestEndedGrantStaysEnded(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		trigger := func(n int) string {
			return fmt.Sprintf("resource \"terraform_data\" \"trigger\" {\n  input = %d\n}\n", n)
		}
		replaceable := "lifecycle {\n    replace_triggered_by = [terraform_data.trigger]\n  }"
		numbered := func(keys ...string) string {
			return fmt.Sprintf("resource \"jit_grant\" \"n\" {\n  count = %d\n  target = \"host\"\n  role = \"login\"\n  reason = \"INC-2: count\"\n  ttl = \"1h\"\n  principal = [%s][count.index]\n}\n",
				len(keys), `"`+strings.Join(keys, `", "`)+`"`)
		}
		configure(w, trigger(1), grant("a", replaceable), numbered(alice, bob))
		w.Apply()
		if got := w.Calls.Count().Ensures; got != 3 {
			t.Fatalf("three grants caused %d ensures", got)
		}
		unchanged(t, w, "inside the window")
		id, end := fact(t, w, "jit_grant.a", "id"), fact(t, w, "jit_grant.a", "expires_at")
		if want := jit.FormatTime(w.Clock.Now().Add(2 * time.Hour)); end != want {
			t.Errorf("expires_at is %s, want %s", end, want)
		}

		w.Clock.Advance(3 * time.Hour)
		w.Calls.Reset()
		unchanged(t, w, "after the end")
		rows := []struct {
			name string
			do   func()
		}{
			{"apply", func() { w.Apply() }},
			{"apply -replace", func() {
				r := w.Apply("-replace=jit_grant.a")
				says(t, r, "nothing will be granted. Set renewal = 2")
				if strings.Contains(r.Text(), "known after apply") {
					t.Errorf("the plan does not show the recorded window:\n%s", r.Text())
				}
			}},
			{"taint", func() { w.Must("taint", "jit_grant.a"); w.Apply() }},
			{"replace_triggered_by", func() {
				configure(w, trigger(2), grant("a", replaceable), numbered(alice, bob))
				w.Apply()
			}},
			{"count shift", func() {
				configure(w, trigger(2), grant("a", replaceable), numbered(bob))
				w.Apply()
			}},
			{"state rm", func() { w.Must("state", "rm", "jit_grant.a"); says(t, w.Apply(), "The grant is over") }},
			{"state deleted", func() {
				if err := os.Remove(w.Path("terraform.tfstate")); err != nil {
					t.Fatal(err)
				}
				w.Apply()
			}},
			{"import", func() {
				w.Must("state", "rm", "jit_grant.a")
				w.Must("import", "jit_grant.a", id)
				w.Apply()
			}},
			{"refresh", func() { w.Apply("-refresh-only") }},
		}
		for _, row := range rows {
			row.do()
			if got := w.Calls.Count(); got.Writes != 0 {
				t.Errorf("%s: %d writes (%+v)", row.name, got.Writes, got)
			}
			if got := fact(t, w, "jit_grant.a", "expires_at"); got != end {
				t.Errorf("%s: expires_at is %s, want %s", row.name, got, end)
			}
			if r := w.Plan(); r.ExitCode != 0 {
				t.Errorf("%s: plan: exit code %d\n%s", row.name, r.ExitCode, r.Text())
			}
		}

		configure(w, trigger(2), grant("a", replaceable, "renewal = 2"), numbered(bob))
		w.Apply()
		if got := w.Calls.Count().Ensures; got != 1 {
			t.Errorf("renewal = 2 caused %d ensures, want 1", got)
		}
		if got, want := fact(t, w, "jit_grant.a", "expires_at"),
			jit.FormatTime(w.Clock.Now().Add(2*time.Hour)); got != want {
			t.Errorf("after the renewal, expires_at is %s, want %s", got, want)
		}
		unchanged(t, w, "after the renewal")

		// Ended grants need no ledger, and do not fail with an unreadable one.
		if err := os.Rename(w.Path(".jit"), w.Path("aside")); err != nil {
			t.Fatal(err)
		}
		w.Write(".jit", "no directory")
		w.Clock.Advance(3 * time.Hour)
		unchanged(t, w, "without a ledger")
		if err := errors.Join(os.Remove(w.Path(".jit")), os.Rename(w.Path("aside"), w.Path(".jit"))); err != nil {
			t.Fatal(err)
		}

		// Ended grants do not need their target in the configuration.
		w.Write("main.tf", strings.Replace(w.Read("main.tf"), "{ host =", "{ other =", 1))
		unchanged(t, w, "without the target")
		w.Must("destroy", "-auto-approve")
		if !strings.HasPrefix(w.Read("authorized_keys"), foreign) {
			t.Error("a foreign line is gone")
		}
	})
}

// Access survives a create-before-destroy replacement, and the loss of the ledger or the state.
func TestLiveGrantIsNotLost(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a", "lifecycle {\n    create_before_destroy = true\n  }"))
		w.Apply()
		end := fact(t, w, "jit_grant.a", "expires_at")
		keys := w.Read("authorized_keys")
		w.Clock.Advance(30 * time.Minute)

		w.Apply("-replace=jit_grant.a")
		unchanged(t, w, "after create_before_destroy")
		w.Must("state", "rm", "jit_grant.a")
		says(t, w.Apply(), "The grant is live already")
		unchanged(t, w, "after state rm")
		if err := os.RemoveAll(w.Path(".jit")); err != nil {
			t.Fatal(err)
		}
		unchanged(t, w, "without the ledger")
		w.Must("state", "rm", "jit_grant.a")
		w.Apply()
		unchanged(t, w, "rebuilt from the marker")
		id := fact(t, w, "jit_grant.a", "id")
		w.Must("state", "rm", "jit_grant.a")
		w.Must("import", "jit_grant.a", id)
		w.Apply()
		unchanged(t, w, "after the import")
		if got := fact(t, w, "jit_grant.a", "expires_at"); got != end {
			t.Errorf("expires_at is %s, want %s", got, end)
		}
		if got := w.Read("authorized_keys"); got != keys {
			t.Errorf("authorized_keys is\n%swant\n%s", got, keys)
		}

		// With the ledger lost, the state is enough to revoke.
		if err := os.RemoveAll(w.Path(".jit")); err != nil {
			t.Fatal(err)
		}
		w.Must("destroy", "-auto-approve")
		if got := w.Read("authorized_keys"); got != foreign {
			t.Errorf("after destroy, authorized_keys is\n%swant\n%s", got, foreign)
		}
		if r := w.Run("import", "jit_grant.a", "3f2b8c1e-0000-8000-8000-000000000000"); r.ExitCode == 0 {
			t.Error("an unknown id was imported")
		} else {
			says(t, r, "The ledger has no grant 3f2b8c1e-0000-8000-8000-000000000000")
		}
	})
}

// The window begins at the apply, whatever the age of the plan.
func TestSavedPlan(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		noon := w.Clock.Now().Add(3 * time.Hour)
		configure(w, grant("a"), grant("b", fmt.Sprintf("principal = %q", bob),
			fmt.Sprintf("start_by = %q", jit.FormatTime(noon))))
		w.Must("plan", "-out=early")
		if _, err := os.Stat(w.Path(".jit")); !os.IsNotExist(err) {
			t.Errorf("the plan wrote to the ledger: %v", err)
		}
		if got := w.Calls.Count(); got.Writes != 0 || got.Reads > 1 {
			t.Errorf("the plan made the calls %+v", got)
		}
		if got := w.Read("authorized_keys"); got != foreign {
			t.Errorf("the plan changed the file to %q", got)
		}
		w.Clock.Advance(4 * time.Hour)
		r := w.Run("apply", "early")
		if r.ExitCode == 0 {
			t.Error("a grant began after its start_by")
		}
		says(t, r, "The grant may no longer begin", "start_by")
		if got, want := fact(t, w, "jit_grant.a", "expires_at"),
			jit.FormatTime(w.Clock.Now().Add(2*time.Hour)); got != want {
			t.Errorf("expires_at is %s, want %s", got, want)
		}
		if got := lines(w); got != 1 {
			t.Errorf("%d grants are on the host, want 1", got)
		}
	})
}
