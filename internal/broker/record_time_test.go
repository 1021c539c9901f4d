package broker_test

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// The clock of one host is ahead, and the ledger has no clock. An end and a revocation there are recorded at the right
// time, so grants begin on the other targets.
func TestATargetThatIsAheadBlocksNoOtherTarget(t *testing.T) {
	for _, ahead := range []time.Duration{365 * 24 * time.Hour, 24 * time.Hour, 31 * time.Second} {
		w := newWorld(t, jit.Sweeper)
		host := &jittest.Platform{Traits: jit.Traits{Enforcement: jit.Sweeper}, Now: func() time.Time { return w.now }}
		w.Targets["host"] = host
		g := w.grant(request(func(r *broker.Request) { r.Binding.Target = "host" }))
		w.pass(10 * time.Minute)
		host.Now = func() time.Time { return w.now.Add(ahead) }
		fresh := func(targets map[string]jit.Platform) *broker.Broker {
			return &broker.Broker{Ledger: w.ledger, Targets: targets, Owner: "jit", MaxTTL: 24 * time.Hour,
				Actor: w.Actor, Now: func() time.Time { return w.now }}
		}
		w.Broker = fresh(w.Targets)
		if ahead < time.Hour {
			if _, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "done"}); err != nil {
				t.Fatal(err)
			}
		} else {
			if _, err := w.Observe(t.Context(), g); err != nil { // it tells the host's time
				t.Fatal(err)
			}
			if err := w.execute(reconcile.End, g, "", ""); err != nil {
				t.Fatal(err)
			}
		}
		if r := w.recorded(g.ID); r.EndedAt.Sub(w.now).Abs() > time.Minute {
			t.Errorf("host ahead by %s: ended at %s, want %s", ahead, r.EndedAt, w.now)
		}
		other := fresh(map[string]jit.Platform{"db": w.platform})
		if _, err := other.Grant(t.Context(), request()); err != nil {
			t.Errorf("host ahead by %s: a grant on another target: %v", ahead, err)
		}
	}
}
