// Package backoff has the pause between two tries of an operation that contends with others or calls a busy service.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Wait sleeps for a [Pause], or until ctx ends; then it returns the error of ctx.
func Wait(ctx context.Context, n int, first, most time.Duration) error {
	return Sleep(ctx, Pause(n, first, most))
}

// Sleep waits for d, or until ctx ends; then it returns the error of ctx.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Pause returns a random time to wait after failure n, counted from 0. It is at most first, which doubles with every
// failure up to most, so callers that fail together do not return together.
func Pause(n int, first, most time.Duration) time.Duration {
	bound := most
	if n < 30 && first < most>>n {
		bound = first << n
	}
	return rand.N(bound + 1)
}
