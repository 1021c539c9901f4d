// Package batch answers many callers with one call: [Queue] groups calls that
// wait at the same time, [Share] puts a platform behind one queue per scope and
// one shared read per scope.
package batch

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// minGap and maxGap bound the time for which a gathering queue waits for the next of several
// callers: long enough for one that was just answered to come back with its next call. A queue whose
// calls are not to be saved has no least time.
const (
	minGap = 100 * time.Millisecond
	maxGap = 500 * time.Millisecond
)

// unknown as the number of expected callers makes a gathering queue wait until none has come for a while.
const unknown = 1 << 30

// Queue runs calls in groups: while one group runs, further calls wait, and all
// that wait run as the next group. There is no fixed window.
//
// With patience set, a group that runs for longer than that holds up only the calls that share a key with it:
// the others run beside it. Calls with a key in common keep their order and never run in two groups at the same time.
//
// A gathering queue also waits, where several callers were seen at once, until as many are
// there again, or until none has come for half as long as the last run took (a group more would cost
// a whole run) or for longer than they were apart before. A caller that has been alone is never kept waiting.
type Queue[C, R any] struct {
	run func(ctx context.Context, take func() []C) []R

	// patience is how long a group may run before it is overtaken; zero is for ever. keys yields what a call works on.
	patience time.Duration
	keys     func(in C, yield func(key string))

	mu      sync.Mutex
	waiting []*call[C, R]
	// active is 1 while a worker runs, beside those whose groups are overtaken.
	active    int
	overtaken []*group[C, R]

	// Of a gathering queue: how many callers the next group waits for, and how long for the next of them.
	gathering bool
	expected  int
	gap       time.Duration
	least     time.Duration
	arrived   chan struct{}
}

type call[C, R any] struct {
	ctx    context.Context
	at     time.Time
	in     C
	result R
	done   chan struct{}
}

// group is calls that run together.
type group[C, R any] struct {
	calls []*call[C, R]
	// over: the run has ended.
	over bool
}

// maxGroups bounds how many groups run side by side.
const maxGroups = 4

// NewQueue returns a queue over run, which is called by one goroutine at a time, unless there is patience,
// and returns one result for each call, in order. Its context ends when no caller
// waits for its results any more. A run that panics, or returns another number of results, ends the
// program: to go on would be to tell callers of success that nobody has seen.
func NewQueue[C, R any](run func(ctx context.Context, calls []C) []R) *Queue[C, R] {
	late := func(ctx context.Context, take func() []C) []R {
		calls := take()
		if len(calls) == 0 {
			return nil // all have gone
		}
		return run(ctx, calls)
	}
	return &Queue[C, R]{run: late, arrived: make(chan struct{}, 1)}
}

// newGathering returns a gathering queue, which waits at least so long for the next of several callers, over run, which is called as soon as there is a
// caller and takes the calls of the group, exactly once, when it needs them; there are none if all callers have gone meanwhile.
func newGathering[C, R any](least time.Duration, run func(ctx context.Context, take func() []C) []R) *Queue[C, R] {
	return &Queue[C, R]{run: run, arrived: make(chan struct{}, 1), gathering: true, gap: least, least: least}
}

// Do runs one call in a group with others and returns its result. If ctx ends
// first it returns at once with the context's error; the call may still be made.
func (q *Queue[C, R]) Do(ctx context.Context, in C) (R, error) {
	c := &call[C, R]{ctx: ctx, in: in, done: make(chan struct{})}
	q.mu.Lock()
	c.at = time.Now()
	q.waiting = append(q.waiting, c)
	q.employ()
	q.mu.Unlock()
	select {
	case q.arrived <- struct{}{}:
	default:
	}
	select {
	case <-c.done:
		return c.result, nil
	case <-ctx.Done():
		var none R
		return none, ctx.Err()
	}
}

// employ starts a worker if none is active and there is something that it may run. The caller holds the lock.
func (q *Queue[C, R]) employ() {
	if q.active > 0 || len(q.overtaken) >= maxGroups {
		return
	}
	if ready, _ := q.split(); len(ready) > 0 {
		q.active++
		go q.work()
	}
}

// split parts those who wait into those that may run now and those that share a key with an overtaken group, or with a
// call before them that does. The caller holds the lock.
func (q *Queue[C, R]) split() (ready, later []*call[C, R]) {
	if len(q.overtaken) == 0 {
		return q.waiting, nil
	}
	busy := map[string]bool{}
	note := func(key string) { busy[key] = true }
	for _, g := range q.overtaken {
		for _, c := range g.calls {
			q.keys(c.in, note)
		}
	}
	for _, c := range q.waiting {
		held := false
		q.keys(c.in, func(key string) { held = held || busy[key] })
		if held {
			q.keys(c.in, note)
			later = append(later, c)
		} else {
			ready = append(ready, c)
		}
	}
	return ready, later
}

// work runs groups until nobody waits, or another worker has taken over while a group of this one was overtaken.
func (q *Queue[C, R]) work() {
	for {
		q.mu.Lock()
		if ready, _ := q.split(); len(ready) == 0 || q.active > 1 {
			q.active--
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		g := q.runGroup()
		q.mu.Lock()
		g.over = true
		if i := slices.Index(q.overtaken, g); i >= 0 {
			q.overtaken = slices.Delete(q.overtaken, i, i+1)
			q.active++
		}
		// Those just answered and those that came meanwhile are the callers at work now.
		q.expected = len(g.calls) + len(q.waiting)
		q.mu.Unlock()
		for _, c := range g.calls {
			close(c.done)
		}
	}
}

// overtake lets other calls run beside a group that still runs.
func (q *Queue[C, R]) overtake(g *group[C, R]) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if g.over {
		return
	}
	q.overtaken = append(q.overtaken, g)
	q.active--
	q.employ()
}

// runGroup runs one group and returns it with the results of its calls.
func (q *Queue[C, R]) runGroup() *group[C, R] {
	ctx, stop := context.WithCancel(context.WithoutCancel(q.first().ctx))
	defer stop()
	taken := make(chan struct{})
	go q.stopWhenAbandoned(taken, stop)

	g := &group[C, R]{}
	var patience *time.Timer
	begun := time.Now()
	results := q.run(ctx, func() []C {
		if q.gathering {
			before := time.Now()
			q.gather()
			begun = begun.Add(time.Since(before)) // the wait is no part of the run
		}
		q.mu.Lock()
		ready, later := q.split()
		g.calls, q.waiting = unabandoned(ready), later
		close(taken) // under the lock: nobody may find the queue empty and not know why
		q.mu.Unlock()
		if q.patience > 0 {
			patience = time.AfterFunc(q.patience, func() { q.overtake(g) })
		}
		go stopWhenGone(ctx, g.calls, stop)
		calls := make([]C, len(g.calls))
		for i, c := range g.calls {
			calls[i] = c.in
		}
		return calls
	})
	if patience != nil {
		patience.Stop()
	}
	if len(results) != len(g.calls) {
		panic(fmt.Sprintf("batch: run returned %d results for %d calls", len(results), len(g.calls)))
	}
	for i, r := range results {
		g.calls[i].result = r
	}
	took, most := time.Since(begun), maxGap
	if q.least == 0 {
		most = min(took, maxGap) // to wait longer than a group more takes saves nothing
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gap = min(max(q.least, took/2, 4*spread(g.calls)), most)
	return g
}

// first returns the call that has waited longest.
func (q *Queue[C, R]) first() *call[C, R] {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting[0]
}

// stopWhenAbandoned calls stop if all who wait go before the group is taken.
func (q *Queue[C, R]) stopWhenAbandoned(taken <-chan struct{}, stop func()) {
	for {
		q.mu.Lock()
		waiting := unabandoned(slices.Clone(q.waiting))
		q.mu.Unlock()
		if len(waiting) == 0 {
			select {
			case <-taken: // the group was taken while we looked
			default:
				stop()
			}
			return
		}
		select {
		case <-waiting[0].ctx.Done():
		case <-taken:
			return
		}
	}
}

// stopWhenGone calls stop when all callers of the group have gone.
func stopWhenGone[C, R any](ctx context.Context, group []*call[C, R], stop func()) {
	for _, c := range group {
		select {
		case <-c.ctx.Done():
		case <-ctx.Done():
			return
		}
	}
	stop()
}

// spread is the longest time between two callers of the group that came one after the other.
func spread[C, R any](group []*call[C, R]) time.Duration {
	var longest time.Duration
	for i := 1; i < len(group); i++ {
		longest = max(longest, group[i].at.Sub(group[i-1].at))
	}
	return longest
}

// gather waits for the callers that are expected, for no longer than the gap after the last one that came.
func (q *Queue[C, R]) gather() {
	q.mu.Lock()
	gap := q.gap
	q.mu.Unlock()
	timer := time.NewTimer(gap)
	defer timer.Stop()
	for {
		q.mu.Lock()
		enough := len(q.waiting) >= q.expected || q.expected <= 1
		q.mu.Unlock()
		if enough {
			return
		}
		select {
		case <-q.arrived:
			timer.Reset(gap)
		case <-timer.C:
			return
		}
	}
}

// unabandoned leaves out the calls whose caller has gone before the group began.
func unabandoned[C, R any](group []*call[C, R]) []*call[C, R] {
	kept := group[:0]
	for _, c := range group {
		if c.ctx.Err() == nil {
			kept = append(kept, c)
		}
	}
	return kept
}
