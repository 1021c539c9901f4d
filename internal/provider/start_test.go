package provider_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// The apply records a grant that begins later, and the sweeper starts it. Plans are empty before the beginning, inside
// the window and after it. Until the beginning, it can be moved.
func TestDeferredGrant(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		at := func(d time.Duration) string {
			return fmt.Sprintf("starts_at = %q", jit.FormatTime(w.Clock.Now().Add(d)))
		}
		configure(w, grant("a", at(2*time.Hour)))
		says(t, w.Plan(), "No sweeper is at work", "cannot begin access by itself",
			`no `+"`jit sweep`"+` that serves owner "jit" there is on record`)
		w.Apply()
		if lines(w) != 0 {
			t.Errorf("the grant has begun already:\n%s", w.Read("authorized_keys"))
		}
		unchanged(t, w, "before the beginning")

		swept := jit.Sweep{Owners: jit.Owners{"jit"}, Targets: []string{"host"}, At: w.Clock.Now()}
		if err := w.Runtime().Ledger.Swept(t.Context(), swept); err != nil {
			t.Fatal(err)
		}
		begin := w.Clock.Now().Add(time.Hour)
		configure(w, grant("a", at(time.Hour)))
		if r := w.Plan(); strings.Contains(r.Text(), "No sweeper") {
			t.Errorf("a plan warns although a sweeper has just passed:\n%s", r.Text())
		}
		w.Apply()
		if got, want := fact(t, w, "jit_grant.a", "expires_at"), jit.FormatTime(begin.Add(2*time.Hour)); got != want {
			t.Errorf("after the move, expires_at is %s, want %s", got, want)
		}
		unchanged(t, w, "with the beginning moved")

		// Without starts_at the grant begins with the apply, also on a target that cannot begin access by itself.
		first := w.Clock.Now()
		configure(w, grant("a", at(time.Hour)), grant("b", fmt.Sprintf("principal = %q", bob), at(3*time.Hour)))
		w.Apply()
		configure(w, grant("a", at(time.Hour)), grant("b", fmt.Sprintf("principal = %q", bob)))
		w.Apply()
		if lines(w) != 1 || fact(t, w, "jit_grant.b", "granted_at") != jit.FormatTime(first) {
			t.Errorf("without starts_at, the grant did not begin with the apply but at %s:\n%s",
				fact(t, w, "jit_grant.b", "granted_at"), w.Read("authorized_keys"))
		}
		unchanged(t, w, "with the beginning removed")
		w.Calls.Reset()
		configure(w, grant("a", at(time.Hour)), grant("b", fmt.Sprintf("principal = %q", bob), at(2*time.Hour)))
		if r := w.Plan(); r.ExitCode != 1 {
			t.Errorf("a beginning in the past was moved: exit code %d", r.ExitCode)
		} else {
			says(t, r, "Invalid starts_at", at(2*time.Hour), "The grant began at "+jit.FormatTime(first),
				`Write starts_at = "`+jit.FormatTime(first), "renewal = 2")
		}
		configure(w, grant("a", at(time.Hour)),
			grant("b", fmt.Sprintf("principal = %q", bob), at(-time.Hour), `policy = "none"`))
		says(t, w.Plan(), `There is no policy "none"`) // a beginning in the past is no change of the window
		// A starts_at in the past also means now. A later change does not request it again.
		soon, past := at(time.Hour), at(-time.Hour)
		other := []string{fmt.Sprintf("principal = %q", bob), `reason = "INC-2: look"`}
		configure(w, grant("a", soon), grant("c", append(other, at(3*time.Hour))...))
		w.Apply()
		w.Clock.Advance(time.Minute)
		second := w.Clock.Now()
		configure(w, grant("a", soon), grant("c", append(other, past)...))
		w.Apply()
		w.Clock.Advance(time.Minute)
		configure(w, grant("a", soon), grant("c", append(other, past, `ttl = "3h"`)...))
		w.Apply()
		if got, want := fact(t, w, "jit_grant.c", "expires_at"), jit.FormatTime(second.Add(3*time.Hour)); got != want ||
			lines(w) != 1 {
			t.Errorf("begun at once, the grant ends at %s, want %s:\n%s", got, want, w.Read("authorized_keys"))
		}
		configure(w, grant("a", soon))
		w.Apply()

		w.Clock.Advance(61 * time.Minute)
		unchanged(t, w, "late")
		b := w.Runtime().Broker
		g, _, err := b.Lookup(context.Background(), jit.ID(fact(t, w, "jit_grant.a", "id")), jit.Grant{})
		if err != nil {
			t.Fatal(err)
		}
		step := reconcile.Step{Kind: reconcile.Start, Place: g.Place(), Grant: g}
		if err := b.Execute(context.Background(), []reconcile.Step{step})[0]; err != nil {
			t.Fatal(err)
		}
		if lines(w) != 1 {
			t.Errorf("the grant has not begun:\n%s", w.Read("authorized_keys"))
		}
		unchanged(t, w, "inside the window")
		w.Clock.Advance(2 * time.Hour)
		unchanged(t, w, "after the end")
		w.Must("state", "rm", "jit_grant.a")
		w.Must("import", "jit_grant.a", string(g.ID))
		w.Calls.Reset()
		w.Apply() // the state gets ttl instead of expires_at
		if got := w.Calls.Count(); got.Writes != 0 {
			t.Errorf("after the import: %+v", got)
		}
		unchanged(t, w, "after the import")
	})
}
