package sweeper

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// The defaults of a [Watcher].
const (
	DefaultInterval      = time.Minute
	DefaultDriftInterval = 5 * time.Minute
)

const (
	// look is how often the ledger is asked what comes due next; in between a timer runs for what is known.
	look = time.Second
	// sweptEvery is how often a watcher records that it is at work; see [broker.SweptWithin].
	sweptEvery = 3 * time.Minute
	// unnamedEvery is how often at most a watcher looks what it may end of owners that it does not serve.
	unnamedEvery = 5 * time.Second
	// watchLease is how long due work stays with a watcher that may have died.
	watchLease = 30 * time.Second
	// watchClaim is how many due grants are claimed at once, so that several watchers share what comes due together.
	watchClaim = 1000
	// ledgerTimeout bounds what is asked of the ledger before anything can be done.
	ledgerTimeout = 20 * time.Second
	// callTimeout bounds one call for one scope.
	callTimeout = 5 * time.Minute
	// grace is how long a call under way may take when the watcher is to stop.
	grace = 20 * time.Second
)

// Watcher is a sweeper that runs for years: it ends and starts grants when they are due, not at the next poll, and looks
// for drift now and then. Any number of watchers may share one ledger. Nothing is lost with one: due
// work is leased, and whoever starts computes everything anew from the ledger. Its fields
// are set once, before use.
type Watcher struct {
	// Sweeper says for whom and how. The holder has to differ from that of every other watcher.
	Sweeper
	// Leases keep several watchers from looking for the same drift.
	Leases jit.Leases
	// Interval is how often due work is looked for whether or not something is known to be due; 0 means [DefaultInterval].
	Interval time.Duration
	// DriftInterval is how often every scope is read; 0 means [DefaultDriftInterval].
	DriftInterval time.Duration
	// Observer is told what is done; it may be nil.
	Observer Observer

	mu    sync.Mutex
	state State
	lanes map[jit.Place]*lane
	// room is signalled when a lane that was full has room for what is left in the ledger.
	room   chan struct{}
	inHand map[jit.ID]*task
	slots  map[string]chan struct{}
	found  map[jit.Place][]Result
	unread map[jit.Place]Unread
	budget budget
	noted  noted
	// doubt is set when our clock was stepped, or a target told another time.
	doubt atomic.Bool
	work  sync.WaitGroup
	// calls is the context of what is done on platforms; it outlives the watch by the time of grace.
	calls context.Context
	// lastSwept is when it last recorded that it is at work. The goroutine that watches what is due owns it.
	lastSwept time.Time
	// unnamed is held while grants of owners that are not served are ended.
	unnamed sync.Mutex
}

// Run watches until ctx ends, then lets the calls under way come to their end. Errors of the ledger and of targets do
// not end it: they show in [Watcher.State], and everything is tried again.
func (w *Watcher) Run(ctx context.Context) {
	w.Interval = cmp.Or(w.Interval, DefaultInterval)
	w.DriftInterval = cmp.Or(w.DriftInterval, DefaultDriftInterval)
	calls, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	w.mu.Lock()
	w.calls = calls
	w.state = State{Started: w.Broker.Now(), Drift: map[string]Passed{}}
	for name := range w.Broker.Targets {
		w.state.Drift[name] = Passed{}
	}
	w.lanes, w.inHand, w.slots = map[jit.Place]*lane{}, map[jit.ID]*task{}, map[string]chan struct{}{}
	w.room = make(chan struct{}, 1)
	w.found, w.unread = map[jit.Place][]Result{}, map[jit.Place]Unread{}
	w.mu.Unlock()

	for name := range w.Broker.Targets {
		w.work.Go(func() { w.watchDrift(ctx, name) })
	}
	w.watchDue(ctx)
	out := time.AfterFunc(grace, stop)
	defer out.Stop()
	w.work.Wait()
}

// watchDue claims what is due, when it is due, and hands it out, until ctx ends.
func (w *Watcher) watchDue(ctx context.Context) {
	var next, lastClaim, lastMarkers, lastUnnamed, again time.Time
	var clock stepped
	var took time.Duration
	for failures := 0; ctx.Err() == nil; {
		now := w.Broker.Now()
		if clock.since(now) {
			w.doubt.Store(true)
		}
		err := error(nil)
		if lastClaim.IsZero() || !next.IsZero() && !now.Before(next) || now.Sub(lastClaim).Abs() >= w.Interval ||
			!again.IsZero() && !time.Now().Before(again) {
			began := time.Now()
			if err = w.claim(ctx, now); err == nil {
				lastClaim, again = now, time.Time{}
			}
			took = time.Since(began)
		}
		if err == nil && lastUnnamed.Before(lastClaim) && now.Sub(lastUnnamed).Abs() >= unnamedEvery {
			lastUnnamed = now
			w.work.Go(func() { w.endUnnamed(now) })
		}
		if err == nil {
			// What came due since the last claim counts too: somebody may have ended it with that date.
			next, err = w.nextDue(ctx, lastClaim)
		}
		if ctx.Err() != nil {
			return
		}
		w.looked(ctx, now, err)
		pause := look
		if err != nil {
			next = time.Time{}
			if now.Sub(lastMarkers).Abs() >= w.Interval {
				lastMarkers = now
				w.work.Go(func() { w.withoutLedger(err) })
			}
			pause = backoff.Pause(failures, look, 10*look)
			failures++
		} else {
			failures = 0
			if !next.IsZero() {
				pause = min(pause, max(0, next.Sub(w.Broker.Now())))
			}
			if !again.IsZero() {
				pause = min(pause, max(0, time.Until(again)))
			}
		}
		if w.roomWithin(ctx, pause) {
			again = time.Now().Add(took) // a claim looks through all that is in hand: at most half of the time
		}
	}
}

// roomWithin waits, for a time at most, until a lane that was full has room again.
func (w *Watcher) roomWithin(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-w.room:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func (w *Watcher) nextDue(ctx context.Context, after time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	return w.Broker.Ledger.NextDue(ctx, w.Owners, after)
}

// looked notes a look at the ledger, and records now and then that the watcher is at work. A failure to record that shows in the state and
// holds nothing up.
func (w *Watcher) looked(ctx context.Context, now time.Time, err error) {
	if err == nil && (w.lastSwept.IsZero() || now.Sub(w.lastSwept).Abs() >= sweptEvery) {
		bounded, cancel := context.WithTimeout(ctx, ledgerTimeout)
		defer cancel()
		if err = w.swept(bounded); err == nil {
			w.lastSwept = now
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state.Looked, w.state.LedgerError = now, err
}

// claimSome claims as much of what is due as one claim takes. The holder is another one each time: what is
// in hand already is given out again only when its lease has ended.
func (w *Watcher) claimSome(ctx context.Context, now time.Time, limit int, after *jit.Grant) ([]jit.Grant, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	return w.Broker.Ledger.AcquireDue(ctx, jit.DueQuery{
		Owners: w.served(), Targets: w.targets(), Now: now, Holder: w.Holder + "/" + rand.Text(), Lease: watchLease, Limit: limit, After: after, Except: w.full(),
	})
}

// claim claims all that is due and hands it to the lanes of its scopes.
func (w *Watcher) claim(ctx context.Context, now time.Time) error {
	began := time.Now()
	now, skew, err := w.sound(ctx, now)
	if err != nil {
		return err
	}
	limit := cmp.Or(w.ClaimSize, watchClaim)
	steps := 0
	var last *jit.Grant
	for {
		claimed, err := w.claimSome(ctx, now, limit, last)
		if err != nil {
			return err
		}
		due := reconcile.Plan(now, w.served().Include, claimed, nil, nil)
		if skew != nil {
			due = withoutStarts(due)
		}
		steps += w.take(ctx, due)
		if len(claimed) < limit {
			break
		}
		last = &claimed[len(claimed)-1]
	}
	w.passed("due", "", Passed{At: now, Took: time.Since(began), Steps: steps})
	return nil
}

// sound is [Sweeper.soundNow], bounded in time; what it finds shows in the state.
func (w *Watcher) sound(ctx context.Context, now time.Time) (sound time.Time, skew, err error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	sound, skew, err = w.soundNow(ctx, now)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.state.ClockError = skew
	}
	return sound, skew, err
}

// stepped tells whether our clock went another way than time since it was last asked.
type stepped struct {
	wall time.Time
	real time.Time // with a monotonic reading
}

func (s *stepped) since(wall time.Time) bool {
	wall = wall.Round(0) // without its monotonic reading
	now := time.Now()
	jumped := !s.wall.IsZero() && (wall.Sub(s.wall)-now.Sub(s.real)).Abs() > jit.MaxSkew
	s.wall, s.real = wall, now
	return jumped
}

// withoutLedger ends what the markers say is over while the ledger does not answer.
func (w *Watcher) withoutLedger(ledger error) {
	p := w.pass()
	ctx, cancel := context.WithTimeout(w.calls, callTimeout)
	defer cancel()
	p.markers(ctx, ledger)
	for _, r := range p.report.Results {
		w.told(r, -1)
	}
}

// pass begins a pass whose removals count against the watcher's cap.
func (w *Watcher) pass() *pass {
	s := w.Sweeper
	s.Progress = nil
	return &pass{Sweeper: &s, now: w.Broker.Now(), budget: &w.budget, policies: &policies{}, owners: &owners{}, noted: &w.noted, doubt: w.doubt.Load()}
}

// told passes on what was done.
func (w *Watcher) told(r Result, lag time.Duration) {
	if w.Progress != nil {
		w.Progress(r)
	}
	if w.Observer != nil {
		w.Observer.Stepped(r, lag)
	}
}

// passed notes a complete pass; one that looks for drift is of one target.
func (w *Watcher) passed(kind, target string, p Passed) {
	w.mu.Lock()
	if kind == "due" {
		w.state.Due = p
	} else {
		w.state.Drift[target] = p
	}
	w.mu.Unlock()
	if w.Observer != nil {
		w.Observer.Passed(kind, p)
	}
}

// maxStuck is how many stuck grants a [State] lists.
const maxStuck = 1000

// State tells how the watcher is. It may be called at any time.
func (w *Watcher) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.state
	s.Drift, s.StuckOn = maps.Clone(w.state.Drift), map[string]int{}
	for at, l := range w.lanes {
		for _, t := range l.tasks {
			if t.attempts > 0 && !errors.Is(t.err, jit.ErrRemains) {
				s.StuckOn[at.Target]++
				s.Stuck = append(s.Stuck, Stuck{Grant: t.step.Grant, Since: dueAt(t.step), Attempts: t.attempts, Next: t.next, Err: t.err})
			}
		}
	}
	slices.SortFunc(s.Stuck, func(a, b Stuck) int {
		return cmp.Or(a.Since.Compare(b.Since), strings.Compare(string(a.Grant.ID), string(b.Grant.ID)))
	})
	s.Stuck = s.Stuck[:min(len(s.Stuck), maxStuck)]
	for _, results := range w.found {
		s.Found = append(s.Found, results...)
	}
	slices.SortFunc(s.Found, func(a, b Result) int {
		return cmp.Or(a.Compare(b.Place), strings.Compare(string(a.Grant.ID), string(b.Grant.ID)))
	})
	for _, u := range w.unread {
		s.Unread = append(s.Unread, u)
	}
	slices.SortFunc(s.Unread, func(a, b Unread) int { return a.Compare(b.Place) })
	return s
}
