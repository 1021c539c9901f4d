package provider_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/azuretest"
)

var errNoAnswer = errors.New("no route to host")

// sweep ends due grants, as jit sweep does.
func sweep(t *testing.T, w *acctest.World) {
	t.Helper()
	b := w.Runtime().Broker
	due, err := b.Ledger.AcquireDue(t.Context(),
		jit.DueQuery{Owners: jit.Owners{b.Owner}, Now: b.Now(), Holder: "test", Lease: time.Minute, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range due {
		if err := b.Execute(t.Context(), []reconcile.Step{{Kind: reconcile.End, Place: g.Place(),
			Grant: g}})[0]; err != nil {
			t.Fatal(err)
		}
	}
}

// record returns a grant from the ledger.
func record(t *testing.T, w *acctest.World, id string) jit.Grant {
	t.Helper()
	g, known, err := w.Runtime().Broker.Lookup(t.Context(), jit.ID(id), jit.Grant{})
	if err != nil || !known {
		t.Fatalf("the ledger does not know grant %s: %v", id, err)
	}
	return g
}

// An unreachable target fails no plan, of an existing or a new grant, and hides no refusal.
func TestPlanOfATargetThatDoesNotAnswer(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"))
		w.Apply()
		before := w.Read("authorized_keys")
		w.Calls.Fail(errNoAnswer)
		r := w.Plan()
		if r.ExitCode != 0 {
			t.Errorf("plan: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, "Warning: Cannot read the grant on its target", "The state is trusted until it can be read",
			errNoAnswer.Error())

		other := fmt.Sprintf("principal = %q", bob)
		configure(w, grant("a"), grant("b", other))
		if r = w.Plan(); r.ExitCode != 2 {
			t.Errorf("plan of a new grant: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, "Warning: The target cannot be read", "The apply fails if the target still does not answer")
		configure(w, grant("a"), grant("b", other, `ttl = "2d"`))
		if r = w.Plan(); r.ExitCode != 1 {
			t.Errorf("plan of a grant that is too long: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, "The grant would last 2d; max_ttl of the provider is 1d")

		configure(w, grant("a"), grant("b", other))
		if r = w.Run("apply", "-auto-approve"); r.ExitCode != 1 {
			t.Errorf("apply: exit code %d\n%s", r.ExitCode, r.Text())
		}
		if _, made := w.State()["jit_grant.b"]; made {
			t.Error("the failed grant is in the state")
		}
		w.Calls.Fail(nil)
		w.Clock.Advance(2 * time.Minute)
		w.Apply()
		if got := w.Read("authorized_keys"); !strings.HasPrefix(got, before) || lines(w) != 2 {
			t.Errorf("authorized_keys is\n%s", got)
		}
		unchanged(t, w, "when the target answers again")
	})
}

// A destroy that cannot reach the target fails, but the revocation is recorded. The sweeper ends the access once the
// target is back, and nothing grants it again.
func TestDestroyOfATargetThatDoesNotAnswer(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"))
		w.Apply()
		id := fact(t, w, "jit_grant.a", "id")
		w.Calls.Fail(errNoAnswer)
		r := w.Run("destroy", "-auto-approve")
		if r.ExitCode != 1 {
			t.Errorf("destroy: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, "Error: Cannot revoke", errNoAnswer.Error(), "The ledger has recorded that the grant is revoked",
			"the next `jit sweep` that reaches the target ends the access")
		if g := record(t, w, id); g.RevokedAt.IsZero() || g.RevokeReason != broker.Destroyed || !g.EndedAt.IsZero() {
			t.Errorf("the record is %+v", g)
		}
		if fact(t, w, "jit_grant.a", "id") != id {
			t.Error("the grant is no longer in the state")
		}
		if lines(w) != 1 {
			t.Error("the test is wrong: the target was reached")
		}
		w.Calls.Fail(nil)
		sweep(t, w)
		if got := w.Read("authorized_keys"); got != foreign {
			t.Errorf("after the sweep authorized_keys is\n%s", got)
		}
		w.Calls.Reset()
		if r := w.Plan(); r.ExitCode != 0 {
			t.Errorf("plan: exit code %d\n%s", r.ExitCode, r.Text())
		} else {
			says(t, r, "The grant was revoked", "set renewal = 2 to grant again")
		}
		w.Apply()
		w.Must("destroy", "-auto-approve")
		if got := w.Calls.Count(); got.Writes != 0 {
			t.Errorf("after the sweep, the calls are %+v", got)
		}
	})
}

// without holds the ways in which a target can be missing.
var without = map[string]func(w *acctest.World){
	"no answer": func(w *acctest.World) { w.Calls.Fail(errNoAnswer) },
	"not configured": func(w *acctest.World) {
		w.Write("main.tf", strings.ReplaceAll(w.Read("main.tf"), "targets = {", "targets = {} # "))
	},
}

// Destroying a grant that its platform has ended succeeds without the target.
func TestDestroyOfWhatIsOverWithoutTheTarget(t *testing.T) {
	for name, without := range without {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *acctest.World) {
				configure(w, grant("a"))
				w.Apply()
				w.Clock.Advance(3 * time.Hour)
				without(w)
				unchanged(t, w, "after the end")
				w.Must("destroy", "-auto-approve")
			})
		})
	}
}

// Destroying an expired grant that the sweeper must end succeeds without the target. The sweeper still ends it.
func TestDestroyOfWhatIsDueWithoutTheTarget(t *testing.T) {
	const who, scope = "aaaaaaaa-0000-4000-8000-000000000001", "/subscriptions/11111111-0000-4000-8000-000000000000"
	for name, without := range without {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *acctest.World) {
				s := azuretest.New(t)
				s.Clock = w.Clock.Now
				s.AddScope(scope)
				s.AddPrincipal("User", who, 0)
				azureGrant(w, s, "", who, scope)
				w.Write("main.tf", strings.Replace(w.Read("main.tf"), "azure = { endpoint",
					`azure = { assignment = "rbac", endpoint`, 1))
				w.Apply()
				if got := fact(t, w, "jit_grant.a", "enforcement"); got != "sweeper" {
					t.Fatalf("enforcement is %s", got)
				}
				id := fact(t, w, "jit_grant.a", "id")
				w.Clock.Advance(3 * time.Hour)
				configured := w.Read("main.tf")
				without(w)
				unchanged(t, w, "after the end")
				says(t, w.Must("destroy", "-auto-approve"), "Warning: The grant is over",
					"A `jit sweep` that reaches the target clears it")
				if g := record(t, w, id); !g.Outstanding(w.Clock.Now()) {
					t.Errorf("the grant is no longer due for the sweeper: %+v", g)
				}
				w.Calls.Fail(nil)
				w.Write("main.tf", configured)
				w.Plan() // opens the target again
				sweep(t, w)
				if s.Allowed(who, azuretest.Reader, scope, w.Clock.Now()) {
					t.Error("after the sweep the access works")
				}
			})
		})
	}
}

// A block is removed together with its target. The revocation is recorded, and a sweeper that still has the target ends
// the access.
func TestDestroyWithoutTheTarget(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"))
		w.Apply()
		id := fact(t, w, "jit_grant.a", "id")
		host := *w.Runtime()
		gone := strings.ReplaceAll(w.Read("main.tf"), "targets = {", "targets = {} # ")
		w.Write("main.tf", gone[:strings.Index(gone, "resource ")])
		for range 2 {
			r := w.Run("apply", "-auto-approve")
			if r.ExitCode != 1 {
				t.Errorf("apply: exit code %d\n%s", r.ExitCode, r.Text())
			}
			says(t, r, "Error: The target is not configured any more",
				"The ledger has recorded that the grant is revoked",
				"A `jit sweep` whose jit.hcl still has target \"host\" ends the access",
				"put the target back into the provider block",
				"After "+fact(t, w, "jit_grant.a", "expires_at")+" the grant is over")
		}
		g := record(t, w, id)
		if g.RevokedAt.IsZero() || lines(w) != 1 {
			t.Fatalf("the record is %+v", g)
		}
		if err := host.Broker.Execute(t.Context(),
			[]reconcile.Step{{Kind: reconcile.End, Place: g.Place(), Grant: g}})[0]; err != nil {
			t.Fatal(err)
		}
		if got := w.Read("authorized_keys"); got != foreign {
			t.Errorf("authorized_keys is\n%s", got)
		}
		w.Apply()
		if _, kept := w.State()["jit_grant.a"]; kept {
			t.Error("the grant is still in the state")
		}
	})
}

// With the ledger unreadable, a read does not claim that the grant has no record.
func TestMissingWhileTheLedgerCannotBeRead(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"))
		w.Apply()
		w.Write("authorized_keys", foreign)
		w.Clock.Advance(2 * time.Minute)
		if err := errors.Join(os.Rename(w.Path(".jit"), w.Path("aside")),
			os.WriteFile(w.Path(".jit"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		r := w.Plan()
		if r.ExitCode != 0 {
			t.Errorf("plan: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, "The ledger cannot be read", "The grant is not on its target",
			"it is not known whether it was revoked")
		if strings.Contains(r.Text(), "no record of it") || strings.Contains(r.Text(), "renewal = 2") {
			t.Errorf("the plan claims more than is known:\n%s", r.Text())
		}
		if err := errors.Join(os.Remove(w.Path(".jit")), os.Rename(w.Path("aside"), w.Path(".jit"))); err != nil {
			t.Fatal(err)
		}
		says(t, w.Plan(), `drift = "missing"`)
	})
}

// A destroy ends access while the ledger is unreachable. The access stays ended, the next apply records that, and only
// a renewal grants again.
func TestDestroyWithoutLedger(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"))
		w.Apply()
		id := fact(t, w, "jit_grant.a", "id")
		ledger := func(gone bool) {
			t.Helper()
			err := errors.Join(os.Rename(w.Path(".jit"), w.Path("aside")), os.WriteFile(w.Path(".jit"), nil, 0o600))
			if !gone {
				err = errors.Join(os.Remove(w.Path(".jit")), os.Rename(w.Path("aside"), w.Path(".jit")))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		ledger(true)
		r := w.Run("destroy", "-auto-approve")
		if r.ExitCode != 1 {
			t.Errorf("destroy: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, "the ledger could not record it")
		if got := w.Read("authorized_keys"); got != foreign {
			t.Errorf("without a ledger, destroy did not end the access:\n%s", got)
		}
		w.Calls.Reset()
		says(t, w.Plan(), "The ledger cannot be read", "An apply records that once the ledger can be reached")
		ledger(false)

		configure(w, grant("a", `ttl = "3h"`))
		if r = w.Plan(); r.ExitCode != 1 {
			t.Errorf("plan of a longer ttl: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, "A destroy ended the access", "Set renewal = 2 to grant again")
		configure(w, grant("a"))
		if r = w.Plan("-out=plan"); r.ExitCode != 2 {
			t.Errorf("plan: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, `drift = "ended by a destroy that the ledger has not recorded"`,
			"The grant was ended, and the ledger does not know it", "The next apply records that")
		if g := record(t, w, id); !g.RevokedAt.IsZero() {
			t.Error("the plan wrote to the ledger")
		}
		w.Must("apply", "plan")
		if g := record(t, w, id); g.RevokedAt.IsZero() || !strings.HasPrefix(g.RevokeReason, broker.Destroyed) ||
			g.EndedAt.IsZero() {
			t.Errorf("the record is %+v", g)
		}
		if got := w.Calls.Count(); got.Ensures != 0 {
			t.Errorf("the access was granted again: %+v", got)
		}
		unchanged(t, w, "when the end is recorded")
		configure(w, grant("a", "renewal = 2"))
		w.Apply()
		if lines(w) != 1 {
			t.Error("the renewal gave no access")
		}
	})
}

// The plan of a new policy does not say that its name is taken while the ledger cannot be read.
func TestNameOfAPolicyWithoutTheLedger(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configureWith(w, `ledger = "postgres://jit@127.0.0.1:1/jit?connect_timeout=1"`, policy("fresh"))
		r := w.Run("plan", "-no-color")
		if text := r.Text(); strings.Contains(text, "The name is taken") || !strings.Contains(text, "The ledger cannot be read") {
			t.Errorf("plan exits with %d:\n%s", r.ExitCode, text)
		}
	})
}
