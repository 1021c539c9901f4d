package acctest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Clock moves only by Advance. It is safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock(start time.Time) *Clock {
	if start.IsZero() {
		start = time.Date(2026, time.November, 23, 9, 0, 0, 0, time.UTC)
	}
	return &Clock{now: start}
}

// Now returns the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Count is how often platforms were called: Reads and Writes are calls, Ensures and
// Removes the changes in the writes.
type Count struct{ Reads, Writes, Ensures, Removes int }

// Calls counts the calls on all platforms of a workspace and can slow them down or make them
// fail. It is safe for concurrent use.
type Calls struct {
	mu    sync.Mutex
	count Count
	delay time.Duration
	fail  error
	lose  error
}

// Count returns the calls since the last Reset.
func (c *Calls) Count() Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

// Reset sets all counts to zero.
func (c *Calls) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count = Count{}
}

// Slow makes every call last at least d.
func (c *Calls) Slow(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delay = d
}

// Fail makes every call fail with err before it reaches the platform. With nil, calls succeed again.
func (c *Calls) Fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = err
}

// Lose loses the answer of the next write: it reaches its platform but fails with err, as all later calls do.
// [Calls.Fail] with nil ends that.
func (c *Calls) Lose(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lose = err
}

// lost returns the error that replaces the answer to a write, or nil.
func (c *Calls) lost() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lose != nil {
		c.fail, c.lose = c.lose, nil
		return c.fail
	}
	return nil
}

// note counts one call and returns the error with which it must fail, or nil.
func (c *Calls) note(ctx context.Context, add func(*Count)) error {
	c.mu.Lock()
	add(&c.count)
	delay, fail := c.delay, c.fail
	c.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fail
}

// counted is a platform whose calls are counted.
type counted struct {
	jit.Platform
	calls *Calls
}

var _ jit.Platform = (*counted)(nil)

// Unwrap returns the platform whose calls are counted.
func (p *counted) Unwrap() jit.Platform { return p.Platform }

// Scopes counts a read.
func (p *counted) Scopes(ctx context.Context) ([]string, error) {
	if err := p.calls.note(ctx, func(c *Count) { c.Reads++ }); err != nil {
		return nil, err
	}
	return p.Platform.Scopes(ctx)
}

// Read counts a read.
func (p *counted) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	if err := p.calls.note(ctx, func(c *Count) { c.Reads++ }); err != nil {
		return jit.Snapshot{}, err
	}
	return p.Platform.Read(ctx, scope)
}

// Apply counts a write and its changes.
func (p *counted) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	if err := p.calls.noteWrite(ctx, changes); err != nil {
		return slices.Repeat([]error{err}, len(changes))
	}
	errs := p.Platform.Apply(ctx, scope, changes)
	if lost := p.calls.lost(); lost != nil {
		return slices.Repeat([]error{lost}, len(changes))
	}
	return errs
}

func (c *Calls) noteWrite(ctx context.Context, changes []jit.Change) error {
	return c.note(ctx, func(n *Count) {
		n.Writes++
		for _, change := range changes {
			if change.Op == jit.Ensure {
				n.Ensures++
			} else {
				n.Removes++
			}
		}
	})
}
