package sweeper

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// budget counts the removals that no recorded end explains, for as long as one drift interval.
type budget struct {
	mu    sync.Mutex
	since time.Time
	// used counts those of grants that the ledger knows, and of those of which only a marker tells: whoever writes markers uses up the second.
	used, unknown int
}

// spend takes one removal from the cap; false when it is used up. What gives nobody access takes nothing from it.
func (b *budget) spend(s reconcile.Step, most int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	used := &b.used
	if s.Unknown() {
		used = &b.unknown
	}
	switch {
	case s.Idle && most > 0:
		return true
	case *used >= most:
		return false
	}
	*used++
	return true
}

// renew begins to count anew when the interval is over.
func (b *budget) renew(now time.Time, interval time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.since).Abs() >= interval {
		b.since, b.used, b.unknown = now, 0, 0
	}
}

// watchDrift looks for drift on one target, again and again until ctx ends. Of several watchers one
// does so in each interval.
func (w *Watcher) watchDrift(ctx context.Context, target string) {
	defer func() { // so that the next one does not wait
		let, cancel := context.WithTimeout(context.WithoutCancel(ctx), look)
		defer cancel()
		_ = w.Leases.Renew(let, w.driftLease(target), w.Holder, 0, time.Unix(0, 0))
	}()
	var looked time.Time // when our last look was over
	wrong := false       // our clock was, when we asked last
	for ctx.Err() == nil {
		now := w.Broker.Now()
		pause := min(max(w.DriftInterval/10, look), watchLease)
		pause += rand.N(pause / 4)
		mine, skew, err := w.takeDrift(ctx, target, now)
		if err == nil && wrong != (skew != nil) {
			wrong = skew != nil
			w.readable(jit.Place{Target: target}, skew)
		}
		switch {
		case err != nil || wrong:
		case mine:
			w.budget.renew(now, w.DriftInterval)
			w.noted.forget(now)
			w.driftOn(ctx, target)
			looked = w.Broker.Now()
			pause = max(pause, w.DriftInterval-w.Broker.Now().Sub(now))
		case now.Sub(looked).Abs() >= w.DriftInterval+callTimeout:
			// Another watcher looks here, and has told by now what it saw: that is not to be missing meanwhile.
			w.forgetDrift(target)
		}
		_ = backoff.Sleep(ctx, pause) // the loop looks at ctx
	}
}

// driftLease names the lease of looking for drift on a target.
func (w *Watcher) driftLease(target string) string {
	whose := jit.AllOwners
	if served := w.served(); len(served) > 0 {
		whose = strings.Join(served, ",")
	}
	return "drift/" + whose + "/" + target
}

// takeDrift takes the lease of looking for drift, unless skew says that the ledger's clock disagrees with ours: what is live and what is over
// cannot be told apart then, and it is left to the others. The lease lasts for the interval: whoever gets it looks once.
func (w *Watcher) takeDrift(ctx context.Context, target string, now time.Time) (mine bool, skew, err error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	if _, skew, err = w.soundNow(ctx, now); err != nil {
		return false, nil, err
	}
	if skew != nil {
		return false, fmt.Errorf("look for drift on target %q: %w", target, skew), nil
	}
	_, mine, err = w.Leases.Acquire(ctx, w.driftLease(target), w.Holder, now, now.Add(w.DriftInterval))
	return mine, nil, err
}

// driftOn reads every scope of one target that holds live grants or may hold bindings of ours, and carries out what does not fit.
func (w *Watcher) driftOn(ctx context.Context, target string) {
	began := time.Now()
	p := w.pass()
	list, cancel := context.WithTimeout(w.calls, callTimeout)
	places := p.places(list, func(name string) bool { return name == target })
	cancel()
	w.readable(jit.Place{Target: target}, errors.Join(p.report.Unread...))
	if places == nil {
		return
	}
	var mu sync.Mutex
	sum := Passed{At: p.now}
	p.each(places, func(at jit.Place) {
		if ctx.Err() != nil {
			return
		}
		release, ok := w.slot(ctx, target)
		if !ok {
			return
		}
		defer release()
		call, cancel := context.WithTimeout(w.calls, callTimeout)
		defer cancel()
		one := w.pass()
		one.policies, one.owners = p.policies, p.owners
		one.driftAt(call, at)
		if one.skewed.Load() {
			w.doubt.Store(true)
		}
		var failed error
		for _, err := range one.report.Unread {
			failed = err
		}
		w.readable(at, failed)
		mu.Lock()
		defer mu.Unlock()
		for _, held := range one.report.Held {
			one.report.Results = append(one.report.Results, Result{Step: held, Err: ErrHeld})
		}
		for _, r := range one.report.Results {
			if !r.Foreign {
				sum.Steps++
			}
		}
		sum.Failed += one.report.Failed()
		sum.Held += len(one.report.Held)
		if failed == nil {
			w.keepFound(at, one.report.Results)
		}
		for _, r := range one.report.Results {
			w.told(r, -1)
		}
	})
	w.forgetOthers(target, places)
	sum.Took = time.Since(began)
	w.passed("drift", target, sum)
}

// maxFound is how many findings a [State] lists.
const maxFound = 10_000

// keepFound keeps what was found on one scope until it is read again, as far as there is room.
func (w *Watcher) keepFound(at jit.Place, results []Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.found, at)
	room := maxFound
	for _, others := range w.found {
		room -= len(others)
	}
	if n := min(len(results), room); n > 0 {
		w.found[at] = slices.Clone(results[:n])
	}
}

// forgetOthers drops what was found on scopes that hold nothing any more.
func (w *Watcher) forgetOthers(target string, places map[jit.Place]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at := range w.found {
		if at.Target == target && !places[at] {
			delete(w.found, at)
		}
	}
	for at := range w.unread {
		if at.Target == target && at.Scope != "" && !places[at] {
			delete(w.unread, at)
		}
	}
}

// forgetDrift drops what was seen on a target: another watcher looks there now, and what it sees counts.
func (w *Watcher) forgetDrift(target string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state.Drift[target] = Passed{}
	on := func(at jit.Place) bool { return at.Target == target }
	maps.DeleteFunc(w.found, func(at jit.Place, _ []Result) bool { return on(at) })
	maps.DeleteFunc(w.unread, func(at jit.Place, _ Unread) bool { return on(at) })
}

// readable notes whether a place could be read.
func (w *Watcher) readable(at jit.Place, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		delete(w.unread, at)
		return
	}
	since := w.Broker.Now()
	if before, known := w.unread[at]; known {
		since = before.Since
	}
	w.unread[at] = Unread{Place: at, Since: since, Err: err}
}
