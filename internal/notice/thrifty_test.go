package notice

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// In a ledger that keeps every write, senders write only when there is something to deliver. Two of them deliver each
// notice once.
func TestIdleSendersOfAThriftyLedger(t *testing.T) {
	inWorld(t, func(w *world) {
		w.granted(1, nil) // before the receiver is new
		time.Sleep(time.Second)
		leases := &jittest.Thrifty{Leases: w.ledger.Leases()}
		for _, name := range []string{"a", "b"} {
			s := w.sender(name)
			s.Leases = leases
			defer w.start(s)()
		}
		time.Sleep(time.Minute)
		before := leases.Writes.Load()
		time.Sleep(24 * time.Hour)
		if n := leases.Writes.Load() - before; before == 0 || n != 0 {
			w.Errorf("%d writes at first, and %d in a day without notices", before, n)
		}
		w.grantedMany(2, 6)
		time.Sleep(time.Minute)
		w.hook.wantSeqs(2, 3, 4, 5, 6)
		before = leases.Writes.Load()
		time.Sleep(time.Hour)
		w.hook.wantSeqs(2, 3, 4, 5, 6)
		if n := leases.Writes.Load() - before; n != 0 {
			w.Errorf("%d writes in an hour after the last notice", n)
		}
		flushed := w.sender("c")
		flushed.Leases = leases
		if err := flushed.Flush(w.Context()); err != nil || leases.Writes.Load() != before {
			w.Errorf("a pass without notices: %v, %d writes", err, leases.Writes.Load()-before)
		}
		if got := w.troubles(); len(got) > 0 {
			w.Errorf("troubles %q", got)
		}
	})
}
