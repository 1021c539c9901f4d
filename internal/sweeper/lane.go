package sweeper

import (
	"context"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

const (
	// laneSize is how many untried tasks fill a lane. Nothing more of its scope is claimed until half of them are done.
	laneSize = 5000
	// laneMost caps all tasks of a lane, including those that have failed.
	laneMost = 20_000
	// laneBatch is how many tasks one call carries out.
	laneBatch = 1000
	// callsPerLane is how many calls of one lane may be under way.
	callsPerLane = 4
	// firstRetry and lastRetry bound the pause before a failed task is tried again.
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

// lane is the due work of one scope. Each lane has a goroutine, so a scope that hangs delays no other. A slow call is
// overtaken: the lane carries out its other tasks meanwhile.
type lane struct {
	tasks []*task
	// untried counts the tasks that were never tried.
	untried int
	// calls counts the calls under way.
	calls int
	// left is set when more may be due in the ledger than was claimed, because the lane was full.
	left bool
	// failing is set when the last call carried out nothing.
	failing bool
	// changed is signalled when a task arrives or a call ends.
	changed chan struct{}
}

// task is a step that is due.
type task struct {
	step     reconcile.Step
	attempts int
	// next is when the task is tried next; zero means now.
	next time.Time
	err  error
	// running is set while a call works on the task.
	running bool
}

// dueAt returns when a step came due.
func dueAt(s reconcile.Step) time.Time {
	if s.Kind == reconcile.Start {
		return s.Grant.Start
	}
	return s.Grant.ActualEnd()
}

// signal wakes the goroutine that waits on c, now or later.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// enqueue puts steps into the lanes of their scopes and returns how many are new. No lane begins before all steps are
// in place. The end of a grant replaces its failed start and is tried at once.
func (e *engine) enqueue(steps []reconcile.Step) (added int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range steps {
		l, ok := e.lanes[s.Place]
		if t, known := e.tasks[s.Grant.ID]; known {
			if t.step.Kind != s.Kind {
				t.step, t.next = s, time.Time{}
				signal(l.changed)
			}
			continue
		}
		if !ok {
			l = &lane{changed: make(chan struct{}, 1)}
			e.lanes[s.Place] = l
			e.work.Go(func() { e.runLane(s.Place, l) })
		}
		t := &task{step: s}
		l.tasks = append(l.tasks, t)
		l.untried++
		e.tasks[s.Grant.ID] = t
		signal(l.changed)
		added++
	}
	return added
}

// fullLanes lists the scopes whose lanes are full; each signals room when it no longer is.
func (e *engine) fullLanes() []jit.Place {
	e.mu.Lock()
	defer e.mu.Unlock()
	var full []jit.Place
	for at, l := range e.lanes {
		if l.untried >= laneSize || len(l.tasks) >= laneMost {
			l.left = true
			full = append(full, at)
		}
	}
	return full
}

// holds reports whether the lanes hold at least n tasks; room is then signalled when half of them are done.
func (e *engine) holds(n int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.tasks) < n {
		return false
	}
	e.roomAt = n / 2
	return true
}

// runLane carries out the tasks of one lane until none is left or no more work may begin.
func (e *engine) runLane(at jit.Place, l *lane) {
	for e.open.Err() == nil {
		kind, batch, wait := e.nextBatch(at, l)
		switch {
		case batch != nil:
			e.callUntilSlow(at, l, kind, batch)
		case wait == 0:
			return
		default:
			e.wait(l.changed, wait)
		}
	}
}

// nextBatch returns the tasks to carry out now, all of one kind, or how long to wait for some. Ends come before starts,
// and untried tasks before the others. A lane without tasks is closed: batch is nil and wait is 0.
func (e *engine) nextBatch(at jit.Place, l *lane) (kind reconcile.Kind, batch []*task, wait time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(l.tasks) == 0 {
		delete(e.lanes, at)
		return "", nil, 0
	}
	wait = lastRetry
	if l.calls == callsPerLane {
		return "", nil, wait // the end of a call is signalled
	}
	ready := map[reconcile.Kind][]*task{}
	now := time.Now()
	for _, t := range l.tasks {
		if pause := t.next.Sub(now); !t.running && pause > 0 {
			wait = min(wait, pause)
		} else if !t.running {
			ready[t.step.Kind] = append(ready[t.step.Kind], t)
		}
	}
	if kind = reconcile.End; len(ready[kind]) == 0 {
		kind = reconcile.Start
	}
	if len(ready[kind]) == 0 {
		return kind, nil, wait
	}
	batch = firstBatch(ready[kind])
	for _, t := range batch {
		t.running = true
	}
	l.calls++
	return kind, batch, wait
}

// firstBatch returns the tasks of one call. Untried tasks come first.
func firstBatch(ready []*task) (batch []*task) {
	for _, tried := range []bool{false, true} {
		for _, t := range ready {
			if (t.attempts > 0) == tried && len(batch) < laneBatch {
				batch = append(batch, t)
			}
		}
	}
	return batch
}

// callUntilSlow starts a call and returns when it has ended or has become slow. A slow call goes on in the background.
func (e *engine) callUntilSlow(at jit.Place, l *lane, kind reconcile.Kind, batch []*task) {
	ended := make(chan struct{})
	e.work.Go(func() {
		defer close(ended)
		e.visit(at, func(ctx context.Context, v *visit) { v.call(ctx, l, kind, batch) })
		e.mu.Lock()
		defer e.mu.Unlock()
		l.calls--
		for _, t := range batch {
			t.running = false
		}
		signal(l.changed)
	})
	e.wait(ended, slow)
}

// call carries out a batch of tasks and updates them.
func (v *visit) call(ctx context.Context, l *lane, kind reconcile.Kind, batch []*task) {
	batch, steps := v.prepare(ctx, l, kind, batch)
	v.run(ctx, v.findStripped(ctx, steps))
	v.completed(v)
	v.update(l, batch, v.results)
}

// prepare returns the tasks that are still to be carried out, with their steps. It reads the records of tasks that
// have failed before, so that none is retried by an outdated record, and drops those that are no longer due. While
// the ledger does not answer, only ends are retried.
func (v *visit) prepare(ctx context.Context, l *lane, kind reconcile.Kind, batch []*task) (
	kept []*task, steps []reconcile.Step,
) {
	due, err := v.dueOf(ctx, v.failedGrants(batch))
	v.mu.Lock()
	defer v.mu.Unlock()
	gone := map[*task]bool{}
	for _, t := range batch {
		s, still := due[t.step.Grant.ID]
		switch {
		case t.attempts == 0:
		case err != nil && t.step.Kind == reconcile.Start:
			v.retryLater(t)
			continue
		case err != nil:
		case still && s.Place == v.at:
			t.step = s
		default: // if it comes due again, it is claimed again
			gone[t] = true
			delete(v.tasks, t.step.Grant.ID)
			continue
		}
		if t.step.Kind == kind {
			kept, steps = append(kept, t), append(steps, t.step)
		}
	}
	l.tasks = slices.DeleteFunc(l.tasks, func(t *task) bool { return gone[t] })
	return kept, steps
}

// failedGrants returns the grants of the tasks that have failed before.
func (e *engine) failedGrants(batch []*task) (ids []jit.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range batch {
		if t.attempts > 0 {
			ids = append(ids, t.step.Grant.ID)
		}
	}
	return ids
}

// update removes the tasks that were carried out from the lane and schedules the others again. A single pass removes
// all of them.
func (e *engine) update(l *lane, batch []*task, results []Result) {
	e.mu.Lock()
	defer e.mu.Unlock()
	done := map[*task]bool{}
	for i, t := range batch {
		if t.attempts == 0 {
			l.untried--
		}
		if e.finish(t, results[i]) {
			done[t] = true
		}
	}
	if l.failing && len(done) > 0 { // the target answers again
		for _, t := range l.tasks {
			t.next = time.Time{}
		}
	}
	l.failing = len(batch) > 0 && len(done) == 0
	l.tasks = slices.DeleteFunc(l.tasks, func(t *task) bool { return done[t] })
	e.signalRoom(l)
}

// finish notes the outcome of a task and reports whether it is done. Otherwise the task is scheduled again.
func (e *engine) finish(t *task, r Result) (done bool) {
	switch t.err = r.Err; {
	case t.step.Kind != r.Kind: // the end of the grant has replaced its start
		t.attempts++
	case t.err == nil, e.single:
		delete(e.tasks, t.step.Grant.ID)
		return true
	default:
		e.retryLater(t)
	}
	return false
}

// signalRoom signals room if tasks that were left in the ledger can now be claimed.
func (e *engine) signalRoom(l *lane) {
	if l.left && l.untried <= laneSize/2 && len(l.tasks) < laneMost {
		l.left = false
		signal(e.room)
	}
	if e.roomAt > 0 && len(e.tasks) <= e.roomAt {
		e.roomAt = 0
		signal(e.room)
	}
}

// retryLater schedules a failed task again. A start is retried at the end of its window at the latest: its end is due
// then.
func (e *engine) retryLater(t *task) {
	pause := backoff.Pause(t.attempts, firstRetry, lastRetry)
	if left := t.step.Grant.End.Sub(e.Broker.Now()); t.step.Kind == reconcile.Start && left > 0 {
		pause = min(pause, left)
	}
	t.next = time.Now().Add(pause)
	t.attempts++
}
