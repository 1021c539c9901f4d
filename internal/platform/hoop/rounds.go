package hoop

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// rounds bounds how often one Apply looks at what is there and puts it right.
	rounds = 6
	// backoff is the longest pause before a round that follows one without an answer; it doubles.
	backoff = 100 * time.Millisecond
)

// pause waits a random time, longer from round to round; it is false when there is no time left.
func pause(ctx context.Context, round int) bool {
	timer := time.NewTimer(rand.N(backoff << round))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
