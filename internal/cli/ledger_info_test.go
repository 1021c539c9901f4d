package cli

import (
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
)

// The chains that jit ledger info prints are those that jit audit verify checks.
func TestLedgerInfo(t *testing.T) {
	w := newWorld(t)
	w.run("ledger", "info").wantCode(exitUnreadable).wantErr("there is no ledger yet")
	g := w.grant("INC-1: a", "2h")
	var i ledger.Info
	w.run("ledger", "info", "--json").wantCode(exitDone).decode(&i)
	var r ledger.Report
	w.run("audit", "verify", "--json").wantCode(exitDone).decode(&r)
	if i.ID != r.Ledger || i.Kind != "sqlite" || i.Root != r.Root || i.Events != r.Events || len(i.Chains) != 1 ||
		i.Chains[0].Chain != "payments" || i.Bytes < 4096 || i.Newest.Before(g.RequestedAt) || i.OneChain != 0 {
		t.Errorf("info %+v, verified %+v", i, r)
	}
	if i.Root != jit.Root(i.ID, i.Chains) {
		t.Errorf("the root is %s", i.Root)
	}
	w.run("ledger", "info").wantCode(exitDone).wantOut(i.ID, i.Root, "CHAIN", "payments", i.Chains[0].Hash)
}
