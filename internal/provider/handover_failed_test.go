package provider_test

import (
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// noTime makes every create of a grant fail.
const noTime = `timeouts = { create = "1ns" }`

// A failed create does not take the access over: the resource that is destroyed after it ends the access.
func TestCreateFailsBeforeItsDestroy(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		// A dependent resource is destroyed before the grant. That takes long enough for the create to run first.
		slow := func(count, meta string) string {
			return "resource \"terraform_data\" \"slow\" {\n  count = " + count + meta +
				"\n  provisioner \"local-exec\" {\n    when = destroy\n    command = \"sleep 2\"\n  }\n}\n"
		}
		configure(w, grant("a"), slow("1", "\n  depends_on = [jit_grant.a]"))
		w.Apply()
		id := fact(t, w, "jit_grant.a", "id")
		configure(w, grant("b", noTime), slow("0", ""))
		r := w.Run("apply", "-auto-approve")
		if r.ExitCode != 1 {
			t.Errorf("apply: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, "Error: Cannot grant")
		if got := w.Read("authorized_keys"); got != foreign {
			t.Errorf("authorized_keys is\n%s", got)
		}
		if g := record(t, w, id); g.RevokeReason != broker.Destroyed || !g.Destroyed() || g.EndedAt.IsZero() {
			t.Errorf("the record is %+v", g)
		}
	})
}

// A replacement's create fails. The access goes on, the grant stays in the state, and the record says that its resource
// was destroyed.
func TestReplacementWhoseCreateFails(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"))
		w.Apply()
		id, end := fact(t, w, "jit_grant.a", "id"), fact(t, w, "jit_grant.a", "expires_at")
		before := w.Read("authorized_keys")
		configure(w, grant("a", noTime))
		if r := w.Run("apply", "-auto-approve", "-replace=jit_grant.a"); r.ExitCode != 1 {
			t.Errorf("apply: exit code %d\n%s", r.ExitCode, r.Text())
		}
		if got := w.Read("authorized_keys"); got != before {
			t.Errorf("authorized_keys is\n%swant\n%s", got, before)
		}
		var told bool
		for e, err := range w.Runtime().Ledger.EventsOf(t.Context(), []jit.ID{jit.ID(id)}) {
			told = told || err == nil && strings.Contains(e.Detail["note"], "left to the resource")
		}
		if !told {
			t.Error("the record does not say that the access was left to a create")
		}
		if fact(t, w, "jit_grant.a", "id") != id || fact(t, w, "jit_grant.a", "expires_at") != end {
			t.Errorf("the state is %v", w.State())
		}
		configure(w, grant("a"))
		w.Apply()
		unchanged(t, w, "after another apply")
		configure(w, grant("a", noTime))
		w.Run("apply", "-auto-approve", "-replace=jit_grant.a")
		configure(w)
		w.Apply()
		if got := w.Read("authorized_keys"); got != foreign {
			t.Errorf("after the block was removed, authorized_keys is\n%s", got)
		}
		if g := record(t, w, id); !g.Destroyed() || g.EndedAt.IsZero() {
			t.Errorf("the record is %+v", g)
		}
	})
}
