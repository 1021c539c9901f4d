package sweeper_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// watched is a ledger with targets in memory, and watchers on it, in a bubble with a clock of its own.
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

// watch starts a watcher; stop ends it and waits for it.
func (w *watched) watch(holder string) (watcher *sweeper.Watcher, stop func()) {
	watcher = &sweeper.Watcher{
		Sweeper:  sweeper.Sweeper{Broker: w.newBroker(), Holder: holder, MaxUnplanned: sweeper.DefaultMaxUnplanned},
		Leases:   w.ledger.Leases(),
		Observer: w,
	}
	return watcher, run(w.t, watcher)
}

// run starts a watcher; stop ends it and waits for it.
func run(t *testing.T, watcher *sweeper.Watcher) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { watcher.Run(ctx); close(done) }()
	return func() { cancel(); <-done }
}

// mayBeGone makes the ledger refuse every call while the switch is on.
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
		w.t.Errorf("%s: the binding of %s on %s is there: %v, want %v", when, g.Principal, g.Scope, !there, there)
	}
}

// events counts the events of one kind about a grant.
func (w *watched) events(g jit.Grant, kind jit.EventKind) int {
	n := 0
	for e, err := range w.ledger.Events(context.Background(), 1) {
		if err != nil {
			w.t.Fatal(err)
		}
		if e.Grant == g.ID && e.Kind == kind {
			n++
		}
	}
	return n
}

func TestWatchEndsAndStartsInTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		_, stop := w.watch("a")
		defer stop()
		time.Sleep(10 * time.Second)
		short, long := w.grant("db", "a", "alice", "1m", time.Time{}), w.grant("db", "a", "bob", "10m", time.Time{})
		later := w.grant("db", "b", "carol", "5m", time.Now().Add(2*time.Minute))
		time.Sleep(time.Until(short.End) - time.Millisecond)
		w.want(short, true, "before its end")
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		w.want(short, false, "after its end")
		w.want(long, true, "inside its window")
		time.Sleep(time.Until(later.Start) - time.Millisecond)
		w.want(later, false, "before its start")
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		w.want(later, true, "after its start")
		time.Sleep(time.Until(long.End) + time.Second)
		w.want(later, false, "after its end")
		w.want(long, false, "after its end")
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.lags) != 4 || slices.Max(w.lags) > time.Second {
			t.Errorf("lags %v, want 4 of at most a second", w.lags)
		}
	})
}

// A grant that somebody else revokes is found at the next poll, not at the next interval.
func TestWatchFindsWhatIsEndedEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		_, stop := w.watch("a")
		defer stop()
		g := w.grant("db", "a", "alice", "1h", time.Time{})
		time.Sleep(5 * time.Second)
		g, _, err := w.ledger.Lookup(t.Context(), g.ID)
		if err != nil {
			t.Fatal(err)
		}
		was := g
		g.RevokedAt, g.RevokedBy, g.RevokeReason = time.Now(), "eve", "enough" // and died before the platform was called
		if err := w.ledger.Write(t.Context(), []jit.Entry{jit.Rewrite(was, g, jit.Event{Kind: jit.EventRevokeAsked, Grant: g.ID})})[0]; err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		w.want(g, false, "two seconds after it was revoked")
	})
}

func TestWatchWithNothingDueMakesNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		w.grant("db", "a", "alice", "10h", time.Time{})
		w.grant("db", "b", "bob", "10h", time.Time{})
		var count atomic.Int64
		w.targets["db"].Call = func(string) error { count.Add(1); return nil }
		_, stop := w.watch("a")
		defer stop()
		time.Sleep(time.Second)
		if calls := count.Load(); calls != 2 {
			t.Errorf("the first drift pass made %d calls, want one for each of two scopes", calls)
		}
		time.Sleep(sweeper.DefaultDriftInterval - 2*time.Second)
		if calls := count.Load(); calls != 2 {
			t.Errorf("%d calls until the next drift pass, want none more than 2", calls)
		}
		time.Sleep(3 * time.Second)
		if calls := count.Load(); calls != 4 {
			t.Errorf("%d calls after the second drift pass, want 4", calls)
		}
	})
}

// One scope hangs and another fails. The others end in their second, and both are retried until they answer.
func TestWatchStuckScopesDelayNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "hangs", "fails", "works")
		hung := make(chan struct{})
		var up atomic.Bool
		stuck := append([]jit.Grant(nil), w.grant("hangs", "a", "alice", "2m", time.Time{}),
			w.grant("fails", "a", "alice", "2m", time.Time{}))
		fine := w.grant("works", "a", "alice", "3m", time.Time{})
		w.targets["hangs"].Call = func(what string) error {
			if what == "write" {
				<-hung
			}
			return nil
		}
		w.targets["fails"].Call = func(what string) error {
			if what == "write" && !up.Load() {
				return errors.New("503")
			}
			return nil
		}
		watcher, stop := w.watch("a")
		defer stop()
		time.Sleep(time.Until(fine.End) + time.Millisecond)
		synctest.Wait()
		w.want(fine, false, "after its end")
		w.want(stuck[1], true, "while the target fails")
		state := watcher.State()
		if len(state.Stuck) != 1 || state.Stuck[0].Grant.ID != stuck[1].ID || state.Stuck[0].Attempts < 2 ||
			state.Stuck[0].Err == nil ||
			!state.Stuck[0].Since.Equal(stuck[1].End) {
			t.Errorf("stuck: %+v", state.Stuck)
		}
		time.Sleep(2 * time.Hour)
		if n := w.events(stuck[1], jit.EventRevokeFailed); n < 2 || n > 4 {
			t.Errorf("the record was told %d times in two hours that it fails, want about one an hour", n)
		}
		w.mu.Lock()
		tries := 0
		for _, s := range w.steps {
			if s.Grant.ID == stuck[1].ID && s.Err != nil {
				tries++
			}
		}
		w.mu.Unlock()
		if tries < 20 || tries > 200 {
			t.Errorf("%d tries in two hours, want them to come apart up to five minutes", tries)
		}
		up.Store(true)
		close(hung)
		time.Sleep(6 * time.Minute)
		for _, g := range stuck {
			w.want(g, false, "after the target has come back")
			if n := w.events(g, jit.EventExpired); n != 1 {
				t.Errorf("%d events tell of the end of the grant on %s, want 1", n, g.Target)
			}
		}
		if s := watcher.State(); len(s.Stuck) != 0 {
			t.Errorf("still stuck: %+v", s.Stuck)
		}
	})
}

// More grants are due on a scope that hangs than a lane holds: the other scopes of the claim go on.
func TestWatchFullLaneDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		const many = 5500
		end := time.Now().Add(2 * time.Minute)
		last := dueGrant(many, "works", end.Add(10*time.Second))
		w.record(last)
		for n := range many {
			w.record(dueGrant(n, "hangs", end))
		}
		hang := make(chan struct{})
		slow := &hanging{Platform: w.targets["db"],
			hangs: func(scope string, _ []jit.Change) bool { return scope == "hangs" }, until: hang}
		b := w.newBroker()
		b.Targets["db"] = slow
		watcher := &sweeper.Watcher{Sweeper: sweeper.Sweeper{
			Broker: b, Holder: "a", OnDrift: map[string]jit.OnDrift{"db": jit.ReportDrift}, // they are not there
		}, Leases: w.ledger.Leases(), Observer: w}
		defer run(t, watcher)()
		time.Sleep(time.Until(last.End) + 10*time.Second)
		if g, _, _ := w.ledger.Lookup(t.Context(), last.ID); g.EndedAt.IsZero() ||
			g.EndedAt.Sub(last.End) > 6*time.Second {
			t.Errorf("the grant on the scope that works was ended at %s, its end was %s", g.EndedAt, last.End)
		}
		close(hang)
		time.Sleep(2 * time.Minute)
		for g, err := range w.ledger.Grants(t.Context(), jit.Filter{DueBy: time.Now()}) {
			t.Fatalf("not ended: %v, %v", g.ID, err)
		}
	})
}

// dueGrant is a grant that is recorded and ends at a time; its target holds nothing of it.
func dueGrant(n int, scope string, end time.Time) jit.Grant {
	b := jit.Binding{Target: "db", Principal: fmt.Sprint(n), Role: "reader", Scope: scope}
	return jit.Grant{ID: jit.NewID("jit", b, "INC-1", 1), Owner: "jit", Binding: b, Reason: "INC-1", Renewal: 1,
		Window: jit.Window{Start: time.Now(), End: end}, RequestedAt: time.Now(), GrantedAt: time.Now()}
}

// record puts grants into the ledger.
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

// lastEnd returns when the last of the grants was ended, and fails the test if one was not.
func (w *watched) lastEnd(grants ...jit.Grant) (last time.Time) {
	w.t.Helper()
	left := 0
	for _, g := range grants {
		g, _, err := w.ledger.Lookup(w.t.Context(), g.ID)
		if err != nil {
			w.t.Fatal(err)
		}
		if g.EndedAt.IsZero() {
			left++
		} else if g.EndedAt.After(last) {
			last = g.EndedAt
		}
	}
	if left > 0 {
		w.t.Errorf("%d of %d grants are not ended %s after the first end", left, len(grants), time.Since(grants[0].End))
	}
	return last
}

// costly is a platform whose writes are slow, on one scope or on all, and that refuses some grants.
type costly struct {
	*jittest.Platform
	call, change time.Duration
	scope        string // empty is all
	refused      map[jit.ID]bool
	busy         sync.Map // the scopes that a call is under way for
	overlaps     atomic.Int64
}

func (p *costly) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	if _, already := p.busy.LoadOrStore(scope, true); already {
		p.overlaps.Add(1)
	}
	defer p.busy.Delete(scope)
	if p.scope == "" || p.scope == scope {
		time.Sleep(p.call + p.change*time.Duration(len(changes)))
	}
	errs := make([]error, len(changes))
	var rest []jit.Change
	var at []int
	for i, c := range changes {
		if p.refused[c.Access.Marker.ID] {
			errs[i] = errors.New("refused")
		} else {
			rest, at = append(rest, c), append(at, i)
		}
	}
	for k, err := range p.Platform.Apply(ctx, scope, rest) {
		errs[at[k]] = err
	}
	return errs
}

// slowClaims is a ledger with slow claims.
type slowClaims struct {
	*jittest.Ledger
	claim time.Duration
}

func (l *slowClaims) AcquireDue(ctx context.Context, q jit.DueQuery) ([]jit.Grant, error) {
	time.Sleep(l.claim)
	return l.Ledger.AcquireDue(ctx, q)
}

// watchCostly starts a watcher on a costly target and a ledger with slow claims.
func (w *watched) watchCostly(p *costly, claim time.Duration) (stop func()) {
	b := w.newBroker()
	p.Platform = w.targets["db"]
	b.Targets["db"], b.Ledger = p, &slowClaims{w.ledger, claim}
	watcher := &sweeper.Watcher{Sweeper: sweeper.Sweeper{
		Broker: b, Holder: "a", OnDrift: map[string]jit.OnDrift{"db": jit.ReportDrift}, // they are not there
	}, Leases: w.ledger.Leases(), Observer: w}
	return run(w.t, watcher)
}

// Far more is due on one slow scope than a lane holds. Other scopes do not wait for it, what does not fit is left for
// other watchers, and all of it is done as fast as the scope allows.
func TestWatchLongLaneDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		end := time.Now().Add(2 * time.Minute)
		var long []jit.Grant
		for n := range 12_000 { // twelve calls
			long = append(long, dueGrant(n, "a", end))
		}
		others := []jit.Grant{dueGrant(0, "b", end), dueGrant(1, "c", end.Add(500*time.Millisecond))}
		w.record(append(long, others...)...)
		const call, claim = time.Second, 200 * time.Millisecond
		defer w.watchCostly(&costly{call: call}, claim)()
		time.Sleep(time.Until(end) + 2*time.Second)
		q := jit.DueQuery{Owners: jit.Owners{"jit"}, Now: time.Now(), Holder: "b", Lease: time.Nanosecond,
			Limit: 12_000}
		if rest, err := w.ledger.AcquireDue(t.Context(), q); err != nil || len(rest) < 5000 {
			t.Errorf("another may claim %d of what is left, %v", len(rest), err)
		}
		time.Sleep(time.Until(end) + 20*time.Second) // before any lease ends and before the next pass
		if took := w.lastEnd(others...).Sub(end); took > 4*time.Second {
			t.Errorf("the others were done after %s", took)
		}
		if took := w.lastEnd(long...).Sub(end); took > claim+12*call+claim/2 {
			t.Errorf("twelve calls of a second took %s: the lane stood still", took)
		}
	})
}

// Many grants of a scope cannot be ended: the others of the scope are.
func TestWatchManyFailuresDelayNoOther(t *testing.T) {
	for _, tt := range []struct{ failing, good int }{{2600, 6000}, {5000, 1}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWatched(t, "db")
			end := time.Now().Add(2 * time.Minute)
			p := &costly{call: 300 * time.Millisecond, refused: map[jit.ID]bool{}}
			var failing, good []jit.Grant
			for n := range tt.failing {
				g := dueGrant(n, "a", end)
				failing, p.refused[g.ID] = append(failing, g), true
			}
			for n := range tt.good {
				good = append(good, dueGrant(tt.failing+n, "a", end.Add(time.Second)))
			}
			w.record(append(failing, good...)...)
			defer w.watchCostly(p, 0)()
			time.Sleep(time.Until(end) + 20*time.Second)
			if took := w.lastEnd(good...).Sub(end); took > 8*time.Second {
				t.Errorf("%d failing, %d good: the good ones took %s", tt.failing, tt.good, took)
			}
		})
	}
}

// Claiming everything that is due takes long, and a lane has room again meanwhile. A grant that comes due then does
// not wait for as long again.
func TestWatchLooksAfterALongClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		end := time.Now().Add(2 * time.Minute)
		var all []jit.Grant
		for n := range 6000 {
			all = append(all, dueGrant(n, "a", end), dueGrant(n, fmt.Sprint("b", n/1000), end))
		}
		const claimed = 14 * time.Second // then all is claimed, and the first calls are done
		last := dueGrant(0, "z", end.Add(claimed+time.Second))
		w.record(append(all, last)...)
		const call, claim = 4 * time.Second, time.Second
		defer w.watchCostly(&costly{call: call}, claim)()
		time.Sleep(time.Until(last.End) + time.Minute)
		if lag := w.lastEnd(last).Sub(last.End); lag > call+4*claim {
			t.Errorf("it was ended %s after its end", lag)
		}
	})
}

// hanging is a platform on which some calls hang until a channel is closed.
type hanging struct {
	*jittest.Platform
	hangs func(scope string, changes []jit.Change) bool
	until chan struct{}
}

func (p *hanging) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	if p.hangs(scope, changes) {
		select {
		case <-p.until:
		case <-ctx.Done():
			errs := make([]error, len(changes))
			for i := range errs {
				errs[i] = ctx.Err()
			}
			return errs
		}
	}
	return p.Platform.Apply(ctx, scope, changes)
}

// Two watchers share what is due. When one dies, the other takes over its claims.
func TestWatchersTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		g := w.grant("db", "a", "alice", "2m", time.Time{})
		// A claim whose holder dies at once.
		time.Sleep(time.Until(g.End))
		if claimed, err := w.ledger.AcquireDue(t.Context(), jit.DueQuery{Owners: jit.Owners{"jit"}, Now: time.Now(),
			Holder: "dead", Lease: 30 * time.Second, Limit: 10}); err != nil || len(claimed) != 1 {
			t.Fatal(claimed, err)
		}
		_, stop := w.watch("a")
		defer stop()
		_, stopToo := w.watch("b")
		defer stopToo()
		time.Sleep(29 * time.Second)
		w.want(g, true, "while the lease lasts")
		time.Sleep(2 * time.Second)
		w.want(g, false, "after the lease")
		if n := w.events(g, jit.EventExpired); n != 1 {
			t.Errorf("%d events tell of its end, want 1", n)
		}
	})
}

// The ledger is gone. A grant whose marker says that it is over is ended, and that is recorded when the ledger is
// back.
func TestWatchWithoutLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		g := w.grant("db", "a", "alice", "2m", time.Time{})
		live := w.grant("db", "a", "bob", "2h", time.Time{})
		gone := w.mayBeGone()
		watcher, stop := w.watch("a")
		defer stop()
		time.Sleep(10 * time.Second)
		gone.Store(true)
		time.Sleep(time.Until(g.End) + time.Minute + 10*time.Second)
		w.want(g, false, "a minute after its end")
		w.want(live, true, "inside its window")
		if watcher.State().LedgerError == nil {
			t.Error("the state does not tell that the ledger is gone")
		}
		gone.Store(false)
		time.Sleep(15 * time.Second)
		if watcher.State().LedgerError != nil {
			t.Errorf("the ledger is back: %v", watcher.State().LedgerError)
		}
		if n := w.events(g, jit.EventExpired); n != 1 {
			t.Errorf("%d events tell of its end, want 1", n)
		}
	})
}

// A start was carried out and could not be recorded because the ledger was gone. When its end comes, the end does not
// wait for another try of the start.
func TestWatchEndDoesNotWaitForAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		g := w.grant("db", "a", "alice", "21m", time.Now().Add(time.Minute))
		gone := w.mayBeGone()
		w.targets["db"].Call = func(what string) error {
			if what == "write" {
				gone.Store(true)
			}
			return nil
		}
		_, stop := w.watch("a")
		defer stop()
		time.Sleep(time.Until(g.End) - 15*time.Second)
		w.want(g, true, "before its end")
		w.targets["db"].Call = nil
		gone.Store(false)
		time.Sleep(time.Until(g.End) + 2*time.Second)
		w.want(g, false, "two seconds after its end")
		if n := w.events(g, jit.EventExpired); n != 1 {
			t.Errorf("%d events tell of its end, want 1", n)
		}
	})
}

// A grant that starts late ends on time, although its claim lasts longer.
func TestWatchEndsInTheSecondWhatBeganLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		g := w.grant("db", "a", "alice", "2m", time.Now().Add(time.Minute))
		time.Sleep(time.Until(g.End) - 10*time.Second)
		_, stop := w.watch("a")
		defer stop()
		time.Sleep(time.Second)
		w.want(g, true, "begun late")
		time.Sleep(time.Until(g.End) + time.Second)
		w.want(g, false, "a second after its end")
	})
}

// A watcher that stops waits for the call under way and records its outcome.
func TestWatchStopsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		g := w.grant("db", "a", "alice", "2m", time.Time{})
		w.targets["db"].Call = func(what string) error {
			if what == "write" {
				time.Sleep(10 * time.Second)
			}
			return nil
		}
		_, stop := w.watch("a")
		time.Sleep(time.Until(g.End) + time.Second)
		w.want(g, true, "while the call is under way")
		began := time.Now()
		stop()
		if took := time.Since(began); took != 9*time.Second {
			t.Errorf("it stopped after %s, want the 9s that the call still took", took)
		}
		if n := w.events(g, jit.EventExpired); n != 1 {
			t.Errorf("%d events tell of its end, want 1", n)
		}
	})
}

// Drift is repaired at the interval, once for all watchers, and their cap is that of a pass.
func TestWatchPutsDriftRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		g := w.grant("db", "a", "alice", "2h", time.Time{})
		_, stop := w.watch("a")
		defer stop()
		_, stopToo := w.watch("b")
		defer stopToo()
		time.Sleep(time.Second)
		w.targets["db"].Edit("a", func(held []jit.Observed) []jit.Observed {
			held[0].Principal = "mallory"
			return held
		})
		time.Sleep(sweeper.DefaultDriftInterval + time.Minute)
		s, err := w.targets["db"].Read(t.Context(), "a")
		if err != nil || len(s.Ours) != 1 || s.Ours[0].Principal != "alice" {
			t.Errorf("%+v, %v", s.Ours, err)
		}
		if n := w.events(g, jit.EventRepaired); n != 1 {
			t.Errorf("%d events tell of the repair, want 1", n)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.steps) != 1 || w.steps[0].Kind != reconcile.Repair {
			t.Errorf("steps %+v", w.steps)
		}
	})
}

// silent is a ledger that lists nothing as due, as if somebody had written to it.
type silent struct{ *jittest.Ledger }

func (silent) AcquireDue(context.Context, jit.DueQuery) ([]jit.Grant, error) { return nil, nil }

func (l silent) Grants(ctx context.Context, f jit.Filter) iter.Seq2[jit.Grant, error] {
	if !f.DueBy.IsZero() {
		return func(func(jit.Grant, error) bool) {}
	}
	return l.Ledger.Grants(ctx, f)
}

// An end that only drift finds is not timed: it says nothing about how fast due work is done.
func TestWatchTimesOnlyDueWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		g := w.grant("db", "a", "alice", "2m", time.Time{})
		watcher := &sweeper.Watcher{
			Sweeper:  sweeper.Sweeper{Broker: w.newBroker(), Holder: "a", MaxUnplanned: sweeper.DefaultMaxUnplanned},
			Leases:   w.ledger.Leases(),
			Observer: w,
		}
		watcher.Broker.Ledger = silent{w.ledger}
		defer run(t, watcher)()
		time.Sleep(30 * time.Minute)
		w.want(g, false, "half an hour later")
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.steps) == 0 || len(w.lags) > 0 {
			t.Errorf("steps %+v, lags %v, want a step without a lag", w.steps, w.lags)
		}
	})
}
