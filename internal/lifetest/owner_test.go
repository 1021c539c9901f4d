package lifetest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// The life of a grant with PostgreSQL as the ledger. Two owners share the ledger, the target and even the person, and
// neither revokes the other's grants. A sweep ends the expired grants of both, unless it serves only one of them.
func TestTwoOwnersOnOneServerLedger(t *testing.T) {
	t.Parallel()
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			cli, ledger, p := testenv.Terraforms(t)[0], testenv.Postgres(t).Database(t), p.open(t)
			payments, search := newSite(t, cli, p, released), newSite(t, cli, p, released)
			payments.ledger, search.ledger, search.who = ledger, ledger, payments.who
			foreign := p.foreign(t)

			payments.serves = payments.owner
			payments.configure(payments.grant("a"))
			payments.Apply()
			end := time.Now().Add(50 * time.Second)
			search.configure(search.grant("a", "ttl =", fmt.Sprintf("expires_at = %q", end.UTC().Format(time.RFC3339))))
			search.Apply()
			search.may(true, "with two grants")
			if payments.fact("a", "id") == search.fact("a", "id") {
				t.Error("grants of two owners have the same id")
			}
			if listed := payments.mustJit("list", "--json").Stdout; !strings.Contains(listed, search.fact("a", "id")) {
				t.Errorf("jit list does not show the other owner's grant:\n%s", listed)
			}
			listed := payments.mustJit("list", "--json", "--owner", payments.owner).Stdout
			if strings.Contains(listed, search.fact("a", "id")) {
				t.Errorf("jit list --owner shows the other owner's grant:\n%s", listed)
			}

			payments.mustJit("revoke", "--all", "--yes", "--reason", "INC-1: done")
			search.may(true, "after the other owner revoked everything")
			if n := p.marked(t); n != 1 {
				t.Errorf("%d bindings are ours, want 1", n)
			}
			payments.unchanged("after the revocation")
			payments.Apply()
			live := p.dump(t)
			payments.Must("destroy", "-auto-approve")

			time.Sleep(time.Until(end.Add(1100 * time.Millisecond)))
			payments.mustJit("sweep")
			same(t, live, p.dump(t), "the other owner wrote")
			search.may(!p.native(), "after the end and a sweep that does not serve the owner")
			payments.serves = ""
			payments.configure()
			payments.mustJit("sweep")
			search.may(false, "after the other owner's sweep of all")
			search.gone(foreign, "after the other owner's sweep of all")
			search.unchanged("after the end")
			search.Apply()
			search.gone(foreign, "after another apply")
			says(t, search.mustJit("audit", "verify"), "intact")
		})
	}
}
