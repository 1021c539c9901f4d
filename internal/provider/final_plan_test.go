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
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// A change that does not move the window, planned while the grant was live, can be applied after its end.
func TestPlannedChangeOfWhatIsOver(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *acctest.World){
		"by its window": func(_ *testing.T, w *acctest.World) { w.Clock.Advance(3 * time.Hour) },
		"revoked": func(t *testing.T, w *acctest.World) {
			revoke(t, w, "jit_grant.a")
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *acctest.World) {
				configure(w, grant("a"))
				w.Apply()
				digest := fact(t, w, "jit_grant.a", "request_digest")
				configure(w, grant("a", fmt.Sprintf("start_by = %q", jit.FormatTime(w.Clock.Now().Add(time.Hour)))))
				w.Must("plan", "-out=plan")
				end(t, w)
				w.Must("apply", "plan")
				if got := fact(t, w, "jit_grant.a", "request_digest"); got != digest {
					t.Errorf("request_digest is %s, want the recorded %s", got, digest)
				}
				unchanged(t, w, "after the apply")
			})
		})
	}
}

// The removal of a policy's name, planned while the grant was live, can be applied after its end. The record does not
// change.
func TestPlannedRemovalOfThePolicyOfWhatIsOver(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *acctest.World){
		"by its window": func(_ *testing.T, w *acctest.World) { w.Clock.Advance(3 * time.Hour) },
		"revoked": func(t *testing.T, w *acctest.World) {
			revoke(t, w, "jit_grant.a")
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *acctest.World) {
				named := policy("named")
				configure(w, named, grant("a", "policy = jit_policy.named.name"))
				w.Apply()
				configure(w, named, grant("a"))
				w.Must("plan", "-out=plan")
				end(t, w)
				w.Must("apply", "plan")
				if g := record(t, w, fact(t, w, "jit_grant.a", "id")); g.Policy != "named" {
					t.Errorf("the recorded policy is %q, want named", g.Policy)
				}
				unchanged(t, w, "after the apply")
			})
		})
	}
}

// The beginning is removed from a block, and the grant begins before that plan is applied.
func TestPlannedStartAtOnceOfWhatHasBegun(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		begin := w.Clock.Now().Add(time.Hour)
		configure(w, grant("a", fmt.Sprintf("starts_at = %q", jit.FormatTime(begin))))
		w.Apply()
		configure(w, grant("a"))
		w.Must("plan", "-out=plan")
		w.Clock.Advance(time.Hour)
		b := w.Runtime().Broker
		g := record(t, w, fact(t, w, "jit_grant.a", "id"))
		if err := b.Execute(t.Context(), []reconcile.Step{{Kind: reconcile.Start, Place: g.Place(),
			Grant: g}})[0]; err != nil {
			t.Fatal(err)
		}
		w.Must("apply", "plan")
		if got, want := fact(t, w, "jit_grant.a", "expires_at"), jit.FormatTime(begin.Add(2*time.Hour)); got != want {
			t.Errorf("expires_at is %s, want %s", got, want)
		}
		unchanged(t, w, "after the apply")
	})
}

// The state and the ledger have the same request digest, whatever the time of the apply.
func TestDigestOfARequestedBeginning(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("b", fmt.Sprintf("principal = %q", bob)))
		w.Apply()
		agree := func(when string) (digest string) {
			t.Helper()
			digest = fact(t, w, "jit_grant.a", "request_digest")
			v := record(t, w, fact(t, w, "jit_grant.a", "id"))
			ledger, err := w.Runtime().Ledger.ID(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := v.RequestDigest(ledger); got != digest {
				t.Errorf("%s: the ledger has the digest %s, the state has %s", when, got, digest)
			}
			if got := fact(t, w, "jit_grant.a", "summary"); got != v.Summary() {
				t.Errorf("%s: the ledger has the summary %q, the state has %q", when, v.Summary(), got)
			}
			return digest
		}
		atOnce, begin := grant("a", "renewal = 2"), w.Clock.Now().Add(time.Hour)
		configure(w, grant("a", fmt.Sprintf("starts_at = %q", jit.FormatTime(begin))))
		w.Must("plan", "-out=plan")
		w.Clock.Advance(2 * time.Hour)
		w.Must("apply", "plan")
		agree("with a beginning that passed before the apply")
		unchanged(t, w, "after it")

		configure(w, grant("a", "renewal = 2",
			fmt.Sprintf("starts_at = %q", jit.FormatTime(w.Clock.Now().Add(time.Hour)))))
		w.Apply()
		scheduled := agree("scheduled")
		configure(w, atOnce)
		if r := w.Plan("-out=plan"); strings.Contains(r.Text(), "request_digest = (known") {
			t.Errorf("the digest is unknown at plan:\n%s", r.Text())
		}
		w.Clock.Advance(time.Minute)
		w.Must("apply", "plan")
		if got := agree("at once after all"); got == scheduled ||
			strings.Contains(fact(t, w, "jit_grant.a", "summary"), " from ") {
			t.Errorf("the request still has a later beginning: %s", fact(t, w, "jit_grant.a", "summary"))
		}
		unchanged(t, w, "begun at once")
	})
}

// A plan made after the loss of ledger and state can be applied. The first grant creates the ledger and its id.
func TestSavedPlanWithoutALedger(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		blocks := []string{
			grant("a"), grant("b", fmt.Sprintf("principal = %q", bob)),
			grant("c", `reason = "INC-2: look"`, fmt.Sprintf("principal = %q", bob)),
		}
		configure(w, blocks...)
		w.Apply()
		for _, lost := range []string{".jit", "terraform.tfstate"} {
			if err := os.RemoveAll(w.Path(lost)); err != nil {
				t.Fatal(err)
			}
		}
		w.Must("plan", "-out=plan")
		w.Must("apply", "plan")
		for _, address := range []string{"jit_grant.a", "jit_grant.b", "jit_grant.c"} {
			if got := fact(t, w, address, "request_digest"); len(got) != 64 {
				t.Errorf("%s: request_digest is %q", address, got)
			}
		}
		unchanged(t, w, "after the apply")
	})
}

// Another run makes the same grant, with another length, before a saved plan is applied. The apply adopts that grant.
func TestSavedPlanOfWhatAnotherRunMakes(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("first", fmt.Sprintf("principal = %q", bob)))
		w.Apply() // the ledger has an id, so the digest is planned
		configure(w, grant("first", fmt.Sprintf("principal = %q", bob)), grant("a"))
		w.Must("plan", "-out=plan")
		g := record(t, w, fact(t, w, "jit_grant.first", "id"))
		request := requestOf(g)
		request.Binding.Principal, request.TTL = alice, jit.RecordedTTL("1h")
		made, err := w.Runtime().Broker.Grant(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		w.Must("apply", "plan")
		if got, want := fact(t, w, "jit_grant.a", "expires_at"), jit.FormatTime(made.End); got != want {
			t.Errorf("expires_at is %s, want %s", got, want)
		}
		if got := fact(t, w, "jit_grant.a", "summary"); !strings.Contains(got, "for 2h") {
			t.Errorf("summary is %q, want what the block asks for", got)
		}
	})
}

// requestOf returns the request that a grant was made for.
func requestOf(g jit.Grant) broker.Request {
	return broker.Request{Binding: g.Binding, Reason: g.Reason, Renewal: g.Renewal, TTL: g.TTL}
}
