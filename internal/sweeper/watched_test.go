package sweeper_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// watched is a ledger with targets in memory and watchers, in a bubble with its own clock.
type watched struct {
	t       *testing.T
	ledger  *jittest.Ledger
	targets map[string]*jittest.Platform
	broker  *broker.Broker

	mu    sync.Mutex
	lags  []time.Duration
	steps []sweeper.Result
}

func newWatched(t *testing.T, targets ...string) *watched {
	w := &watched{t: t, ledger: &jittest.Ledger{}, targets: map[string]*jittest.Platform{}}
	for _, name := range targets {
		w.targets[name] = &jittest.Platform{Traits: jit.Traits{Enforcement: jit.Sweeper}, Now: time.Now}
	}
	w.broker = w.newBroker()
	return w
}

func (w *watched) newBroker() *broker.Broker {
	b := &broker.Broker{Ledger: w.ledger, Targets: map[string]jit.Platform{}, Owner: "jit", MaxTTL: 24 * time.Hour,
		Now: time.Now, Actor: jit.Actor{Name: "test", Source: jit.FromSweeper}}
	for name, p := range w.targets {
		b.Targets[name] = p
	}
	return b
}

// Stepped and Passed make watched an observer.
func (w *watched) Stepped(r sweeper.Result, lag time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps = append(w.steps, r)
	if lag >= 0 {
		w.lags = append(w.lags, lag)
	}
}

func (w *watched) Passed(string, sweeper.Passed) {}

// watcher returns a watcher with the default intervals.
func (w *watched) watcher(s sweeper.Sweeper) *sweeper.Watcher {
	return &sweeper.Watcher{
		Sweeper: s, Leases: w.ledger.Leases(), Observer: w,
		Interval: sweeper.DefaultInterval, DriftInterval: sweeper.DefaultDriftInterval,
	}
}

// watch starts a watcher; stop ends it and waits for it.
func (w *watched) watch(holder string) (watcher *sweeper.Watcher, stop func()) {
	watcher = w.watcher(sweeper.Sweeper{
		Broker: w.newBroker(), Holder: holder, MaxUnplanned: sweeper.DefaultMaxUnplanned,
	})
	return watcher, run(w.t, watcher)
}

// run starts a watcher; stop ends it and waits for it.
func run(t *testing.T, watcher *sweeper.Watcher) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { watcher.Run(ctx); close(done) }()
	return func() { cancel(); <-done }
}

// mayBeGone makes the ledger refuse every call while the returned switch is on.
func (w *watched) mayBeGone() *atomic.Bool {
	gone := &atomic.Bool{}
	w.ledger.Call = func(string) error {
		if gone.Load() {
			return errors.New("connection refused")
		}
		return nil
	}
	return gone
}

func (w *watched) grant(target, scope, principal, ttl string, startsAt time.Time) jit.Grant {
	w.t.Helper()
	g, err := w.broker.Grant(w.t.Context(), broker.Request{
		Binding: jit.Binding{Target: target, Principal: principal, Role: "reader", Scope: scope},
		Reason:  "INC-1: look", Renewal: 1, TTL: jit.RecordedTTL(ttl), StartsAt: startsAt})
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

// record writes grants to the ledger.
func (w *watched) record(grants ...jit.Grant) {
	w.t.Helper()
	entries := make([]jit.Entry, len(grants))
	for i, g := range grants {
		entries[i].Grant = &g
	}
	for _, err := range w.ledger.Write(w.t.Context(), entries) {
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// revoke records a revocation whose process died before it called the platform.
func (w *watched) revoke(g jit.Grant, now time.Time) {
	w.t.Helper()
	was := g
	g.RevokedAt, g.RevokedBy, g.RevokeReason = now, "eve", "enough"
	entry := jit.Rewrite(was, g, jit.Event{Kind: jit.EventRevokeAsked, Grant: g.ID})
	if err := w.ledger.Write(w.t.Context(), []jit.Entry{entry})[0]; err != nil {
		w.t.Fatal(err)
	}
}

// holds reports whether the binding of a grant is on its target.
func (w *watched) holds(g jit.Grant) bool {
	w.t.Helper()
	s, err := w.targets[g.Target].Read(w.t.Context(), g.Scope)
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.ContainsFunc(s.Ours, func(o jit.Observed) bool { return o.Marker.ID == g.ID })
}

func (w *watched) want(g jit.Grant, there bool, when string) {
	w.t.Helper()
	if w.holds(g) != there {
		w.t.Errorf("%s: the binding of %s on %s exists: %v, want %v", when, g.Principal, g.Scope, !there, there)
	}
}

// events counts the events of one kind about a grant.
func (w *watched) events(g jit.Grant, kind jit.EventKind) int {
	n := 0
	for e, err := range jit.AllEvents(context.Background(), w.ledger) {
		if err != nil {
			w.t.Fatal(err)
		}
		if e.Grant == g.ID && e.Kind == kind {
			n++
		}
	}
	return n
}
