package sweeper

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

const (
	// laneSize is how many tasks that were not tried yet fill a lane: then nothing more of its scope is claimed until half of them are.
	laneSize = 5000
	// laneMost bounds those of a lane that were tried in vain too.
	laneMost = 20_000
	// laneBatch is how many tasks are done with one call.
	laneBatch = 1000
	// slotsPerTarget is how many scopes of one target are worked on side by side.
	slotsPerTarget = 16
	// slow is how long a call counts against the slots of its target, and holds up the rest of its lane.
	slow = 5 * time.Second
	// callsPerLane is how many calls of one lane may be under way.
	callsPerLane = 4
	// firstRetry and lastRetry bound the pause before a task that failed is tried again.
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

// lane is the due work of one scope. One goroutine works on it, so that a scope that is stuck delays no other. A call that is
// slow is overtaken: what it does not work on is done beside it.
type lane struct {
	tasks []*task
	// calls is how many calls are under way.
	calls int
	// untried is how many of them were not tried yet.
	untried int
	// left: more may be due in the ledger than was claimed, because the lane was full.
	left bool
	// failing: nothing of the last call succeeded.
	failing bool
	// changed is signalled when a task has come.
	changed chan struct{}
}

// task is a step that is due.
type task struct {
	step     reconcile.Step
	attempts int
	// next is when it is to be tried; zero means now.
	next time.Time
	err  error
	// running: a call works on it.
	running bool
}

// dueAt is when a step came due.
func dueAt(s reconcile.Step) time.Time {
	if s.Kind == reconcile.Start {
		return s.Grant.Start
	}
	return s.Grant.ActualEnd()
}

// take puts steps into the lanes of their scopes, and returns how many of them were not in hand already. No lane begins before all are in
// it. A start that is in hand and has failed gives way to the end of the same grant, which does not wait for its turn.
func (w *Watcher) take(ctx context.Context, steps []reconcile.Step) (taken int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range steps {
		l, ok := w.lanes[s.Place]
		if t, inHand := w.inHand[s.Grant.ID]; inHand {
			if t.step.Kind != s.Kind {
				t.step, t.next = s, time.Time{}
				signal(l.changed)
			}
			continue
		}
		if !ok {
			l = &lane{changed: make(chan struct{}, 1)}
			w.lanes[s.Place] = l
			w.work.Go(func() { w.workOn(ctx, s.Place, l) })
		}
		t := &task{step: s}
		l.tasks = append(l.tasks, t)
		l.untried++
		w.inHand[s.Grant.ID] = t
		signal(l.changed)
		taken++
	}
	return taken
}

// full lists the scopes whose lanes hold as much as they may.
func (w *Watcher) full() []jit.Place {
	w.mu.Lock()
	defer w.mu.Unlock()
	var full []jit.Place
	for at, l := range w.lanes {
		if l.untried >= laneSize || len(l.tasks) >= laneMost {
			l.left = true
			full = append(full, at)
		}
	}
	return full
}

// signal wakes whoever waits on c, or will.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// workOn does the tasks of one lane until there are none, or ctx ends.
func (w *Watcher) workOn(ctx context.Context, at jit.Place, l *lane) {
	for ctx.Err() == nil {
		kind, batch, wait := w.ready(at, l)
		if batch == nil && wait == 0 {
			return
		}
		if batch != nil {
			w.callUntilSlow(ctx, at, l, kind, batch)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-l.changed:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// ready returns the tasks to be done now, all of one kind, ends first and those before the others that were not tried yet, or how long to
// wait for some. When there are none at all the lane is closed.
func (w *Watcher) ready(at jit.Place, l *lane) (kind reconcile.Kind, batch []*task, wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(l.tasks) == 0 {
		delete(w.lanes, at)
		return "", nil, 0
	}
	now := time.Now()
	kind = reconcile.Start
	wait = lastRetry
	if l.calls == callsPerLane {
		return "", nil, wait // the end of a call is signalled
	}
	for _, t := range l.tasks {
		if t.running {
			continue
		}
		if pause := t.next.Sub(now); pause > 0 {
			wait = min(wait, pause)
		} else if t.step.Kind == reconcile.End {
			kind = reconcile.End
		}
	}
	for _, tried := range []bool{false, true} {
		for _, t := range l.tasks {
			if !t.running && !t.next.After(now) && t.step.Kind == kind && (t.attempts > 0) == tried && len(batch) < laneBatch {
				batch = append(batch, t)
			}
		}
	}
	for _, t := range batch {
		t.running = true
	}
	if len(batch) > 0 {
		l.calls++
	}
	return kind, batch, wait
}

// callUntilSlow makes a call and returns when it has ended, or has become slow and goes on beside what is done next.
func (w *Watcher) callUntilSlow(ctx context.Context, at jit.Place, l *lane, kind reconcile.Kind, batch []*task) {
	ended := make(chan struct{})
	w.work.Go(func() {
		defer close(ended)
		w.call(ctx, at, l, kind, batch)
		w.mu.Lock()
		defer w.mu.Unlock()
		l.calls--
		for _, t := range batch {
			t.running = false
		}
		signal(l.changed)
	})
	timer := time.NewTimer(slow)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
}

// call does a batch of tasks, all of one kind, with one call and notes what came of each.
func (w *Watcher) call(ctx context.Context, at jit.Place, l *lane, kind reconcile.Kind, batch []*task) {
	release, ok := w.slot(ctx, at.Target)
	if !ok {
		return
	}
	defer release()
	call, cancel := context.WithTimeout(w.calls, callTimeout)
	defer cancel()
	batch, steps := w.steps(kind, w.refresh(call, at, l, batch))
	p := w.pass()
	if len(steps) > 0 {
		p.do(call, p.stripped(call, steps))
	}
	done := w.Broker.Now()
	for _, r := range p.report.Results {
		lag := time.Duration(-1)
		if !r.Failed() && !r.Grant.CleanupOpen() {
			lag = max(0, done.Sub(dueAt(r.Step)))
		}
		w.told(r, lag)
	}
	w.settle(l, batch, p.report.Results)
}

// steps returns the steps of the tasks that are still of one kind.
func (w *Watcher) steps(kind reconcile.Kind, batch []*task) (kept []*task, steps []reconcile.Step) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range batch {
		if t.step.Kind == kind {
			kept, steps = append(kept, t), append(steps, t.step)
		}
	}
	return kept, steps
}

// settle takes what was done out of the lane and sets the time for the rest.
func (w *Watcher) settle(l *lane, batch []*task, results []Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	done := map[*task]bool{}
	for i, t := range batch {
		if t.attempts == 0 {
			l.untried--
		}
		switch t.err = results[i].Err; {
		case t.step.Kind != results[i].Kind: // it gave way meanwhile
			t.attempts++
		case t.err == nil:
			done[t] = true
			delete(w.inHand, t.step.Grant.ID)
		default:
			w.putOff(t)
		}
	}
	back := l.failing && len(done) > 0
	l.failing = len(batch) > 0 && len(done) == 0
	l.tasks = slices.DeleteFunc(l.tasks, func(t *task) bool { return done[t] })
	if back { // the scope answers again: nothing has to wait any longer
		for _, t := range l.tasks {
			t.next = time.Time{}
		}
	}
	if l.left && l.untried <= laneSize/2 && len(l.tasks) < laneMost {
		l.left = false
		signal(w.room)
	}
}

// putOff sets the time for a task that failed. A start is not put off beyond the end of its window: then it is the end that is due.
func (w *Watcher) putOff(t *task) {
	pause := backoff.Pause(t.attempts, firstRetry, lastRetry)
	if left := t.step.Grant.End.Sub(w.Broker.Now()); t.step.Kind == reconcile.Start && left > 0 {
		pause = min(pause, left)
	}
	t.next = time.Now().Add(pause)
	t.attempts++
}

// refresh looks what has become of the grants that were tried before: one that somebody else has ended, or changed, is not tried
// with the facts of then. While the ledger does not answer only ends are tried.
func (w *Watcher) refresh(ctx context.Context, at jit.Place, l *lane, batch []*task) []*task {
	ids := w.tried(batch)
	if len(ids) == 0 {
		return batch
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	steps, err := w.dueOf(ctx, ids)
	w.mu.Lock()
	defer w.mu.Unlock()
	gone := map[*task]bool{}
	kept := slices.DeleteFunc(slices.Clone(batch), func(t *task) bool {
		if t.attempts == 0 {
			return false
		}
		if err != nil {
			if t.step.Kind == reconcile.Start {
				w.putOff(t)
				return true
			}
			return false
		}
		s, still := steps[t.step.Grant.ID]
		if !still || s.Place != at { // it is given out again when it is due
			gone[t] = true
			delete(w.inHand, t.step.Grant.ID)
			return true
		}
		t.step = s
		return false
	})
	l.tasks = slices.DeleteFunc(l.tasks, func(t *task) bool { return gone[t] })
	return kept
}

// tried are the grants of the tasks that were tried before.
func (w *Watcher) tried(batch []*task) (ids []jit.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range batch {
		if t.attempts > 0 {
			ids = append(ids, t.step.Grant.ID)
		}
	}
	return ids
}

// dueOf is what is due of some grants, by the clocks that a claim goes by.
func (w *Watcher) dueOf(ctx context.Context, ids []jit.ID) (map[jit.ID]reconcile.Step, error) {
	now, skew, err := w.soundNow(ctx, w.Broker.Now())
	if err != nil {
		return nil, err
	}
	recorded, err := collect(w.Broker.Ledger.Grants(ctx, jit.Filter{IDs: ids}))
	due := reconcile.Plan(now, w.served().Include, recorded, nil, nil)
	if skew != nil {
		due = withoutStarts(due)
	}
	steps := make(map[jit.ID]reconcile.Step, len(due))
	for _, s := range due {
		steps[s.Grant.ID] = s
	}
	return steps, err
}

// slot waits until fewer than slotsPerTarget calls to the target are under way. A call that is slow gives
// its slot back before it ends.
func (w *Watcher) slot(ctx context.Context, target string) (release func(), ok bool) {
	w.mu.Lock()
	slots, known := w.slots[target]
	if !known {
		slots = make(chan struct{}, slotsPerTarget)
		w.slots[target] = slots
	}
	w.mu.Unlock()
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return nil, false
	}
	free := sync.OnceFunc(func() { <-slots })
	early := time.AfterFunc(slow, free)
	return func() { early.Stop(); free() }, true
}
