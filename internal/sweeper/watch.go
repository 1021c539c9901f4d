package sweeper

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The usual intervals of a [Watcher].
const (
	DefaultInterval      = time.Minute
	DefaultDriftInterval = 5 * time.Minute
)

// grace is how long the calls under way may take when the watcher stops. The broker may take as long again to record
// their outcomes, so a stop takes at most 20 seconds.
const grace = 10 * time.Second

// Watcher is a sweeper that runs for years. It starts and ends grants in the second in which they are due and looks for
// drift at an interval. Any number of watchers may share a ledger. A watcher that dies loses nothing: due work is
// leased, and the ledger holds all that another needs. Its fields are set once, before use.
type Watcher struct {
	// Sweeper holds the settings. Its Holder must differ from that of every other watcher.
	Sweeper
	// Leases let one watcher at a time look for drift on a target.
	Leases jit.Leases
	// Interval is how often due work is claimed even if none is known, such as [DefaultInterval].
	Interval time.Duration
	// DriftInterval is how often every scope is read, such as [DefaultDriftInterval].
	DriftInterval time.Duration
	// Observer receives what the watcher does.
	Observer Observer

	engine
	// mu of the engine guards the state, too.
	state  State
	found  map[jit.Place][]Result
	unread map[jit.Place]Unread
	// lastSwept is when the watcher last recorded that it is at work.
	lastSwept time.Time
	// lastLapsed is when the watcher last recorded the requests that lapsed.
	lastLapsed time.Time
	// lastMarkers is when the watcher last swept by the markers.
	lastMarkers time.Time
	// unserved is held while grants of owners that are not served are ended.
	unserved sync.Mutex
}

// Run watches until ctx ends, then waits for the calls under way. Errors of the ledger and of targets do not stop it:
// [Watcher.State] shows them, and everything is tried again.
func (w *Watcher) Run(ctx context.Context) {
	calls, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	w.init(ctx, calls, &w.Sweeper)
	w.completed = w.observe
	w.mu.Lock()
	w.state = State{Started: w.Broker.Now(), Drift: map[string]Passed{}}
	for name := range w.Broker.Targets {
		w.state.Drift[name] = Passed{}
	}
	w.found, w.unread = map[jit.Place][]Result{}, map[jit.Place]Unread{}
	w.mu.Unlock()

	for name := range w.Broker.Targets {
		w.work.Go(func() { w.watchDrift(ctx, name) })
	}
	w.watchDue(ctx)
	timer := time.AfterFunc(grace, stop)
	defer timer.Stop()
	w.work.Wait()
}

// observe reports the results of a visit.
func (w *Watcher) observe(v *visit) {
	now, due := w.Broker.Now(), v.round == nil && !v.unrecorded
	for _, r := range v.results {
		lag := time.Duration(-1)
		if due && planned(r.Step) && !r.Failed() && !r.Grant.CleanupOpen() {
			lag = max(0, now.Sub(dueAt(r.Step)))
		}
		w.Observer.Stepped(r, lag)
	}
}

// maxStuck is how many stuck grants a [State] lists.
const maxStuck = 1000

// State returns the state of the watcher. It may be called at any time.
func (w *Watcher) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.state
	s.Drift, s.StuckOn = maps.Clone(w.state.Drift), map[string]int{}
	for at, l := range w.lanes {
		for _, t := range l.tasks {
			if t.attempts > 0 && !errors.Is(t.err, jit.ErrRemains) {
				s.StuckOn[at.Target]++
				s.Stuck = append(s.Stuck,
					Stuck{Grant: t.step.Grant, Since: dueAt(t.step), Attempts: t.attempts, Next: t.next, Err: t.err})
			}
		}
	}
	slices.SortFunc(s.Stuck, func(a, b Stuck) int {
		return cmp.Or(a.Since.Compare(b.Since), strings.Compare(string(a.Grant.ID), string(b.Grant.ID)))
	})
	s.Stuck = s.Stuck[:min(len(s.Stuck), maxStuck)]
	s.Found = slices.Concat(slices.Collect(maps.Values(w.found))...)
	slices.SortFunc(s.Found, func(a, b Result) int {
		return cmp.Or(a.Compare(b.Place), strings.Compare(string(a.Grant.ID), string(b.Grant.ID)))
	})
	s.Unread = slices.SortedFunc(maps.Values(w.unread), func(a, b Unread) int { return a.Compare(b.Place) })
	return s
}
