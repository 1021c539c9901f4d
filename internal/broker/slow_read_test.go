package broker_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// slow is a platform whose reads take long. The clock is of the first answer or of the last.
type slow struct {
	*jittest.Platform
	takes time.Duration
	first bool
}

func (s slow) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	began := time.Now()
	time.Sleep(s.takes)
	snapshot, err := s.Platform.Read(ctx, scope)
	if s.first {
		snapshot.Clock = began
	}
	return snapshot, err
}

// Every clock is right, and a read of the target takes 35 s. Terraform keeps the read for a minute.
func TestASlowReadIsNoWrongClock(t *testing.T) {
	for name, first := range map[string]bool{"the last answer tells the time": false, "the first answer tells it": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := &jittest.Platform{Traits: jit.Traits{Enforcement: jit.Native}, Now: time.Now}
				p := slow{memory, 35 * time.Second, first}
				b := &broker.Broker{Ledger: &jittest.Ledger{Remote: time.Now}, Owner: "jit", MaxTTL: 24 * time.Hour,
					Targets: map[string]jit.Platform{"db": batch.Share(p, config.KeepForPlan, time.Now)},
					Actor:   jit.Actor{Name: "alice", Source: jit.FromTerraform}, Now: time.Now}
				for _, who := range []string{"bob", "carol", "dave"} {
					ask := request(func(r *broker.Request) { r.Binding.Principal = who })
					if _, err := b.Grant(t.Context(), ask); err != nil {
						t.Errorf("a grant of %s: %v", who, err)
					}
				}
			})
		})
	}
}
