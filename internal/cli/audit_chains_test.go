package cli

import (
	"database/sql"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Promise 11: a head binds the chains of all owners. A chain that somebody drops with all its rows is missed, and a
// head that leaves a chain out is none.
func TestAuditHeadOfSeveralChains(t *testing.T) {
	w := newWorld(t)
	for _, owner := range []string{"payments", "search"} {
		rt := w.runtime()
		rt.Broker.Owner = owner
		binding := jit.Binding{Target: "bastion", Principal: w.key(), Role: "login"}
		if _, err := rt.Broker.Grant(t.Context(), broker.Request{
			Binding: binding, Reason: "INC-1", Renewal: 1, TTL: jit.RecordedTTL("1h"),
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := rt.Broker.MakePolicy(t.Context(), jit.Policy{Name: owner, Effect: jit.Permit}); err != nil {
			t.Fatal(err)
		}
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var head auditHead
	w.run("audit", "head", "-o", "head.json").wantCode(exitDone)
	w.run("audit", "head").wantCode(exitDone).decode(&head)
	var chains []string
	for _, c := range head.Chains {
		chains = append(chains, c.Chain)
	}
	if !slices.Equal(chains, []string{"_all", "payments", "search"}) || head.Root != jit.Root(head.Ledger, head.Chains) {
		t.Fatalf("head %+v", head)
	}
	check := []string{"audit", "verify", "--head", "head.json"}
	w.run(check...).wantCode(exitDone)

	fewer := head
	fewer.Chains = head.Chains[:2]
	text, err := json.Marshal(fewer)
	if err != nil {
		t.Fatal(err)
	}
	w.write("fewer.json", string(text))
	w.run("audit", "verify", "--head", "fewer.json").wantCode(exitUsage).wantErr("its root is not that of its chains")

	db, err := sql.Open("sqlite", "ledger.db")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, drop := range []string{
		"DELETE FROM jit_log WHERE chain = 'search'", "DELETE FROM jit_chains WHERE chain = 'search'",
		"DELETE FROM jit_grants WHERE owner = 'search'", "DELETE FROM jit_due WHERE owner = 'search'",
	} {
		if _, err := db.Exec(drop); err != nil {
			t.Fatal(err)
		}
	}
	w.run("audit", "verify").wantCode(exitNotDone).wantErr("has gone back in time: event search/")
	if err := os.Remove("ledger.db.head"); err != nil {
		t.Fatal(err)
	}
	w.run("audit", "verify").wantCode(exitDone).wantOut("unnoticed without --head")
	w.run(check...).wantCode(exitNotDone).wantErr("the record was cut or rewritten: the head is event search/",
		"and the last event is search/0")
	w.run(append(check, "--owner", "search")...).wantCode(exitNotDone).wantErr("the head is event search/")
	w.run(append(check, "--owner", "payments")...).wantCode(exitDone)
}
