package claims

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A process that dies at any of its calls forgets nothing.
func TestDeathAtEveryCall(t *testing.T) {
	for bits := range 4 {
		prior, after := bits&1 != 0, bits&2 != 0
		for n := int64(1); ; n++ {
			w := newWorld()
			a := access("alice", "death")
			if prior {
				w.members["alice"] = true
			}
			ctx, kill := context.WithCancel(t.Context())
			var calls atomic.Int64
			s := w.scope()
			s.Ledger = hooked{w.ledger, func(_ bool, do func() error) error {
				if is := calls.Add(1); is >= n {
					if is == n && after {
						_ = do()
					}
					kill()
					return context.Canceled
				}
				return do()
			}}
			w.onWrite = func(bool, string) fault {
				switch is := calls.Add(1); {
				case is > n || is == n && !after:
					kill()
					return unheard
				case is == n:
					return delayed
				}
				return none
			}
			if Apply(ctx, s, w, []jit.Change{ensure(a)})[0] == nil {
				_ = Apply(ctx, s, w, []jit.Change{remove(a)})
			}
			died := calls.Load() >= n
			kill()
			w.onWrite = nil
			w.do(t, remove(a))
			w.with(func() { w.finish("alice") })
			when := fmt.Sprintf("death at call %d, effect %t, prior %t", n, after, prior)
			w.wants(t, "alice", prior, when)
			w.empty(t, when)
			if !died {
				break
			}
		}
	}
}
