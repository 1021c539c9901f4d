package sweeper

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

const (
	// slotsPerTarget is how many scopes of one target are worked on at once.
	slotsPerTarget = 16
	// slow is how long a call may take before it gives its slot back and its lane moves on.
	slow = 5 * time.Second
	// callTimeout bounds the work of one visit of a watcher.
	callTimeout = 5 * time.Minute
	// ledgerTimeout bounds one call to the ledger for due work.
	ledgerTimeout = 20 * time.Second
)

// engine does the work of a sweep: it ends and starts due grants, lane by lane, and repairs drift, scope by scope. A
// [Watcher] runs it until it is stopped, [Sweeper.Pass] until it is drained.
type engine struct {
	*Sweeper
	// single marks a single pass: each task is tried once.
	single bool
	// open ends when no more work may begin, and calls when the work under way must end.
	open, calls context.Context
	// completed receives each visit when its work is done.
	completed func(*visit)

	work     sync.WaitGroup
	reported reported
	// budgets has a budget for each target.
	budgets map[string]*budget

	mu    sync.Mutex
	lanes map[jit.Place]*lane
	// tasks are the tasks of all lanes.
	tasks map[jit.ID]*task
	// roomAt, if not 0, is how many tasks may be left when room is signalled to a single pass that holds too many.
	roomAt int
	// byMarkers are the scopes that are swept by their markers.
	byMarkers map[jit.Place]bool
	// room is signalled when tasks left in the ledger can be claimed.
	room chan struct{}
	// slots has slotsPerTarget slots for each target.
	slots map[string]chan struct{}
}

// init prepares the engine; see the fields for the contexts.
func (e *engine) init(open, calls context.Context, s *Sweeper) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.Sweeper, e.open, e.calls = s, open, calls
	e.lanes, e.tasks, e.slots = map[jit.Place]*lane{}, map[jit.ID]*task{}, s.newSlots()
	e.room, e.budgets, e.byMarkers = make(chan struct{}, 1), map[string]*budget{}, map[jit.Place]bool{}
	for target := range s.Broker.Targets {
		e.budgets[target] = &budget{}
	}
}

// singlePass returns an engine for one pass. When ctx ends, the work that is left is still tried, and fails.
func (s *Sweeper) singlePass(ctx context.Context) *engine {
	e := &engine{single: true}
	e.init(context.WithoutCancel(ctx), ctx, s)
	return e
}

// newSlots returns slotsPerTarget slots for each target.
func (s *Sweeper) newSlots() map[string]chan struct{} {
	slots := map[string]chan struct{}{}
	for target := range s.Broker.Targets {
		slots[target] = make(chan struct{}, slotsPerTarget)
	}
	return slots
}

// visit is the work on one scope with its results. One goroutine owns it.
type visit struct {
	*engine
	at jit.Place
	// round is set while the visit looks for drift.
	round *round
	// unrecorded is set when there is no ledger to record findings in.
	unrecorded bool
	// later are the steps to which the cap on unplanned removals applies, until it is spent, and found is when they were
	// found.
	later []reconcile.Step
	found time.Time

	results []Result
	// unread are the read errors.
	unread []error
}

// fail adds a read error.
func (v *visit) fail(err error) { v.unread = append(v.unread, err) }

// visitAll visits places on the sweeper's targets, at most slotsPerTarget of a target at once, and returns when the
// work on all is done. Slow work counts until it ends, though it gives its slot back to the lanes.
func (e *engine) visitAll(places iter.Seq[jit.Place], work func(context.Context, *visit)) {
	var wg sync.WaitGroup
	limits := e.newSlots()
	for at := range places {
		limit := limits[at.Target]
		wg.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			e.visit(at, work)
		})
	}
	wg.Wait()
}

// visit works on a scope when its target has a free slot, unless no more work may begin.
func (e *engine) visit(at jit.Place, work func(context.Context, *visit)) {
	release, ok := e.acquireSlot(at.Target)
	if !ok {
		return
	}
	defer release()
	ctx, cancel := e.bounded()
	defer cancel()
	work(ctx, &visit{engine: e, at: at})
}

// bounded returns the context of one visit. Only the caller's context bounds a single pass, which tries each task once.
func (e *engine) bounded() (context.Context, context.CancelFunc) {
	if e.single {
		return context.WithCancel(e.calls)
	}
	return context.WithTimeout(e.calls, callTimeout)
}

// acquireSlot waits until fewer than slotsPerTarget scopes of the target are worked on. Slow work gives its slot back
// before it ends.
func (e *engine) acquireSlot(target string) (release func(), ok bool) {
	if e.open.Err() != nil {
		return nil, false
	}
	slots := e.slots[target]
	select {
	case slots <- struct{}{}:
	case <-e.open.Done():
		return nil, false
	}
	free := sync.OnceFunc(func() { <-slots })
	early := time.AfterFunc(slow, free)
	return func() { early.Stop(); free() }, true
}

// wait waits until c is signalled or closed, for at most d, and reports whether it was. It returns early when no more
// work may begin.
func (e *engine) wait(c <-chan struct{}, d time.Duration) (signalled bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c:
		return true
	case <-timer.C:
	case <-e.open.Done():
	}
	return false
}

// read reads the scope and notes the clock of its target.
func (v *visit) read(ctx context.Context) (snapshot jit.Snapshot, ok bool) {
	target, err := v.Broker.Target(v.at.Target)
	if err == nil {
		before := v.Broker.Now()
		snapshot, err = target.Read(ctx, v.at.Scope)
		if err == nil {
			v.Broker.SawClock(v.at.Target, snapshot.Clock, before)
			return snapshot, true
		}
	}
	v.fail(&ReadError{v.at, err})
	return snapshot, false
}

// scopes lists the places on the targets that may hold bindings of ours.
func (e *engine) scopes(targets []string) (places map[jit.Place]bool, errs []error) {
	ctx, cancel := e.bounded()
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	places = map[jit.Place]bool{}
	for _, name := range targets {
		wg.Go(func() {
			scopes, err := e.Broker.Targets[name].Scopes(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, &ReadError{jit.Place{Target: name}, err})
			}
			for _, scope := range scopes {
				places[jit.Place{Target: name, Scope: scope}] = true
			}
		})
	}
	wg.Wait()
	return places, errs
}
