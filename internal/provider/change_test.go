package provider_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A change of ttl moves a live grant's end, counted from the same beginning. On an ended grant it is an error that
// names renewal.
func TestChangeOfLength(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"), grant("b", fmt.Sprintf("principal = %q", bob)))
		w.Apply()
		began := w.Clock.Now()
		ends := func(after time.Duration) {
			t.Helper()
			end := began.Add(after)
			if got, want := fact(t, w, "jit_grant.a", "expires_at"), jit.FormatTime(end); got != want {
				t.Errorf("expires_at is %s, want %s", got, want)
			}
			// sshd includes the last second of expiry-time.
			if want := fmt.Sprintf("expiry-time=%q %s", end.Add(-time.Second).Format("20060102150405Z"),
				alice); !strings.Contains(w.Read("authorized_keys"), want) {
				t.Errorf("the file has no %s:\n%s", want, w.Read("authorized_keys"))
			}
			unchanged(t, w, "after the change")
		}
		w.Clock.Advance(30 * time.Minute)

		w.Calls.Reset()
		configure(w, grant("a", `ttl = "120m"`, `timeouts = { create = "9m" }`),
			grant("b", fmt.Sprintf("principal = %q", bob+" bob@laptop")))
		r := w.Plan()
		if strings.Contains(r.Text(), "must be replaced") {
			t.Errorf("another spelling replaces the grant:\n%s", r.Text())
		}
		w.Apply()
		if got := w.Calls.Count(); got.Writes != 0 {
			t.Errorf("another spelling caused %d writes", got.Writes)
		}
		ends(2 * time.Hour)

		// The plan shows the new end and keeps the beginning.
		tells := func(from, to time.Duration) {
			t.Helper()
			r := w.Plan("-out=plan")
			says(t, r, fmt.Sprintf("~ expires_at = %q -> %q", jit.FormatTime(began.Add(from)),
				jit.FormatTime(began.Add(to))))
			if strings.Contains(r.Text(), "known after apply") {
				t.Errorf("the plan has unknown values:\n%s", r.Text())
			}
			says(t, r, fmt.Sprintf("for %s, INC-1: look\" -> ", jit.FormatDuration(from)),
				fmt.Sprintf("for %s, INC-1: look\"", jit.FormatDuration(to)))
			w.Must("apply", "plan")
			ends(to)
		}
		configure(w, grant("a", `ttl = "4h"`))
		tells(2*time.Hour, 4*time.Hour)
		configure(w, grant("a", `ttl = "1h"`))
		tells(4*time.Hour, time.Hour)
		configure(w, grant("a", "ttl =", fmt.Sprintf("expires_at = %q",
			began.Add(90*time.Minute).In(time.FixedZone("", 3600)).Format(time.RFC3339))))
		w.Apply()
		if got := w.Read("authorized_keys"); !strings.Contains(got, `expiry-time="20261123102959Z"`) {
			t.Errorf("expires_at did not move the end:\n%s", got)
		}
		unchanged(t, w, "with expires_at")
		configure(w, grant("a", `ttl = "15m"`))
		w.Apply()
		if lines(w) != 0 {
			t.Errorf("an end in the past did not end the access:\n%s", w.Read("authorized_keys"))
		}
		unchanged(t, w, "ended by an end in the past")

		w.Calls.Reset()
		configure(w, grant("a", `ttl = "8h"`))
		for range 2 {
			r := w.Plan()
			if r.ExitCode != 1 {
				t.Errorf("a change of an ended grant: exit code %d", r.ExitCode)
			}
			says(t, r, "The grant is over", `ttl = "8h"`, "Set renewal = 2 to grant again")
			w.Clock.Advance(24 * time.Hour)
		}
		configure(w, grant("a", `ttl = "15m"`, `policy = "gone"`, fmt.Sprintf("start_by = %q", jit.FormatTime(began))))
		w.Apply()
		if got := w.Calls.Count(); got.Writes != 0 {
			t.Errorf("changes of an ended grant caused %d writes", got.Writes)
		}
		unchanged(t, w, "with other flags on an ended grant")
	})
}

// A time computed from timestamp() differs in every run. The plan warns before an apply moves the end or fails.
func TestTimesThatMoveWithTheClock(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		const warning = "Warning: expires_at is not known before the apply"
		configure(w, grant("a", "ttl =", `expires_at = timeadd(timestamp(), "2h")`))
		w.Clock.Advance(time.Since(w.Clock.Now()))                 // timestamp() uses this machine's clock
		if r := w.Apply(); strings.Count(r.Text(), warning) != 1 { // the apply knows the time
			t.Errorf("a new grant:\n%s", r.Text())
		}
		r := w.Plan()
		if r.ExitCode != 2 {
			t.Errorf("plan: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, warning, "computed from timestamp()", "every later apply moves the end of the grant",
			"once the grant is over every apply fails", `Write ttl = "2h"`)
		w.Apply()
		w.Clock.Advance(3 * time.Hour)
		w.Calls.Reset()
		// With 121m the end also moves if both runs have the same timestamp().
		configure(w, grant("a", "ttl =", `expires_at = timeadd(timestamp(), "121m")`))
		if r = w.Run("apply", "-auto-approve"); r.ExitCode != 1 {
			t.Errorf("apply after the end: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, warning, "every apply fails, because the grant is over", "Error: The grant is over",
			"Set renewal = 2 to grant again")
		if got := w.Calls.Count(); got.Writes != 0 {
			t.Errorf("the apply made the calls %+v", got)
		}
		configure(w, grant("a", "ttl =", fmt.Sprintf("expires_at = %q", fact(t, w, "jit_grant.a", "expires_at"))))
		unchanged(t, w, "with the old end")
	})
}

// A shorter ttl's new end passes before the plan is applied. The apply ends the access.
func TestPlannedEndThatHasPassed(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"))
		w.Apply()
		began := w.Clock.Now()
		configure(w, grant("a", `ttl = "1h"`))
		w.Must("plan", "-out=plan")
		w.Clock.Advance(90 * time.Minute)
		w.Must("apply", "plan")
		if got := w.Read("authorized_keys"); got != foreign {
			t.Errorf("authorized_keys is\n%s", got)
		}
		if got, want := fact(t, w, "jit_grant.a", "expires_at"), jit.FormatTime(began.Add(time.Hour)); got != want {
			t.Errorf("expires_at is %s, want %s", got, want)
		}
		if g := record(t, w, fact(t, w, "jit_grant.a", "id")); !g.RevokedAt.Equal(w.Clock.Now()) || g.EndedAt.IsZero() {
			t.Errorf("the record is %+v", g)
		}
		unchanged(t, w, "after it")
	})
}

// An altered or missing binding is shown as a change and repaired within the original window. After the window, neither
// happens.
func TestDriftIsRepaired(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"))
		w.Apply()
		right := w.Read("authorized_keys")
		end := fact(t, w, "jit_grant.a", "expires_at")
		w.Clock.Advance(time.Hour + 30*time.Minute)
		for name, altered := range map[string]string{
			"missing":           foreign,
			"the end was moved": strings.Replace(right, "20261123105959Z", "20271123105959Z", 1),
		} {
			w.Write("authorized_keys", altered)
			r := w.Plan()
			if r.ExitCode != 2 {
				t.Errorf("%s: plan: exit code %d, want 2\n%s", name, r.ExitCode, r.Text())
			}
			says(t, r, "will be updated in-place", `drift = "`+name, "/authorized_keys for 2h, INC-1: look")
			if strings.Count(r.Text(), "known after apply") != 2 {
				t.Errorf("%s: the repair plans more than drift and summary as unknown:\n%s", name, r.Text())
			}
			w.Apply()
			if got := w.Read("authorized_keys"); got != right {
				t.Errorf("%s: repaired to\n%swant\n%s", name, got, right)
			}
			if got := fact(t, w, "jit_grant.a", "expires_at"); got != end {
				t.Errorf("%s: expires_at is %s, want %s", name, got, end)
			}
			unchanged(t, w, name+" and repaired")
			w.Clock.Advance(time.Minute)
		}
		w.Write("authorized_keys", foreign)
		w.Must("apply", "-refresh-only", "-auto-approve") // the state has the drift at the end of the window
		w.Clock.Advance(time.Hour)
		w.Calls.Reset()
		unchanged(t, w, "missing after the end")
		w.Apply()
		if got := w.Calls.Count(); got != (acctest.Count{}) {
			t.Errorf("the platform was called after the end: %+v", got)
		}
	})
}

// A repair planned inside the window does nothing if the grant has ended by the apply.
func TestPlannedRepairOfWhatIsOver(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *acctest.World){
		"by its window": func(_ *testing.T, w *acctest.World) { w.Clock.Advance(3 * time.Hour) },
		"revoked": func(t *testing.T, w *acctest.World) {
			revoke(t, w, "jit_grant.a")
			revoke(t, w, "jit_grant.b")
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *acctest.World) {
				others := fmt.Sprintf("principal = %q", bob)
				configure(w, policy("any"), grant("a", "depends_on = [jit_policy.any]"),
					grant("b", others, "depends_on = [jit_policy.any]"))
				w.Apply()
				w.Write("authorized_keys", foreign)
				// The plan for b has a change and a repair.
				configure(w, policy("any"), grant("a", "depends_on = [jit_policy.any]"),
					grant("b", others, "policy = jit_policy.any.name"))
				if r := w.Plan("-out=repair"); r.ExitCode != 2 {
					t.Fatalf("plan: exit code %d\n%s", r.ExitCode, r.Text())
				}
				end(t, w)
				w.Calls.Reset()
				w.Must("apply", "repair")
				if got := w.Calls.Count(); got.Writes != 0 {
					t.Errorf("the apply made %+v", got)
				}
				if got := w.Read("authorized_keys"); got != foreign {
					t.Errorf("authorized_keys is\n%swant\n%s", got, foreign)
				}
				unchanged(t, w, "after the apply")
			})
		})
	}
}

// After the end, drift in the state plans no change, also while the ledger cannot be read.
func TestDriftOfWhatIsOverWithoutLedger(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"))
		w.Apply()
		w.Write("authorized_keys", foreign)
		w.Must("apply", "-refresh-only", "-auto-approve")
		w.Clock.Advance(3 * time.Hour)
		if err := os.RemoveAll(w.Path(".jit")); err != nil {
			t.Fatal(err)
		}
		w.Write(".jit", "no directory")
		unchanged(t, w, "after the end, without the ledger")
		w.Apply()
	})
}

// A provider setting is unknown at plan. Attributes that the apply may change are not planned at their old values.
func TestChangeWithTheProviderNotConfigured(t *testing.T) {
	for setting, value := range map[string]string{"max_ttl": "5h", "owner": "payments",
		"ledger": "sqlite://.jit/elsewhere.db"} {
		t.Run(setting, func(t *testing.T) {
			each(t, func(t *testing.T, w *acctest.World) {
				round := 0
				write := func(lines ...string) {
					round++ // replaces terraform_data.s, so that the setting is unknown at plan
					known := fmt.Sprintf("resource \"terraform_data\" \"s\" {\n  input = %q\n  triggers_replace = %d\n}\n", value, round)
					configureWith(w, setting+" = terraform_data.s.output", known, grant("a", lines...))
				}
				write()
				w.Apply()
				began := w.Clock.Now()
				w.Clock.Advance(30 * time.Minute)
				ends := func(when string, after time.Duration) {
					t.Helper()
					w.Apply()
					if got, want := fact(t, w, "jit_grant.a", "expires_at"),
						jit.FormatTime(began.Add(after)); got != want {
						t.Errorf("%s: expires_at is %s, want %s", when, got, want)
					}
					unchanged(t, w, when)
				}
				write(`ttl = "3h"`)
				ends("a longer ttl", 3*time.Hour)
				write("ttl =", fmt.Sprintf("expires_at = %q", jit.FormatTime(began.Add(4*time.Hour))))
				ends("an end instead", 4*time.Hour)
				write(`ttl = "240m"`)
				ends("another spelling of the same end", 4*time.Hour)

				w.Write("authorized_keys", foreign)
				w.Must("apply", "-refresh-only", "-auto-approve")
				write(`ttl = "240m"`, `timeouts = { create = "9m" }`)
				ends("a repair", 4*time.Hour)
				if lines(w) != 1 {
					t.Errorf("the grant was not repaired:\n%s", w.Read("authorized_keys"))
				}
				write(`ttl = "240m"`, `timeouts = { create = "9m" }`)
				if r := w.Plan(); r.ExitCode != 2 || strings.Contains(r.Text(), "# jit_grant.a") {
					t.Errorf("without an edit: exit code %d\n%s", r.ExitCode, r.Text())
				}
			})
		})
	}
}

// revoke ends the grant as jit revoke does.
func revoke(t *testing.T, w *acctest.World, address string) {
	t.Helper()
	b := w.Runtime().Broker
	g, known, err := b.Lookup(t.Context(), jit.ID(fact(t, w, address, "id")), jit.Grant{})
	if err != nil || !known {
		t.Fatalf("the ledger does not know the grant: %v", err)
	}
	if _, _, err := b.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "the incident is over"}); err != nil {
		t.Fatal(err)
	}
}

// A grant that jit revoke ended stays ended.
func TestRevokedStaysRevoked(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"))
		w.Apply()
		revoke(t, w, "jit_grant.a")
		w.Calls.Reset()
		r := w.Plan()
		if r.ExitCode != 0 {
			t.Errorf("plan: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, "The grant was revoked", "the incident is over", "set renewal = 2 to grant again")
		w.Apply()
		says(t, w.Apply("-replace=jit_grant.a"), "nothing will be granted")
		unchanged(t, w, "after the replacement")
		w.Must("state", "rm", "jit_grant.a")
		w.Apply()
		if got := w.Calls.Count(); got.Writes != 0 {
			t.Errorf("%d writes after the revocation", got.Writes)
		}
		if got := w.Read("authorized_keys"); got != foreign {
			t.Errorf("authorized_keys is\n%swant\n%s", got, foreign)
		}
	})
}
