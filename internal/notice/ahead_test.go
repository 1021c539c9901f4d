package notice

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The ledger was restored and accepted. Later, a machine whose clock is two days ahead records an event. Its notice is
// sent once, and the position is behind by nothing.
func TestEventOfAClockThatIsAhead(t *testing.T) {
	inWorld(t, func(w *world) {
		s := w.sender("a")
		w.flush(s)
		for _, kind := range []jit.EventKind{jit.EventLedgerBehind, jit.EventLedgerRestored} {
			e := jit.Event{At: time.Now(), Kind: kind, Actor: jit.Actor{Name: "carol", Source: jit.FromCLI}}
			if err := w.ledger.Write(w.Context(), []jit.Entry{{Events: []jit.Event{e}}})[0]; err != nil {
				t.Fatal(err)
			}
		}
		w.granted(1, nil)
		w.flush(s)
		w.granted(2, func(_ *jit.Grant, e *jit.Event) { e.At = time.Now().Add(48 * time.Hour) })
		ctx, cancel := context.WithCancel(w.Context())
		defer cancel()
		w.hook.set(func(n int, _ http.ResponseWriter) int {
			if n >= 20 {
				cancel()
			}
			return http.StatusOK
		})
		if err := s.Flush(ctx); err != nil {
			t.Error(err)
		}
		if got := len(w.hook.requests()); got != 1 {
			t.Errorf("%d requests for one new event", got)
		}
		positions, err := s.Positions(w.Context())
		if err != nil || positions[0].Behind != 0 || positions[0].Seq != 2 || positions[0].All != 2 {
			t.Errorf("positions are %+v, %v", positions, err)
		}
	})
}
