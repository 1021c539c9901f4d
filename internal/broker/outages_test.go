package broker_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A plan of many grants waits only once for a target that times out. A target that refuses quickly is asked each time,
// and so is one that answers again.
func TestAPlanWaitsForASilentTargetOnce(t *testing.T) {
	for takes, want := range map[time.Duration]int{30 * time.Second: 1, time.Second: 20} {
		t.Run(takes.String(), func(t *testing.T) {
			w := newWorld(t, jit.Native)
			g := w.grant(request())
			reads := 0
			w.platform.Call = func(string) error {
				reads++
				w.pass(takes)
				return errors.New("timed out")
			}
			for i := range 10 {
				if _, err := w.Observe(t.Context(), g); err == nil {
					t.Fatal("a target that does not answer was read")
				}
				other := request(func(r *broker.Request) { r.Reason = fmt.Sprintf("INC-%d: look", 2+i) })
				if _, err := w.Preview(t.Context(), other, true); err != nil {
					t.Fatal(err)
				}
			}
			if reads != want {
				t.Errorf("%d reads, want %d", reads, want)
			}
			w.platform.Call = nil
			w.pass(time.Minute)
			if _, err := w.Observe(t.Context(), g); err != nil {
				t.Errorf("a target that answers again: %v", err)
			}
		})
	}
}
