package sweeper_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// A blocked end holds up no other end of its scope and is carried out when it is no longer blocked.
func TestWatchABlockedEndDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		blocked := w.grant("db", "a", "alice", "2m", time.Time{})
		ofBlocked := func(c jit.Change) bool { return c.Access.Marker.ID == blocked.ID }
		hang := &hanging{Platform: w.targets["db"], until: make(chan struct{}),
			hangs: func(_ string, changes []jit.Change) bool { return slices.ContainsFunc(changes, ofBlocked) }}
		var others []jit.Grant
		for _, ttl := range []string{"2m10s", "2m20s", "2m45s", "10m"} {
			others = append(others, w.grant("db", "a", "bob-"+ttl, ttl, time.Time{}))
		}
		b := w.newBroker()
		b.Targets["db"] = batch.Share(hang, 0, time.Now) // as it is in use
		watcher := &sweeper.Watcher{Sweeper: sweeper.Sweeper{Broker: b, Holder: "a"}, Leases: w.ledger.Leases(),
			Observer: w}
		defer run(t, watcher)()
		for _, g := range others {
			time.Sleep(time.Until(g.End.Add(6 * time.Second)))
			synctest.Wait()
			w.want(g, false, "6 s after its end, beside one that is blocked")
		}
		w.want(blocked, true, "while its end is blocked")
		close(hang.until)
		time.Sleep(10 * time.Minute)
		w.want(blocked, false, "when its end is not blocked any more")
		for _, g := range append(others, blocked) {
			if n := w.events(g, jit.EventExpired); n != 1 {
				t.Errorf("%d events tell of the end of %s, want 1", n, g.Principal)
			}
		}
	})
}
