package sweeper_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// In a ledger that keeps every write, watchers acquire no lease while no grant is live, and look for drift all the
// same.
func TestIdleWatchersOfAThriftyLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db", "bastion")
		leases := &jittest.Thrifty{Leases: w.ledger.Leases()}
		watcher := w.watcher(sweeper.Sweeper{Broker: w.newBroker(), Holder: "a", MaxUnplanned: sweeper.DefaultMaxUnplanned})
		watcher.Leases = leases
		stop := run(t, watcher)
		time.Sleep(3 * sweeper.DefaultDriftInterval)
		if n := leases.Writes.Load(); n != 0 {
			t.Errorf("%d writes without a grant", n)
		}
		for _, target := range []string{"db", "bastion"} {
			if since := time.Since(watcher.State().Drift[target].At); since > sweeper.DefaultDriftInterval+time.Minute {
				t.Errorf("%s: the last look for drift is %s ago", target, since)
			}
		}
		w.grant("db", "a", "alice", "1h", time.Time{})
		time.Sleep(3 * sweeper.DefaultDriftInterval)
		if n := leases.Writes.Load(); n < 2 || n > 8 {
			t.Errorf("%d writes while a grant is live on one of two targets", n)
		}
		time.Sleep(time.Hour)
		before := leases.Writes.Load()
		time.Sleep(3 * sweeper.DefaultDriftInterval)
		if n := leases.Writes.Load() - before; n != 0 {
			t.Errorf("%d writes after the grant has ended", n)
		}
		stop()
	})
}
