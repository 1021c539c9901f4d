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

// maxGap caps how long a gathering queue waits for the next caller.
const maxGap = 500 * time.Millisecond

// Queue runs calls in groups: calls that arrive while a group runs wait and form the next group. There is no fixed
// window.
//
// If patience is set, a group that runs longer is overtaken: calls that share no key with it run beside it. Calls with
// a common key keep their order and never run in two groups at once.
//
// A gathering queue expects as many callers as in its last group. It waits for them until none arrives for the length
// of a gap: half the cost of a group, or four times the longest pause between two callers if that is more, but never
// longer than that cost. The cost is the duration of the last run if each caller brought one item; what many items
// take, they take in any group. It never delays a single caller.
type Queue[C, R any] struct {
	run func(ctx context.Context, calls []C) []R

	// patience is how long a group may run before it is overtaken; zero means forever. keys yields the keys of a call.
	patience time.Duration
	keys     func(in C, yield func(key string))

	mu      sync.Mutex
	waiting []*call[C, R]
	// active is 1 while a worker runs; workers whose groups are overtaken do not count.
	active    int
	overtaken []*group[C, R]

	items    func(in C) int // how many items a call has; nil unless the queue gathers
	expected int            // callers of the next group
	gap      time.Duration  // how long to wait for each of them
	arrived  chan struct{}
}

type call[C, R any] struct {
	ctx    context.Context
	at     time.Time
	in     C
	result R
	done   chan struct{}
}

// group is a set of calls that run together.
type group[C, R any] struct {
	calls []*call[C, R]
	ended bool
}

// maxOvertaken is the number of overtaken groups at which the queue stops starting new ones.
const maxOvertaken = 4

// NewQueue returns a queue over run, which returns one result for each call, in order. One goroutine at a time calls
// run, unless patience is set. The context of run ends when no caller waits for its results any more. A run that panics
// or returns the wrong number of results ends the program: continuing would report successes that never happened.
func NewQueue[C, R any](run func(ctx context.Context, calls []C) []R) *Queue[C, R] {
	return &Queue[C, R]{run: run, arrived: make(chan struct{}, 1)}
}

// NewGathering returns a gathering queue over run, which it calls as [NewQueue] does. items counts those of a call.
func NewGathering[C, R any](run func(ctx context.Context, calls []C) []R, items func(in C) int) *Queue[C, R] {
	q := NewQueue(run)
	q.items = items
	return q
}

// Do runs one call in a group with others and returns its result. If ctx ends first, Do returns the context's error at
// once; the call may still run.
func (q *Queue[C, R]) Do(ctx context.Context, in C) (R, error) {
	c := &call[C, R]{ctx: ctx, in: in, done: make(chan struct{})}
	q.mu.Lock()
	c.at = time.Now()
	q.waiting = append(q.waiting, c)
	q.startWorker()
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

// startWorker starts a worker if none is active and a call is ready. The caller holds the lock.
func (q *Queue[C, R]) startWorker() {
	if q.active > 0 || len(q.overtaken) >= maxOvertaken {
		return
	}
	if ready, _ := q.split(); len(ready) > 0 {
		q.active++
		go q.work()
	}
}

// split separates the waiting calls into those that are ready and those that share a key with an overtaken group or
// with an earlier call that does. The caller holds the lock.
func (q *Queue[C, R]) split() (ready, later []*call[C, R]) {
	if len(q.overtaken) == 0 {
		return q.waiting, nil
	}
	busy := map[string]bool{}
	block := func(key string) { busy[key] = true }
	for _, g := range q.overtaken {
		for _, c := range g.calls {
			q.keys(c.in, block)
		}
	}
	for _, c := range q.waiting {
		blocked := false
		q.keys(c.in, func(key string) { blocked = blocked || busy[key] })
		if blocked {
			q.keys(c.in, block)
			later = append(later, c)
		} else {
			ready = append(ready, c)
		}
	}
	return ready, later
}

// work runs groups until no call is ready, or until another worker has taken over because a group was overtaken.
func (q *Queue[C, R]) work() {
	for q.goesOn() {
		g := q.nextGroup()
		if len(g.calls) > 0 {
			q.runGroup(g)
		}
		q.mu.Lock()
		g.ended = true
		if i := slices.Index(q.overtaken, g); i >= 0 {
			q.overtaken = slices.Delete(q.overtaken, i, i+1)
			q.active++
		}
		// The callers just answered and those that arrived meanwhile are the active ones.
		q.expected = len(g.calls) + len(q.waiting)
		q.mu.Unlock()
		for _, c := range g.calls {
			close(c.done)
		}
	}
}

// goesOn reports whether the worker has more to do; if not, it counts the worker out.
func (q *Queue[C, R]) goesOn() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	ready, _ := q.split()
	if len(ready) > 0 && q.active <= 1 {
		return true
	}
	q.active--
	return false
}

// overtake lets other calls run beside a group that is still running.
func (q *Queue[C, R]) overtake(g *group[C, R]) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if g.ended {
		return
	}
	q.overtaken = append(q.overtaken, g)
	q.active--
	q.startWorker()
}

// nextGroup takes the calls that are ready, except those whose caller has gone.
func (q *Queue[C, R]) nextGroup() *group[C, R] {
	if q.items != nil {
		q.gather()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	ready, later := q.split()
	gone := func(c *call[C, R]) bool { return c.ctx.Err() != nil }
	g := &group[C, R]{calls: slices.DeleteFunc(ready, gone)}
	q.waiting = later
	return g
}

// runGroup runs one group and stores the results.
func (q *Queue[C, R]) runGroup(g *group[C, R]) {
	ctx, stop := context.WithCancel(context.WithoutCancel(g.calls[0].ctx))
	defer stop()
	go stopWhenGone(ctx, g.calls, stop)
	if q.patience > 0 {
		defer time.AfterFunc(q.patience, func() { q.overtake(g) }).Stop()
	}
	calls := make([]C, len(g.calls))
	for i, c := range g.calls {
		calls[i] = c.in
	}
	began := time.Now()
	results := q.run(ctx, calls)
	cost := q.groupCost(calls, time.Since(began))
	if len(results) != len(g.calls) {
		panic(fmt.Sprintf("batch: run returned %d results for %d calls", len(results), len(g.calls)))
	}
	for i, r := range results {
		g.calls[i].result = r
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gap = min(max(cost/2, 4*spread(g.calls)), cost, maxGap)
}

// groupCost estimates how much of the duration of a run a group costs, whatever the number of its items.
func (q *Queue[C, R]) groupCost(calls []C, took time.Duration) time.Duration {
	if q.items == nil {
		return took
	}
	items := 0
	for _, in := range calls {
		items += q.items(in)
	}
	return took * time.Duration(len(calls)) / time.Duration(max(items, len(calls)))
}

// stopWhenGone calls stop once every caller of the group has gone.
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

// spread is the longest pause between two successive callers of the group.
func spread[C, R any](group []*call[C, R]) time.Duration {
	var longest time.Duration
	for i := 1; i < len(group); i++ {
		longest = max(longest, group[i].at.Sub(group[i-1].at))
	}
	return longest
}

// gather waits until the expected callers have arrived, or none has arrived for the length of the gap.
func (q *Queue[C, R]) gather() {
	q.mu.Lock()
	gap := q.gap
	q.mu.Unlock()
	timer := time.NewTimer(gap)
	defer timer.Stop()
	for !q.enough() {
		select {
		case <-q.arrived:
			timer.Reset(gap)
		case <-timer.C:
			return
		}
	}
}

// enough reports whether the expected callers have arrived.
func (q *Queue[C, R]) enough() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) >= q.expected || q.expected <= 1
}
