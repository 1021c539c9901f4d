package provider_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A grant that begins later is recorded by the apply and begun by the sweeper; neither the waiting nor
// the beginning nor the end changes a plan, and the beginning can be moved until then.
func TestDeferredGrant(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		at := func(d time.Duration) string {
			return fmt.Sprintf("starts_at = %q", jit.FormatTime(w.Clock.Now().Add(d)))
		}
		configure(w, grant("a", at(2*time.Hour)))
		says(t, w.Apply(), "The beginning depends on the sweeper")
		if lines(w) != 0 {
			t.Errorf("it has begun already:\n%s", w.Read("authorized_keys"))
		}
		unchanged(t, w, "before the beginning")

		begin := w.Clock.Now().Add(time.Hour)
		configure(w, grant("a", at(time.Hour)))
		w.Apply()
		if got, want := fact(t, w, "jit_grant.a", "expires_at"), jit.FormatTime(begin.Add(2*time.Hour)); got != want {
			t.Errorf("moved, expires_at is %s, want %s", got, want)
		}
		unchanged(t, w, "with the beginning moved")

		w.Clock.Advance(61 * time.Minute)
		unchanged(t, w, "late")
		b := w.Runtime().Broker
		g, _, err := b.Recall(context.Background(), jit.ID(fact(t, w, "jit_grant.a", "id")), jit.Grant{})
		if err != nil {
			t.Fatal(err)
		}
		if errs := b.Start(context.Background(), []jit.Grant{g}); slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
			t.Fatal(errs)
		}
		if lines(w) != 1 {
			t.Errorf("it has not begun:\n%s", w.Read("authorized_keys"))
		}
		unchanged(t, w, "inside of the window")
		w.Clock.Advance(2 * time.Hour)
		unchanged(t, w, "after the end")
		w.Must("state", "rm", "jit_grant.a")
		w.Must("import", "jit_grant.a", string(g.ID))
		if r := w.Plan(); r.ExitCode != 0 {
			t.Errorf("after the import: exit code %d\n%s", r.ExitCode, r.Text())
		}
	})
}
