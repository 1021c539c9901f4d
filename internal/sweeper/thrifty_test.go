package sweeper_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
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

// taken is a lease store whose leases somebody else holds for ever.
type taken struct{ jit.Leases }

// Thrifty reports true.
func (*taken) Thrifty() bool { return true }

// Acquire gives no lease.
func (*taken) Acquire(context.Context, string, string, time.Time, time.Time) (int64, bool, error) {
	return 0, false, nil
}

// Whoever holds the lease of looking for drift for ever does not keep others from it for ever: access that was removed
// by hand is put back.
func TestDriftLeaseThatIsNeverReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		watcher := w.watcher(sweeper.Sweeper{Broker: w.newBroker(), Holder: "a", MaxUnplanned: sweeper.DefaultMaxUnplanned})
		watcher.Leases = &taken{w.ledger.Leases()}
		g := w.grant("db", "a", "alice", "10h", time.Time{})
		stop := run(t, watcher)
		for range 2 {
			w.targets["db"].Edit("a", func([]jit.Observed) []jit.Observed { return nil })
			time.Sleep(2 * sweeper.DefaultDriftInterval)
			w.want(g, false, "while another may look for drift")
			time.Sleep(2 * sweeper.DefaultDriftInterval)
			w.want(g, true, "after three intervals without the lease")
		}
		stop()
	})
}
