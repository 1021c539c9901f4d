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
)

// watchDrift looks for drift on one target at the interval, until ctx ends. One watcher does so in each interval.
func (w *Watcher) watchDrift(ctx context.Context, target string) {
	defer func() { // so that the next watcher does not wait for the lease to end
		let, cancel := context.WithTimeout(context.WithoutCancel(ctx), pollEvery)
		defer cancel()
		_ = w.Leases.Release(let, w.driftLease(target), w.Holder, 0)
	}()
	var lastDone time.Time // when this watcher's last drift pass ended
	began := w.Broker.Now()
	wrongClock := false
	for ctx.Err() == nil {
		now := w.Broker.Now()
		pause := min(max(w.DriftInterval/10, pollEvery), watchLease)
		pause += rand.N(pause / 4)
		mine, skew, err := w.acquireDrift(ctx, target, now, lastDone)
		mine = mine || err == nil && skew == nil && w.overdue(now, began, lastDone)
		if err == nil && wrongClock != (skew != nil) {
			wrongClock = skew != nil
			w.noteUnread(jit.Place{Target: target}, skew)
		}
		switch {
		case err != nil:
		case wrongClock && now.Sub(lastDone).Abs() >= w.DriftInterval:
			// Others look for drift; only what is over ends here, without their lease.
			w.driftPass(target, skew)
			lastDone = w.Broker.Now()
		case wrongClock:
		case mine:
			w.budgets[target].renew(now, w.DriftInterval)
			w.reported.forget(now)
			w.driftPass(target, nil)
			lastDone = w.Broker.Now()
			pause = max(pause, w.DriftInterval-w.Broker.Now().Sub(now))
		case now.Sub(lastDone).Abs() >= w.DriftInterval+callTimeout:
			// Another watcher looks for drift here and has finished a pass by now.
			w.setDrift(target, Passed{})
			w.forget(func(at jit.Place) bool { return at.Target == target })
		}
		_ = backoff.Sleep(ctx, pause) // the loop checks ctx
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

// acquireDrift acquires the lease of looking for drift, for one interval. If the ledger's clock disagrees with this
// machine's, which skew says, it leaves drift to others: nobody knows which grants are live. While no grant is live on
// the target, a watcher needs no lease of a thrifty ledger: what several find then is the same, and they remove it
// once.
func (w *Watcher) acquireDrift(
	ctx context.Context, target string, now, lastDone time.Time,
) (mine bool, skew, err error) {
	if _, skew, err = w.agreedNow(ctx); err != nil {
		return false, nil, err
	}
	if skew != nil {
		return false, fmt.Errorf("look for drift on target %q: %w", target, skew), nil
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	if jit.Thrifty(w.Leases) {
		live, err := w.Broker.Ledger.Places(ctx, w.served(), now)
		if err != nil {
			return false, nil, err
		}
		if !slices.ContainsFunc(live, func(at jit.Place) bool { return at.Target == target }) {
			return now.Sub(lastDone).Abs() >= w.DriftInterval, nil, nil
		}
	}
	_, mine, err = w.Leases.Acquire(ctx, w.driftLease(target), w.Holder, now, now.Add(w.DriftInterval))
	return mine, nil, err
}

// leaseHonored is for how many intervals a watcher leaves drift to another one that has the lease, in a thrifty ledger.
const leaseHonored = 3

// overdue reports whether a watcher looks for drift without the lease. Whoever may write the leases of a thrifty ledger
// may have no more rights there than that, and must not hold up the others for ever.
func (w *Watcher) overdue(now, began, lastDone time.Time) bool {
	if lastDone.Before(began) {
		lastDone = began
	}
	return jit.Thrifty(w.Leases) && now.Sub(lastDone) >= leaseHonored*w.DriftInterval
}

// driftPass looks for drift on one target. While the clocks disagree, which skew says, the pass is not complete.
func (w *Watcher) driftPass(target string, skew error) {
	began := time.Now()
	sum := Passed{At: w.Broker.Now()}
	r, err := w.newRound(skew)
	if err != nil {
		w.noteUnread(jit.Place{Target: target}, err)
		return
	}
	var mu sync.Mutex
	places := w.sweepDrift(target, r, func(v *visit) {
		if v.at.Scope == "" && skew != nil {
			v.fail(skew)
		}
		w.noteFound(v)
		mu.Lock()
		sum.add(v.results)
		mu.Unlock()
		w.observe(v)
	})
	w.forget(func(at jit.Place) bool { return at.Target == target && at.Scope != "" && !places[at] })
	if sum.Took = time.Since(began); skew != nil {
		return
	}
	w.setDrift(target, sum)
	w.Observer.Passed("drift", sum)
}

func (w *Watcher) setDrift(target string, p Passed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state.Drift[target] = p
}

// maxFound is how many findings a [State] lists.
const maxFound = 10_000

// noteFound keeps the findings of a visit until the scope is read again, up to a limit.
func (w *Watcher) noteFound(v *visit) {
	err := errors.Join(v.unread...)
	w.noteUnread(v.at, err)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.found, v.at)
	room := maxFound
	for _, others := range w.found {
		room -= len(others)
	}
	if n := min(len(v.results), room); n > 0 {
		w.found[v.at] = v.results[:n]
	}
}

// noteUnread notes whether a place could be read.
func (w *Watcher) noteUnread(at jit.Place, err error) {
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

// forget drops the findings on places.
func (w *Watcher) forget(gone func(jit.Place) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.found, func(at jit.Place, _ []Result) bool { return gone(at) })
	maps.DeleteFunc(w.unread, func(at jit.Place, _ Unread) bool { return gone(at) })
}
