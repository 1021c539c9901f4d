package backoff

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestPause(t *testing.T) {
	const first, most = 10 * time.Millisecond, time.Second
	for n, bound := range map[int]time.Duration{0: first, 1: 2 * first, 6: 64 * first, 7: most, 8: most, 29: most,
		62: most, math.MaxInt: most} {
		var longest time.Duration
		for range 1000 {
			longest = max(longest, Pause(n, first, most))
		}
		if longest > bound || longest < bound/2 {
			t.Errorf("after %d failures the longest of 1,000 pauses is %s, want nearly %s", n, longest, bound)
		}
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if err := Wait(t.Context(), 2, time.Minute, time.Hour); err != nil || time.Since(begin) > 4*time.Minute {
			t.Errorf("it waited %s: %v", time.Since(begin), err)
		}
		begin = time.Now()
		ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
		defer stop()
		if err := Wait(ctx, 20, time.Hour, time.Hour); !errors.Is(err, context.DeadlineExceeded) ||
			time.Since(begin) > time.Millisecond {
			t.Errorf("with an end to the context it waited %s: %v", time.Since(begin), err)
		}
	})
}
