// Package backoff has the pause between two tries, which everything waits for that contends
// with others or asks a service that is busy.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Wait pauses before try n+1 (the first failure is n = 0): for a random time of at most first, which doubles with
// every failure up to most. Those who failed together so come back apart. It ends with
// ctx and returns its error then.
func Wait(ctx context.Context, n int, first, most time.Duration) error {
	return Sleep(ctx, Pause(n, first, most))
}

// Sleep waits for that time, or until ctx ends, and returns its error then.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Pause is the time that [Wait] waits.
func Pause(n int, first, most time.Duration) time.Duration {
	bound := most
	if n < 30 && first < most>>n {
		bound = first << n
	}
	return rand.N(bound + 1)
}
