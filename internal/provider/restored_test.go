package provider_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
)

// A ledger that went back in time is known from the state alone: a plan warns, an apply changes nothing, and a destroy
// ends access.
func TestStateRemembersTheLedger(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"))
		w.Apply()
		path, backup := w.Path(".jit/ledger.db"), w.Path("backup.db")
		backUp(t, path, backup)
		configure(w, grant("a", `ttl = "3h"`), grant("b", "principal = \""+bob+"\""))
		w.Apply()
		_, _ = os.Remove(path+"-wal"), os.Remove(path+"-shm")
		if err := errors.Join(os.Rename(backup, path), os.Remove(path+".head")); err != nil {
			t.Fatal(err)
		}
		keys := w.Read("authorized_keys")
		if plan := w.Plan(); plan.ExitCode == 1 || strings.Count(plan.Text(), "Warning: The state remembers more than the ledger") != 1 {
			t.Errorf("plan exits with %d:\n%s", plan.ExitCode, plan.Text())
		}
		configure(w, grant("a", `ttl = "4h"`), grant("b", "principal = \""+bob+"\""))
		if apply := w.Run("apply", "-auto-approve", "-no-color"); apply.ExitCode != 1 ||
			!strings.Contains(apply.Text(), "jit ledger accept") {
			t.Errorf("apply exits with %d:\n%s", apply.ExitCode, apply.Text())
		}
		if got := w.Read("authorized_keys"); got != keys {
			t.Errorf("the refused apply changed the access:\n%s", got)
		}
		w.Must("destroy", "-auto-approve", "-no-color")
		if got := w.Read("authorized_keys"); got != foreign {
			t.Errorf("after the destroy:\n%s", got)
		}
	})
}
