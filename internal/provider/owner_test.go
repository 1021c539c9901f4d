package provider_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
)

// The provider block changes to another owner. A plan warns once that the live grant keeps its access and its end. The
// live grant is not touched. An ended grant can be destroyed.
func TestAnotherOwner(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"), grant("b", fmt.Sprintf("principal = %q", bob), `ttl = "4h"`))
		w.Apply()
		revoke(t, w, "jit_grant.b")
		before := w.Read("authorized_keys")
		w.Calls.Reset()
		owned := func(lines ...string) {
			configureWith(w, `owner = "payments"`, grant("a", lines...),
				grant("b", fmt.Sprintf("principal = %q", bob), `ttl = "4h"`))
		}
		owned()
		unchanged(t, w, "with another owner")
		r := w.Plan()
		says(t, r, "Warning: The grant belongs to another owner",
			`owner = "jit", and this provider acts for "payments"`,
			"it ends at "+fact(t, w, "jit_grant.a", "expires_at"), `Set owner = "jit" to manage it again`)
		if warnings(r) != 1 {
			t.Errorf("the plan has further warnings:\n%s", r.Text())
		}
		w.Apply()
		owned(`ttl = "3h"`)
		if r = w.Plan(); r.ExitCode != 1 {
			t.Errorf("plan of a longer ttl: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, `belongs to the owner "jit"`, `Use the configuration whose owner is "jit"`)
		owned()
		if r = w.Run("destroy", "-auto-approve"); r.ExitCode != 1 {
			t.Errorf("destroy of a live grant: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, `belongs to the owner "jit"`)
		if got := w.Read("authorized_keys"); got != before {
			t.Errorf("authorized_keys is\n%swant\n%s", got, before)
		}
		if _, kept := w.State()["jit_grant.b"]; kept {
			t.Error("the revoked grant is still in the state")
		}

		w.Clock.Advance(3 * time.Hour)
		configureWith(w, `owner = "payments"`, grant("a", `policy = "another"`, `timeouts = { delete = "9m" }`))
		w.Apply()
		unchanged(t, w, "with another owner, over")
		w.Apply("-refresh-only")
		w.Must("destroy", "-auto-approve")
		if got := w.Calls.Count(); got.Writes != 0 {
			t.Errorf("the target was written to: %+v", got)
		}
	})
}
