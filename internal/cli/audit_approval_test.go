package cli

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A grant that began without the approval that its policy asked for is found, although each of its events is whole.
func TestVerifyRecountsApprovals(t *testing.T) {
	o := newOffice(t, 1)
	rt := o.runtime()
	defer func() { _ = rt.Close() }()
	g, _, err := rt.Broker.Check(o.wish())
	if err != nil {
		t.Fatal(err)
	}
	g.RequestedAt, g.Holder, g.Policy = jit.Second(o.now), 1, "prod"
	g.Window = jit.Window{Start: g.RequestedAt, End: g.RequestedAt.Add(2 * time.Hour)}
	entry := jit.Rewrite(jit.Grant{}, g, jit.Event{At: o.now, Kind: jit.EventRequested, Grant: g.ID},
		jit.Event{At: o.now, Kind: jit.EventDecided, Grant: g.ID, Policy: "prod"})
	if err := rt.Ledger.Write(t.Context(), []jit.Entry{entry})[0]; err != nil {
		t.Fatal(err)
	}
	o.run("audit", "verify").wantCode(exitNotDone).
		wantOut(string(g.ID), "the approval of 0 of group:leads, and 1 are required").wantErr("1 finding")
}
