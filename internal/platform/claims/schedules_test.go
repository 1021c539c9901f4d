package claims

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Processes ensure and remove shared objects in any order, on a platform that loses answers, lags and refuses. In the
// end an object exists exactly if a live grant claims it or somebody else made it.
func TestRandomSchedules(t *testing.T) {
	for seed := range uint64(100) {
		const processes, grants, steps = 4, 3, 20
		w := newWorld()
		w.members["carol"] = true
		var mu sync.Mutex
		luck := rand.New(rand.NewPCG(seed, 0))
		w.onWrite = func(bool, string) fault {
			mu.Lock()
			defer mu.Unlock()
			return fault(max(0, luck.IntN(12)-7))
		}
		live := make([]map[string]jit.Access, processes)
		var all sync.WaitGroup
		for n := range processes {
			live[n] = map[string]jit.Access{}
			random := rand.New(rand.NewPCG(seed, uint64(n+1)))
			all.Go(func() {
				for range steps {
					who, why := []string{"alice", "bob", "carol"}[random.IntN(3)], fmt.Sprint(n, random.IntN(grants))
					a, change := access(who, why), ensure
					if random.IntN(2) == 0 {
						change = remove
					}
					c := change(a)
					for tries := 0; Apply(t.Context(), w.scope(), w, []jit.Change{c})[0] != nil; tries++ {
						if tries > 200 {
							t.Errorf("%s never succeeds", c.Op)
							return
						}
					}
					if live[n][who+why] = a; c.Op == jit.Remove {
						delete(live[n], who+why)
					}
				}
			})
		}
		all.Wait()
		want := map[string]bool{"carol": true}
		for _, grants := range live {
			for _, a := range grants {
				want[a.Binding.Principal] = true
			}
		}
		when := fmt.Sprint("seed ", seed)
		for _, who := range []string{"alice", "bob", "carol"} {
			w.with(func() { w.finish(who) })
			w.wants(t, who, want[who], when)
		}
		w.onWrite = nil
		for _, grants := range live {
			for _, a := range grants {
				w.do(t, remove(a))
			}
		}
		for _, who := range []string{"alice", "bob", "carol"} {
			w.wants(t, who, who == "carol", when+", after the end of all")
		}
		w.empty(t, when)
	}
}
