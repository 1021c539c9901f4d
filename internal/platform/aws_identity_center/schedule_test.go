package awsidentitycenter

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Several processes grant and end the same accesses in any order, on a service that is sometimes busy and loses answers
// or requests. In the end access exists exactly where a grant is live or where prior access existed. Prior access is
// unchanged, and only live grants have claims.
func TestRandomSchedules(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			randomSchedule(t, seed)
		})
	}
}

func randomSchedule(t *testing.T, seed uint64) {
	const processes, grants, steps = 4, 3, 12
	s := newSite(t)
	s.takes = 3 * time.Millisecond
	bindings := []jit.Binding{alice(), alice(), alice()}
	bindings[1].Role = "Admin"
	bindings[2].Principal = "group:On call"
	s.foreign(t, bindings[2])
	before := s.dump()

	luck := rand.New(rand.NewPCG(seed, 1))
	s.fault = func(string) *fault { // asked by one call at a time
		switch luck.IntN(40) {
		case 0:
			return &fault{lost: true}
		case 1:
			return &fault{cut: true}
		case 2:
			return &fault{status: http.StatusServiceUnavailable, code: "ServiceUnavailable"}
		}
		return nil
	}

	live := make([]map[jit.Marker]jit.Binding, processes)
	var wg sync.WaitGroup
	for n := range processes {
		live[n] = map[jit.Marker]jit.Binding{}
		p := s.open(t)
		random := rand.New(rand.NewPCG(seed, uint64(n+2)))
		wg.Go(func() {
			for range steps {
				b := bindings[random.IntN(len(bindings))]
				a := access(b, fmt.Sprintf("process %d, grant %d", n, random.IntN(grants)))
				a.Marker.Window = jit.Window{Start: jit.Second(time.Now()).Truncate(time.Hour),
					End: jit.Second(time.Now()).Truncate(time.Hour).Add(2 * time.Hour)}
				op := jit.Ensure
				if random.IntN(2) == 0 {
					op = jit.Remove
				}
				tries := 0
				for p.Apply(t.Context(), production, []jit.Change{{Op: op, Access: a}})[0] != nil {
					if tries++; tries > 50 {
						t.Errorf("%s of %s never succeeds", op, a.Marker)
						return
					}
				}
				if op == jit.Ensure {
					live[n][a.Marker] = b
				} else {
					delete(live[n], a.Marker)
				}
			}
		})
	}
	wg.Wait()
	s.with(func(m *model) { m.fault = nil })
	time.Sleep(4 * s.takes) // what was lost on the way
	want := map[jit.Binding]bool{bindings[2]: true}
	count := 0
	for _, grants := range live {
		for _, b := range grants {
			want[b] = true
			count++
		}
	}
	for _, b := range bindings {
		s.wants(t, b, want[b], "at last")
	}
	p := s.open(t)
	if got := ours(t, p); len(got) != count || len(marked(t, p)) != count {
		t.Errorf("Read returns %d grants and %d have claims, want the %d live ones", len(got), len(marked(t, p)),
			count)
	}
	if after := s.dump(); after != before {
		t.Errorf("the access of others is\n%s\nwas\n%s", after, before)
	}
	for _, grants := range live {
		for m, b := range grants {
			apply(t, p, remove(jit.Access{Marker: m, Binding: b})...)
		}
	}
	for i, b := range bindings {
		s.wants(t, b, i == 2, "after the end of all")
	}
	if after := s.dump(); after != before {
		t.Errorf("after the end of all the access of others is\n%s\nwas\n%s", after, before)
	}
}
