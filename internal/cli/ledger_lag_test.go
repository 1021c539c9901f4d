package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// belated is a target whose reads miss everything of the last minute.
type belated struct{ jit.Platform }

func (belated) Lag() time.Duration { return jit.CloudLag }

func (belated) Read(context.Context, string) (jit.Snapshot, error) { return jit.Snapshot{}, nil }

// A read of a cloud may miss a grant of the last minute. An acceptance does not end that grant, and says that it could
// not read it.
func TestAcceptEndsNoGrantOfTheLastMinute(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: a", "8h")
	w.wrap = func(_ string, real jit.Platform) jit.Platform { return belated{real} }
	var accepted struct {
		Grants []struct {
			OnTarget onTarget `json:"on_target"`
		}
		Ended int
	}
	accept := func(want int) {
		t.Helper()
		w.run("ledger", "accept", "--reason", "OPS-1: the disk died", "--yes", "--json").wantCode(want).decode(&accepted)
	}
	accept(exitUnreadable)
	if len(accepted.Grants) != 1 || accepted.Grants[0].OnTarget != isUnread || accepted.Ended != 0 {
		t.Errorf("accepted %+v", accepted)
	}
	w.wantAccess(g, true)
	// Nor does anything else that reads the target: it neither ends the grant nor repairs it.
	rt := w.runtime()
	t.Cleanup(func() { _ = rt.Close() })
	rt.Broker.Targets["bastion"] = belated{rt.Broker.Targets["bastion"]}
	if err := rt.Ledger.Recall(t.Context()); err != nil {
		t.Fatal(err)
	}
	if drift, err := rt.Broker.Observe(t.Context(), g); drift != "" || err != nil {
		t.Errorf("Observe = %q, %v", drift, err)
	}
	repair := reconcile.Drifted(reconcile.Repair, g.Place(), g, jit.DriftMissing, jit.Missing)
	if err := rt.Broker.Execute(t.Context(), []reconcile.Step{repair})[0]; err == nil ||
		!strings.Contains(err.Error(), "repeat this in a minute") {
		t.Errorf("a repair: %v", err)
	}
	if r, _, err := rt.Ledger.Lookup(t.Context(), g.ID); err != nil || !r.EndedAt.IsZero() || !r.RevokedAt.IsZero() {
		t.Errorf("the record is %+v, %v", r, err)
	}
	w.now = w.now.Add(jit.CloudLag + time.Second)
	accept(exitDone)
	if accepted.Grants[0].OnTarget != isMissing || accepted.Ended != 1 {
		t.Errorf("a minute later: accepted %+v", accepted)
	}
}
