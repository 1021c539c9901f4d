package provider_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// newest returns a workspace of the command line that has list blocks and actions.
func newest(t *testing.T) *acctest.World {
	t.Helper()
	w := acctest.New(t, testenv.NewestTerraform(t), acctest.Options{Timeout: 10 * time.Minute})
	w.Write("authorized_keys", foreign)
	return w
}

// Configuration that a query of 1,000 grants generates plans empty, for live and for ended ones.
func TestQueryGeneratesConfiguration(t *testing.T) {
	t.Parallel()
	const n = 1000
	w := newest(t)
	configure(w, `data "jit_targets" "all" {}`) // something that opens the ledger
	w.Plan()
	b := w.Runtime().Broker
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			r := broker.Request{Binding: jit.Binding{Target: "host", Principal: alice, Role: "login"},
				Reason: fmt.Sprintf("INC-%d: look", i), Renewal: 1, TTL: jit.RecordedTTL([]string{"1m", "2h"}[i%2])}
			if _, err := b.Grant(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	configure(w)
	w.Clock.Advance(2 * time.Minute)
	w.Write("all.tfquery.hcl", fmt.Sprintf("list \"jit_grant\" \"all\" {\n  provider = jit\n  limit = %d\n}\n", 2*n))
	w.Must("query", "-generate-config-out=generated.tf")
	generated := w.Read("generated.tf")
	if got := strings.Count(generated, "\nimport {"); got != n {
		t.Fatalf("%d import blocks, want %d:\n%.3000s", got, n, generated)
	}
	w.Calls.Reset()
	r := w.Must("plan", "-out=plan")
	says(t, r, fmt.Sprintf("Plan: %d to import, 0 to add, 0 to change, 0 to destroy", n))
	w.Must("apply", "plan")
	unchanged(t, w, "with the generated configuration")
	if got := w.Calls.Count(); got.Writes != 0 {
		t.Errorf("the query and the import wrote to the target: %+v", got)
	}
}

// A query shows what its filters select.
func TestQuery(t *testing.T) {
	t.Parallel()
	w := newest(t)
	configure(w, grant("a", `reason = "INC-1: a"`), grant("b", `reason = "INC-1: b"`, fmt.Sprintf("principal = %q", bob)))
	w.Apply()
	w.Write("some.tfquery.hcl", fmt.Sprintf("list \"jit_grant\" \"of_bob\" {\n  provider = jit\n  config {\n"+
		"    target = \"host\"\n    principal = %q\n    state = \"active\"\n  }\n}\n", bob))
	r := w.Must("query")
	says(t, r, "INC-1: b", fact(t, w, "jit_grant.b", "id"))
	if strings.Contains(r.Text(), "INC-1: a") {
		t.Errorf("the filter is ignored:\n%s", r.Text())
	}
}

// Actions revoke and sweep, invoked by hand and by the life of a resource.
func TestActions(t *testing.T) {
	t.Parallel()
	w := newest(t)
	actions := `
action "jit_revoke" "a" {
  config {
    id     = jit_grant.a.id
    reason = "INC-1: done early"
  }
}

action "jit_revoke" "of_bob" {
  config {
    principal = ` + fmt.Sprintf("%q", bob) + `
    reason    = "SEC-1: the laptop is stolen"
  }
}

action "jit_sweep" "now" {}
`
	blocks := []string{actions, grant("a", `reason = "INC-1: a"`), grant("b", fmt.Sprintf("principal = %q", bob)),
		grant("c", `reason = "INC-1: c"`, `ttl = "1m"`)}
	configure(w, blocks...)
	w.Apply()
	says(t, w.Apply("-invoke=action.jit_revoke.a"), "Revoked 1 of 1", "INC-1: a")
	if lines(w) != 2 {
		t.Errorf("after the first action:\n%s", w.Read("authorized_keys"))
	}
	configure(w, append(blocks, `resource "terraform_data" "stolen" {
  lifecycle {
    action_trigger {
      events  = [after_create]
      actions = [action.jit_revoke.of_bob]
    }
  }
}`)...)
	says(t, w.Apply(), "Revoked 1 of 1")
	if lines(w) != 1 || strings.Contains(w.Read("authorized_keys"), bob) {
		t.Errorf("after the second action:\n%s", w.Read("authorized_keys"))
	}
	w.Clock.Advance(2 * time.Minute)
	says(t, w.Apply("-invoke=action.jit_sweep.now"), "its window ended at", "0 failed")
	if w.Read("authorized_keys") != foreign {
		t.Errorf("after the sweep:\n%s", w.Read("authorized_keys"))
	}
	r := w.Plan()
	if r.ExitCode != 0 {
		t.Errorf("plan: exit code %d\n%s", r.ExitCode, r.Text())
	}
	says(t, r, "INC-1: done early") // Terraform folds the other warning into it
	if g := record(t, w, fact(t, w, "jit_grant.b", "id")); g.RevokeReason != "SEC-1: the laptop is stolen" {
		t.Errorf("the record is %+v", g)
	}
}
