package provider_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
)

// Another owner in the provider block: a plan says once and truly what has become of a live grant, nothing happens to
// it, and everything that can be done with one that is over succeeds.
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
		// In CI the provider itself warns of a ledger that is a local file.
		if says := r.Text(); strings.Count(says, "Warning:") != 1+strings.Count(says,
			"Warning: The ledger is a local file in CI") {
			t.Errorf("it warns of more than that:\n%s", says)
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
			t.Error("the grant that was revoked could not be destroyed")
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
