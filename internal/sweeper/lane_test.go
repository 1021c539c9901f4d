package sweeper_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// One scope hangs and another fails. The other scopes' grants end on time, and both scopes are retried until they work.
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
			t.Errorf("%d failures are recorded in two hours, want about one an hour", n)
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
			t.Errorf("%d tries in two hours, want pauses that grow up to five minutes", tries)
		}
		up.Store(true)
		close(hung)
		time.Sleep(6 * time.Minute)
		for _, g := range stuck {
			w.want(g, false, "after the target has recovered")
			if n := w.events(g, jit.EventExpired); n != 1 {
				t.Errorf("%d events record the end of the grant on %s, want 1", n, g.Target)
			}
		}
		if s := watcher.State(); len(s.Stuck) != 0 {
			t.Errorf("still stuck: %+v", s.Stuck)
		}
	})
}

// More grants are due on a hanging scope than a lane holds. The other scopes of the claim continue.
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
		watcher := w.watcher(sweeper.Sweeper{
			Broker: b, Holder: "a", OnDrift: map[string]jit.OnDrift{"db": jit.ReportDrift}, // no bindings exist
		})
		defer run(t, watcher)()
		time.Sleep(time.Until(last.End) + 10*time.Second)
		if g, _, _ := w.ledger.Lookup(t.Context(), last.ID); g.EndedAt.IsZero() ||
			g.EndedAt.Sub(last.End) > 6*time.Second {
			t.Errorf("the grant on the working scope ended at %s, want %s", g.EndedAt, last.End)
		}
		close(hang)
		time.Sleep(2 * time.Minute)
		for g, err := range w.ledger.Grants(t.Context(), jit.Filter{DueBy: time.Now()}) {
			t.Fatalf("not ended: %v, %v", g.ID, err)
		}
	})
}

// dueGrant returns a recorded grant that ends at a time. Its target has no binding for it.
func dueGrant(n int, scope string, end time.Time) jit.Grant {
	b := jit.Binding{Target: "db", Principal: fmt.Sprint(n), Role: "reader", Scope: scope}
	return jit.Grant{ID: jit.NewID("jit", b, "INC-1", 1), Owner: "jit", Binding: b, Reason: "INC-1", Renewal: 1,
		Window: jit.Window{Start: time.Now(), End: end}, RequestedAt: time.Now(), GrantedAt: time.Now()}
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
		w.t.Errorf("%d of %d grants live %s after the first end", left, len(grants), time.Since(grants[0].End))
	}
	return last
}

// costly is a platform with slow writes, on one scope or on all, that refuses some grants.
type costly struct {
	*jittest.Platform
	call, change time.Duration
	scope        string // empty means all scopes
	refused      map[jit.ID]bool
	busy         sync.Map // the scopes with a running call
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
	watcher := w.watcher(sweeper.Sweeper{
		Broker: b, Holder: "a", OnDrift: map[string]jit.OnDrift{"db": jit.ReportDrift}, // no bindings exist
	})
	return run(w.t, watcher)
}

// Far more grants are due on one slow scope than a lane holds. Other scopes do not wait for it, the surplus is left for
// other watchers, and all grants end as fast as the scope allows.
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
			t.Errorf("another watcher can claim %d of the surplus, %v", len(rest), err)
		}
		time.Sleep(time.Until(end) + 20*time.Second) // before any lease ends and before the next pass
		if took := w.lastEnd(others...).Sub(end); took > 4*time.Second {
			t.Errorf("the other scopes took %s", took)
		}
		if took := w.lastEnd(long...).Sub(end); took > claim+12*call+claim/2 {
			t.Errorf("twelve calls of a second took %s, so the lane stalled", took)
		}
	})
}

// Many grants of a scope cannot be ended. The scope's other grants end.
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

// Claiming all due grants takes long, and a lane has room again meanwhile. A grant that becomes due then does not wait
// as long again.
func TestWatchLooksAfterALongClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		end := time.Now().Add(2 * time.Minute)
		var all []jit.Grant
		for n := range 6000 {
			all = append(all, dueGrant(n, "a", end), dueGrant(n, fmt.Sprint("b", n/1000), end))
		}
		const claimed = 14 * time.Second // by then all grants are claimed and the first calls have returned
		last := dueGrant(0, "z", end.Add(claimed+time.Second))
		w.record(append(all, last)...)
		const call, claim = 4 * time.Second, time.Second
		defer w.watchCostly(&costly{call: call}, claim)()
		time.Sleep(time.Until(last.End) + time.Minute)
		if lag := w.lastEnd(last).Sub(last.End); lag > call+4*claim {
			t.Errorf("the grant ended %s late", lag)
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

// A blocked end does not delay the other ends of its scope, and is carried out once it is unblocked.
func TestWatchABlockedEndDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		blocked := w.grant("db", "a", "alice", "2m", time.Time{})
		ofBlocked := func(c jit.Change) bool { return c.Access.Marker.ID == blocked.ID }
		hang := &hanging{Platform: w.targets["db"], until: make(chan struct{}),
			hangs: func(_ string, changes []jit.Change) bool { return slices.ContainsFunc(changes, ofBlocked) }}
		var others []jit.Grant
		for _, ttl := range []string{"2m10s", "2m20s", "2m45s", "10m"} {
			others = append(others, w.grant("db", "a", "bob-"+ttl, ttl, time.Time{}))
		}
		b := w.newBroker()
		b.Targets["db"] = batch.Share(hang, 0, time.Now) // as in production
		watcher := w.watcher(sweeper.Sweeper{Broker: b, Holder: "a"})
		defer run(t, watcher)()
		for _, g := range others {
			time.Sleep(time.Until(g.End.Add(6 * time.Second)))
			synctest.Wait()
			w.want(g, false, "6 s after its end, beside a blocked end")
		}
		w.want(blocked, true, "while its end is blocked")
		close(hang.until)
		time.Sleep(10 * time.Minute)
		w.want(blocked, false, "after its end is unblocked")
		for _, g := range append(others, blocked) {
			if n := w.events(g, jit.EventExpired); n != 1 {
				t.Errorf("%d events record the end of %s, want 1", n, g.Principal)
			}
		}
	})
}
