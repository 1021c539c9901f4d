package broker_test

import (
	"context"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// asking is a platform that asks of each removal whether its grant shared anything.
type asking struct {
	jit.Platform
	sole []bool
}

func (a *asking) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	for _, c := range changes {
		if c.Op == jit.Remove {
			a.sole = append(a.sole, c.Sole())
		}
	}
	return a.Platform.Apply(ctx, scope, changes)
}

// TestARemovalSaysWhetherTheGrantWasTheOnlyOne: only then does an absent binding prove that nobody has the access.
func TestARemovalSaysWhetherTheGrantWasTheOnlyOne(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	a := &asking{Platform: w.platform}
	w.Targets["db"] = a
	named := func(reason string) jit.Grant {
		return w.grant(request(func(r *broker.Request) { r.Reason = "INC-1: " + reason }))
	}
	revoke := func(g jit.Grant, want bool, why string) {
		t.Helper()
		w.pass(time.Minute)
		w.revoke(broker.Revocation{Grant: g, Reason: "done"})
		if got := a.sole[len(a.sole)-1]; got != want {
			t.Errorf("%s: the removal says that the grant was the only one: %t, want %t", why, got, want)
		}
		w.pass(time.Minute)
	}
	revoke(named("alone"), true, "a grant alone")
	first := named("first")
	second := named("second")
	revoke(first, false, "beside another grant")
	revoke(second, false, "after a grant that ended meanwhile")
	revoke(named("later"), true, "after grants that had ended before")
}
