package sweeper_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// hangingWrites is a ledger whose writes block until their caller gives up.
type hangingWrites struct{ *jittest.Ledger }

func (hangingWrites) Write(ctx context.Context, entries []jit.Entry) []error {
	<-ctx.Done()
	errs := make([]error, len(entries))
	for i := range errs {
		errs[i] = ctx.Err()
	}
	return errs
}

// A hanging ledger delays the stop of a daemon only once, whatever the number of batches: by the 20 seconds in the
// guide.
func TestAHangingLedgerDelaysAStopOnce(t *testing.T) {
	for _, pause := range []time.Duration{time.Second, 30 * time.Minute} {
		t.Run(fmt.Sprint("stopped after ", pause), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatched(t, "db", "cache")
				for i := range 6 {
					target := []string{"db", "cache"}[i%2]
					w.grant(target, fmt.Sprint("scope-", i%3), fmt.Sprint("user-", i), "1m", time.Time{})
				}
				watcher := w.watcher(sweeper.Sweeper{
					Broker: w.newBroker(), Holder: "a", MaxUnplanned: sweeper.DefaultMaxUnplanned,
				})
				watcher.Broker.Ledger = hangingWrites{w.ledger}
				time.Sleep(time.Minute)
				stop := run(t, watcher)
				time.Sleep(pause)
				stopped := time.Now()
				stop()
				if took := time.Since(stopped); took > 20*time.Second {
					t.Errorf("the stop took %s, want at most 20 s", took)
				}
			})
		})
	}
}
