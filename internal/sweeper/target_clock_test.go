package sweeper_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// offClock is a platform whose clock is off.
type offClock struct {
	jit.Platform
	off time.Duration
}

func (p *offClock) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	s, err := p.Platform.Read(ctx, scope)
	s.Clock = s.Clock.Add(p.off)
	return s, err
}

// freshPass is a pass of a process that knows nothing yet.
func (w *world) freshPass() sweeper.Report {
	b := &broker.Broker{Ledger: w.ledger, Targets: w.broker.Targets, Owner: "jit", MaxTTL: 24 * time.Hour,
		Actor: w.broker.Actor, Now: func() time.Time { return w.now }}
	return (&sweeper.Sweeper{Broker: b, Holder: "fresh", MaxUnplanned: 20}).Pass(w.t.Context())
}

// Whoever has access to a host sets its clock back again and again. The ledger's server and this machine agree that the
// grant is over, and the sweeper ends it. A host whose clock is ahead does not end it early.
func TestATargetsClockMovesNoEnd(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	w.ledger.Remote = func() time.Time { return w.now }
	w.grant(request("2h"))
	began := w.now
	host := &offClock{w.platform, 24 * time.Hour}
	w.broker.Targets["db"] = host
	w.now = w.now.Add(time.Hour)
	w.freshPass()
	w.allowed(true)
	w.now = w.now.Add(4 * time.Hour)
	host.off = began.Add(time.Hour).Sub(w.now) // always an hour after the beginning
	w.freshPass()
	w.allowed(false)
}

// The clock of one host falls back an hour, for example after a reboot. Its live grants stay, also one that is to begin
// later is not revoked, with a ledger that has a clock and with one that has none.
func TestATargetThatIsBehindKeepsItsGrants(t *testing.T) {
	for _, ledgerClock := range []bool{true, false} {
		t.Run(fmt.Sprintf("the ledger has a clock %t", ledgerClock), func(t *testing.T) {
			w := newWorld(t, jit.Sweeper)
			if ledgerClock {
				w.ledger.Remote = func() time.Time { return w.now }
			}
			g := w.grant(request("8h"))
			w.now = w.now.Add(10 * time.Minute)
			host := &offClock{w.platform, -time.Hour}
			w.broker.Targets["db"] = host
			w.freshPass()
			w.allowed(true)
			host.off = 0
			w.now = w.now.Add(time.Hour)
			w.freshPass()
			w.allowed(true)
			if r, _, err := w.ledger.Lookup(t.Context(), g.ID); err != nil || !r.RevokedAt.IsZero() {
				t.Errorf("revoked at %s, %q, %v", r.RevokedAt, r.RevokeReason, err)
			}
		})
	}
}
