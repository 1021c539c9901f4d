package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// world is a broker over a platform and a ledger in memory, with a clock of its own.
type world struct {
	*broker.Broker
	t        *testing.T
	ledger   *jittest.Ledger
	platform *jittest.Platform
	now      time.Time
}

func newWorld(t *testing.T, enforcement jit.Enforcement) *world {
	w := &world{t: t, now: time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC), ledger: &jittest.Ledger{}}
	clock := func() time.Time { return w.now }
	w.platform = &jittest.Platform{Traits: jit.Traits{Enforcement: enforcement, CanTerminate: true}, Now: clock}
	w.Broker = &broker.Broker{
		Ledger: w.ledger, Targets: map[string]jit.Platform{"db": w.platform}, Owner: "jit", MaxTTL: 24 * time.Hour,
		Actor: jit.Actor{Name: "alice", Source: jit.FromTerraform}, Now: clock,
	}
	return w
}

func (w *world) pass(d time.Duration) { w.now = w.now.Add(d) }

// request asks for two hours of reader for bob.
func request(change ...func(*broker.Request)) broker.Request {
	r := broker.Request{
		Binding: jit.Binding{Target: "db", Principal: "bob", Role: "reader"}, Reason: "INC-1: look", Renewal: 1,
		TTL: jit.RecordedTTL("2h"),
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

func (w *world) grant(r broker.Request) jit.Grant {
	w.t.Helper()
	g, err := w.Grant(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

// mustWrite runs f and fails unless the platform was written to want times.
func (w *world) mustWrite(want int, f func()) {
	w.t.Helper()
	_, before := w.platform.Calls()
	f()
	if _, after := w.platform.Calls(); after-before != want {
		w.t.Errorf("%d writes on the platform, want %d", after-before, want)
	}
}

func (w *world) allowed(want bool) {
	w.t.Helper()
	if got := w.platform.Allowed("all", "bob", "reader"); got != want {
		w.t.Errorf("at %s bob is let in: %t, want %t", w.now.Format(time.TimeOnly), got, want)
	}
}

// kinds are the kinds of all events so far.
func (w *world) kinds() []jit.EventKind {
	var all []jit.EventKind
	for e, err := range w.ledger.Events(w.t.Context(), 1) {
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, e.Kind)
	}
	return all
}

func wantError(t *testing.T, err, kind error, parts ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got error %v, want one of the kind %q", err, kind)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

func TestAGrantCountsFromItsApplyAndEndsByItself(t *testing.T) {
	w := newWorld(t, jit.Native)
	if _, err := w.Preview(t.Context(), request(), true); err != nil {
		t.Fatal(err)
	}
	w.pass(3 * time.Hour) // the saved plan lies about
	w.now = w.now.Add(300 * time.Millisecond)
	g := w.grant(request())
	if want := (jit.Window{Start: jit.Second(w.now),
		End: jit.Second(w.now).Add(2 * time.Hour)}); !g.Window.Equal(want) {
		t.Errorf("window %v, want %v", g.Window, want)
	}
	w.allowed(true)
	w.pass(2*time.Hour - time.Second)
	w.allowed(true)
	w.pass(time.Second)
	w.allowed(false)
	if want := []jit.EventKind{jit.EventRequested, jit.EventDecided, jit.EventGranted}; !slices.Equal(w.kinds(), want) {
		t.Errorf("events %v, want %v", w.kinds(), want)
	}
}

func TestAPlanWritesNothing(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	w.ledger.Call = func(what string) error {
		if what == "write" {
			t.Error("a preview wrote to the ledger")
		}
		return nil
	}
	w.mustWrite(0, func() {
		if _, err := w.Preview(t.Context(), request(), true); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWhatEndedNeverComesBack(t *testing.T) {
	for _, enforcement := range []jit.Enforcement{jit.Native, jit.Sweeper} {
		ends := map[string]func(*world, jit.Grant){
			"by its window":                func(w *world, g jit.Grant) { w.pass(3 * time.Hour); w.finish(g) },
			"by its window, not yet swept": func(w *world, _ jit.Grant) { w.pass(3 * time.Hour) },
			"by revocation": func(w *world, g jit.Grant) {
				w.pass(time.Minute)
				w.revoke(broker.Revocation{Grant: g, Reason: "done"})
			},
			"by an end moved to the past": func(w *world, g jit.Grant) {
				w.pass(time.Hour)
				if _, err := w.Change(w.t.Context(), g,
					request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("30m") })); err != nil {
					w.t.Fatal(err)
				}
			},
		}
		for name, end := range ends {
			t.Run(string(enforcement)+" "+name, func(t *testing.T) {
				w := newWorld(t, enforcement)
				g := w.grant(request())
				end(w, g)
				w.mustWrite(0, func() {
					p, err := w.Preview(t.Context(), request(), true)
					if err != nil || !p.Over || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0].Detail,
						"renewal = 2") {
						t.Errorf("preview %+v, error %v; want one that is over and names renewal = 2", p, err)
					}
					again := w.grant(request())
					if !again.Over(w.now) || !again.Window.Equal(g.Window) && name != "by an end moved to the past" {
						t.Errorf("made again it is %s with window %v", again.State(w.now), again.Window)
					}
				})
				w.finish(g)
				w.allowed(false)
				renewed := w.grant(request(func(r *broker.Request) { r.Renewal = 2 }))
				if renewed.ID == g.ID {
					t.Error("the renewal has the id of the first grant")
				}
				w.allowed(true)
			})
		}
	}
}

// finish does what the sweeper does with a grant that is over.
func (w *world) finish(g jit.Grant) {
	w.t.Helper()
	g, _, err := w.Lookup(w.t.Context(), g.ID, g)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.execute(reconcile.End, g, "", ""); err != nil {
		w.t.Fatal(err)
	}
}

// execute carries out one step on the grant's place; drift and reason are empty for what is due.
func (w *world) execute(kind reconcile.Kind, g jit.Grant, drift jit.DriftKind, reason string) error {
	step := reconcile.Drifted(kind, g.Place(), g, drift, reason)
	return w.Execute(w.t.Context(), []reconcile.Step{step})[0]
}

func (w *world) revoke(r broker.Revocation) bool {
	w.t.Helper()
	_, kept, err := w.Revoke(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return kept
}

func TestALostLedgerIsMadeGoodFromTheMarker(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request())
	w.ledger.Forget()
	w.pass(time.Hour)
	w.mustWrite(0, func() {
		again := w.grant(request())
		if !again.Window.Equal(g.Window) {
			t.Errorf("adopted with window %v, want %v", again.Window, g.Window)
		}
	})
	w.ledger.Forget()
	w.pass(2 * time.Hour)
	w.mustWrite(0, func() {
		if again := w.grant(request()); !again.Over(w.now) {
			t.Errorf("over by its marker, and made again it is %s", again.State(w.now))
		}
	})
}

func TestOverlappingGrantsDoNotEndEachOther(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	short := w.grant(request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("1h") }))
	w.grant(request(func(r *broker.Request) { r.Reason = "INC-2: other" }))
	w.pass(time.Hour)
	w.finish(short)
	w.allowed(true)
}

func TestOnlyTheNewestHolderEndsAGrant(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	first := w.grant(request())
	second := w.grant(request()) // create_before_destroy: the new object adopts
	if kept := w.revoke(broker.Revocation{Grant: first, Holder: first.Holder, Reason: "destroyed"}); !kept {
		t.Error("the old object's delete was not told that the grant is kept")
	}
	w.allowed(true)
	w.revoke(broker.Revocation{Grant: second, Holder: second.Holder, Reason: "destroyed"})
	w.allowed(false)
}

func TestRevokeIsIdempotentAndNeverGivenUp(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	g := w.grant(request())
	w.platform.Call = func(what string) error { return errors.New("the server is gone") }
	if _, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "stop"}); err == nil {
		t.Fatal("a revocation that did not reach the platform succeeded")
	}
	if last := w.kinds()[len(w.kinds())-1]; last != jit.EventRevokeFailed {
		t.Errorf("the last event is %s, want %s", last, jit.EventRevokeFailed)
	}
	w.platform.Call = nil
	w.revoke(broker.Revocation{Grant: g, Reason: "stop"})
	w.allowed(false)
	events := len(w.kinds())
	w.mustWrite(0, func() { w.revoke(broker.Revocation{Grant: g, Reason: "again"}) })
	if len(w.kinds()) != events {
		t.Error("revoking what is gone left an event")
	}
}

func TestRevokeWorksWithoutALedger(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	g := w.grant(request())
	gone := errors.New("ledger unreachable")
	w.ledger.Call = func(string) error { return gone }
	_, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "stop"})
	if !errors.Is(err, gone) {
		t.Errorf("got %v, want the ledger's error", err)
	}
	w.allowed(false)
	if _, err := w.Grant(t.Context(), request(func(r *broker.Request) { r.Renewal = 2 })); !errors.Is(err, gone) {
		t.Errorf("without a ledger a grant gave %v, want its error", err)
	}
	w.allowed(false)
}

func TestAGrantThatNobodyKnowsOfIsNotMadeAgain(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request())
	w.revoke(broker.Revocation{Grant: g, Reason: "stop"})
	w.ledger.Forget()
	g.Version = 0 // the state still says that it is live
	w.mustWrite(0, func() {
		_, err := w.Change(t.Context(), g, request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("3h") }))
		wantError(t, err, jit.ErrOver, "may have been revoked", "renewal = 2")
	})
	w.allowed(false)
}

func TestRevokeOfAnUnknownGrantLeavesATombstone(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	g := w.grant(request())
	w.ledger.Forget()
	g.Version = 0
	w.revoke(broker.Revocation{Grant: g, Reason: "destroyed"})
	w.allowed(false)
	w.mustWrite(0, func() {
		if again := w.grant(request()); !again.Over(w.now) {
			t.Error("a grant that was ended with the ledger lost came back")
		}
	})
}

func TestARevocationThatFailedIsMadeUpForInsideTheWindow(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request())
	w.platform.Call = func(string) error { return errors.New("unavailable") }
	for range 2 { // a second try must not take the access for over because the first recorded its intent
		if _, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "stop"}); err == nil ||
			errors.Is(err, jit.ErrOver) {
			t.Fatalf("a revocation that did not reach the platform: %v", err)
		}
	}
	w.platform.Call = nil
	w.allowed(true)
	w.revoke(broker.Revocation{Grant: g, Reason: "stop"})
	w.allowed(false)
}

func TestRevokingWhatIsOverRemovesOnlyWhatStillGivesAccess(t *testing.T) {
	for enforcement, want := range map[jit.Enforcement]int{jit.Native: 0, jit.Sweeper: 1} {
		w := newWorld(t, enforcement)
		g := w.grant(request())
		w.pass(3 * time.Hour)
		w.mustWrite(want, func() { w.revoke(broker.Revocation{Grant: g, Reason: "destroyed"}) })
		w.allowed(false)
	}
}

func TestAFailedGrantCanBeTriedAgain(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.platform.Unknown = map[string]bool{"bob": true}
	_, err := w.Grant(t.Context(), request())
	wantError(t, err, jittest.ErrNoPrincipal, "bob", "reader", "db")
	w.pass(5 * time.Hour) // longer than the window of the attempt
	w.platform.Unknown = nil
	g := w.grant(request())
	if want := jit.Second(w.now).Add(2 * time.Hour); !g.End.Equal(want) {
		t.Errorf("the end is %s, want %s", g.End, want)
	}
	w.allowed(true)
}

// An attempt that is known to have given nothing is closed: it is in no list of what is live or to be ended, and there
// is nothing to revoke.
func TestAFailedGrantIsAClosedRecord(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	w.platform.Unknown = map[string]bool{"bob": true}
	if _, err := w.Grant(t.Context(), request()); err == nil || strings.Contains(err.Error(), "may be in force") {
		t.Fatal(err)
	}
	w.pass(5 * time.Hour)
	var g jit.Grant
	for recorded, err := range w.ledger.Grants(t.Context(), jit.Filter{Owner: "jit"}) {
		if err != nil {
			t.Fatal(err)
		}
		g = recorded
		if state := g.State(w.now); state != jit.StateFailed || !strings.Contains(g.Failure,
			jittest.ErrNoPrincipal.Error()) {
			t.Errorf("it is %s with the error %q", state, g.Failure)
		}
	}
	for _, f := range []jit.Filter{{Open: true}, {DueBy: w.now}, {LiveAt: w.now.Add(-4 * time.Hour)}} {
		for g, err := range w.ledger.Grants(t.Context(), f) {
			t.Errorf("%+v finds %+v, %v", f, g, err)
		}
	}
	w.platform.Call = func(string) error { return errors.New("the target is away") }
	recorded := len(w.kinds())
	if _, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "destroyed"}); !errors.Is(err,
		jit.ErrRemains) || len(w.kinds()) != recorded {
		t.Errorf("revoking it: %v, and it records %v", err, w.kinds())
	}
	w.platform.Call, w.platform.Unknown = nil, nil
	w.grant(request())
	w.allowed(true)
}

func TestAnAttemptThatMayHaveWorkedKeepsItsWindow(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.platform.Call = func(what string) error {
		if what == "written" {
			return errors.New("connection lost after the write")
		}
		return nil
	}
	if _, err := w.Grant(t.Context(), request()); err == nil || !strings.Contains(err.Error(), "may be in force") ||
		!strings.Contains(err.Error(), "`jit revoke ") {
		t.Fatal(err)
	}
	w.platform.Call = nil
	begun := w.now
	w.pass(time.Hour)
	if g := w.grant(request()); !g.Start.Equal(begun) {
		t.Errorf("tried again it begins at %s, want %s: the access had begun", g.Start, begun)
	}
	w.pass(time.Hour)
	w.allowed(false)
}

func TestAPendingGrantOfACrashIsOverWithItsWindow(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.ledger.Call = failAfter(t, "written", 1)
	w.grantCrashing()
	w.ledger.Call = nil
	w.allowed(false)
	w.pass(3 * time.Hour)
	w.mustWrite(0, func() {
		if g := w.grant(request()); !g.Over(w.now) {
			t.Errorf("it is %s", g.State(w.now))
		}
	})
}

// A change of a grant that its platform has never confirmed is what grants it.
func TestAChangeGrantsWhatACrashLeftPending(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.platform.Call = failAfter(t, "write", 1)
	w.grantCrashing()
	w.platform.Call = nil
	w.allowed(false)
	var pending jit.Grant
	for g, err := range w.ledger.Grants(t.Context(), jit.Filter{Owner: "jit"}) {
		if err != nil {
			t.Fatal(err)
		}
		pending = g
	}
	if pending.ID == "" || !pending.GrantedAt.IsZero() {
		t.Fatalf("the crash left %+v", pending)
	}
	known := len(w.kinds())
	w.pass(time.Hour)
	g, err := w.Change(t.Context(), pending, request())
	if err != nil {
		t.Fatal(err)
	}
	if told := w.kinds()[known:]; !slices.Equal(told, []jit.EventKind{jit.EventGranted}) {
		t.Errorf("the ledger tells %v", told)
	}
	if !g.GrantedAt.Equal(w.now) || !g.Window.Equal(pending.Window) {
		t.Errorf("granted at %s with window %v, want %s and %v", g.GrantedAt, g.Window, w.now, pending.Window)
	}
	w.allowed(true)
	w.pass(time.Hour)
	w.allowed(false)
}

// grantCrashing asks for a grant of which [failAfter] lets the process die.
func (w *world) grantCrashing() {
	defer func() { _ = recover() }()
	_, _ = w.Grant(w.t.Context(), request())
}

// failAfter panics at the n-th call of that name, as a crash would end the process.
func failAfter(t *testing.T, name string, n int) func(string) error {
	t.Helper()
	return func(what string) error {
		if what == name {
			if n--; n == 0 {
				panic("crash")
			}
		}
		return nil
	}
}

func TestARevocationDuringAGrantWins(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	var once bool
	w.platform.Call = func(what string) error {
		if what == "write" && !once {
			once = true
			id := jit.NewID("jit", jit.Binding{Target: "db", Principal: "bob", Role: "reader", Scope: "all"},
				"INC-1: look", 1)
			g, known, err := w.Ledger.Lookup(t.Context(), id)
			if err != nil || !known {
				t.Fatalf("no intent in the ledger before the platform is called: %v", err)
			}
			w.revoke(broker.Revocation{Grant: g, Reason: "stop"})
		}
		return nil
	}
	g := w.grant(request())
	if !g.Over(w.now) {
		t.Errorf("the grant is %s", g.State(w.now))
	}
	w.allowed(false)
}

func TestChangeMovesTheEndFromTheSameBeginning(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request())
	begun := w.now
	w.pass(time.Hour)
	for _, tt := range []struct {
		ttl  string
		want time.Time
	}{{"4h", begun.Add(4 * time.Hour)}, {"90m", begun.Add(90 * time.Minute)}, {"1h30m", begun.Add(90 * time.Minute)}} {
		g, err := w.Change(t.Context(), g, request(func(r *broker.Request) { r.TTL = jit.RecordedTTL(tt.ttl) }))
		if err != nil {
			t.Fatal(err)
		}
		if !g.End.Equal(tt.want) {
			t.Errorf("ttl %s ends at %s, want %s", tt.ttl, g.End, tt.want)
		}
	}
	_, err := w.Change(t.Context(), g, request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("25h") }))
	wantError(t, err, jit.ErrInvalid, "ttl", "1d1h", "1d")
	w.pass(30 * time.Minute)
	w.allowed(false)
	_, err = w.Change(t.Context(), g, request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("5h") }))
	wantError(t, err, jit.ErrOver, "renewal = 2")
	w.mustWrite(0, func() {
		if _, err := w.Change(t.Context(), g,
			request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("90m") })); err != nil {
			t.Errorf("a change that changes nothing: %v", err)
		}
	})
}

func TestDriftIsRepairedWithinTheWindow(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request())
	w.platform.Edit("all", func([]jit.Observed) []jit.Observed { return nil })
	w.pass(time.Hour)
	if drift, err := w.Observe(t.Context(), g); err != nil || drift != "missing" {
		t.Errorf("observed %q, %v", drift, err)
	}
	known := len(w.kinds())
	w.platform.Call = func(what string) error {
		if told := w.kinds()[known:]; what == "write" && !slices.Equal(told, []jit.EventKind{jit.EventDrift}) {
			t.Errorf("before the platform is written to the ledger tells %v", told)
		}
		return nil
	}
	repaired, err := w.Change(t.Context(), g, request())
	w.platform.Call = nil
	if err != nil {
		t.Fatal(err)
	}
	if !repaired.Window.Equal(g.Window) || repaired.OpenDrift != "" {
		t.Errorf("repaired with window %v, want %v; open drift %q", repaired.Window, g.Window, repaired.OpenDrift)
	}
	if told := w.kinds()[known:]; !slices.Equal(told, []jit.EventKind{jit.EventDrift, jit.EventRepaired}) {
		t.Errorf("the ledger tells %v", told)
	}
	w.mustWrite(0, func() {
		if _, err := w.Change(t.Context(), g, request()); err != nil {
			t.Errorf("a change with nothing to repair: %v", err)
		}
	})
	w.allowed(true)
	w.pass(time.Hour)
	w.allowed(false)
	if drift, err := w.Observe(t.Context(), repaired); err != nil || drift != "" {
		t.Errorf("over, it observed %q, %v", drift, err)
	}
}

func TestADeferredGrantIsStartedByTheSweeper(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	start := w.now.Add(time.Hour)
	r := request(func(r *broker.Request) { r.StartsAt, r.StartBy = start, start.Add(10*time.Minute) })
	var g jit.Grant
	w.mustWrite(0, func() { g = w.grant(r) })
	if !g.Start.Equal(start) || !g.End.Equal(start.Add(2*time.Hour)) || g.State(w.now) != jit.StateScheduled {
		t.Errorf("%s with window %v", g.State(w.now), g.Window)
	}
	w.allowed(false)
	if err := w.execute(reconcile.Start, g, "", ""); err == nil {
		t.Error("it was started before its time")
	}
	w.pass(61 * time.Minute)
	if err := w.execute(reconcile.Start, g, "", ""); err != nil {
		t.Fatal(err)
	}
	w.allowed(true)
}

// on returns what the platform holds of a grant; ok is false for nothing.
func (w *world) on(g jit.Grant) (window jit.Window, ok bool) {
	w.t.Helper()
	s, err := w.platform.Read(w.t.Context(), "all")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range s.Ours {
		if o.Marker.ID == g.ID {
			return o.Marker.Window, true
		}
	}
	return jit.Window{}, false
}

// The beginning moves until it has come, also where the platform was told of it before; then it stays.
func TestABeginningMovesUntilItHasCome(t *testing.T) {
	for _, native := range []bool{true, false} {
		for _, ttl := range []string{"2h", ""} {
			t.Run(fmt.Sprintf("native %t, ttl %q", native, ttl), func(t *testing.T) {
				enforcement := map[bool]jit.Enforcement{true: jit.Native, false: jit.Sweeper}[native]
				w := newWorld(t, enforcement)
				w.platform.Traits.NativeStart, w.platform.Traits.MaxTTL = native, 3*time.Hour
				begin := w.now
				in := func(from, until time.Duration) broker.Request {
					return request(func(r *broker.Request) {
						if r.TTL, r.StartsAt = jit.RecordedTTL(ttl), begin.Add(from); ttl == "" {
							r.ExpiresAt = begin.Add(until)
						}
					})
				}
				g := w.grant(in(time.Hour, 3*time.Hour))
				want := func(from, until time.Duration) {
					t.Helper()
					window := jit.Window{Start: begin.Add(from), End: begin.Add(until)}
					if !g.Window.Equal(window) {
						t.Errorf("window %v, want %v", g.Window, window)
					}
					if held, ok := w.on(g); ok != native && w.now.Before(g.Start) || ok && !held.Equal(window) {
						t.Errorf("the platform holds %v (%t), want %v (%t)", held, ok, window, native)
					}
				}
				change := func(r broker.Request) {
					t.Helper()
					p, err := w.PreviewChange(t.Context(), g, r)
					if err != nil {
						t.Fatal(err)
					}
					if g, err = w.Change(t.Context(), g, r); err != nil {
						t.Fatal(err)
					}
					if !g.Window.Equal(p.Grant.Window) {
						t.Errorf("planned %v, got %v", p.Grant.Window, g.Window)
					}
				}
				want(time.Hour, 3*time.Hour)
				change(in(6*time.Hour, 8*time.Hour))
				want(6*time.Hour, 8*time.Hour)
				change(in(4*time.Hour, 6*time.Hour))
				want(4*time.Hour, 6*time.Hour)

				w.pass(3 * time.Hour)
				same := in(0, 6*time.Hour)
				same.StartsAt = time.Time{}
				change(same) // nothing is asked of the beginning
				want(4*time.Hour, 6*time.Hour)
				atOnce := in(0, 5*time.Hour)
				atOnce.StartsAt, atOnce.StartNow = time.Time{}, true
				late := atOnce
				late.StartBy = begin.Add(2 * time.Hour)
				_, err := w.Change(t.Context(), g, late)
				wantError(t, err, jit.ErrInvalid, "start_by", "may no longer begin")
				change(atOnce)
				want(3*time.Hour, 5*time.Hour)
				if _, ok := w.on(g); !ok {
					t.Error("it has not begun")
				}

				w.pass(time.Minute)
				w.mustWrite(0, func() {
					for _, to := range []time.Duration{4 * time.Hour, time.Hour} {
						_, err := w.Change(t.Context(), g, in(to, 5*time.Hour))
						wantError(t, err, jit.ErrInvalid, "starts_at", "began at 2026-11-23T19:00:00Z",
							"it cannot begin at "+jit.FormatTime(begin.Add(to)), "renewal = 2")
					}
					change(in(3*time.Hour, 5*time.Hour))
					change(atOnce)
				})
				w.pass(2 * time.Hour)
				w.mustWrite(0, func() {
					_, err := w.Change(t.Context(), g, in(9*time.Hour, 11*time.Hour))
					wantError(t, err, jit.ErrOver, "renewal = 2")
					change(in(3*time.Hour, 5*time.Hour))
					change(atOnce)
				})
			})
		}
	}
}

// A grant that was asked for after its starts_at begins at once; that it was is no reason to refuse what it says.
func TestABeginningThatWasPast(t *testing.T) {
	w := newWorld(t, jit.Native)
	r := request(func(r *broker.Request) { r.StartsAt = w.now.Add(-time.Hour) })
	g := w.grant(r)
	w.pass(time.Minute)
	w.mustWrite(0, func() {
		if _, err := w.Change(t.Context(), g, r); err != nil {
			t.Error(err)
		}
	})
	r.StartsAt = w.now.Add(time.Hour)
	_, err := w.Change(t.Context(), g, r)
	wantError(t, err, jit.ErrInvalid, "starts_at", "began at")
}

// While a grant is put on its platform somebody puts it off.
func TestABeginningThatIsPutOffMeanwhile(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.platform.Traits.NativeStart = true
	begin := w.now.Add(time.Hour)
	g := w.grant(request(func(r *broker.Request) { r.StartsAt = begin }))
	put := false
	w.platform.Call = func(what string) error {
		if what != "written" || put {
			return nil
		}
		put = true
		_, err := w.Change(t.Context(), g, request(func(r *broker.Request) { r.StartsAt = begin.Add(4 * time.Hour) }))
		return err
	}
	if _, err := w.Change(t.Context(), g,
		request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("1h") })); err != nil {
		t.Fatal(err)
	}
	g, _, err := w.Lookup(t.Context(), g.ID, g)
	if err != nil {
		t.Fatal(err)
	}
	if held, ok := w.on(g); !ok || !held.Equal(g.Window) || g.GrantedAt.IsZero() ||
		!g.Start.Equal(begin.Add(4*time.Hour)) {
		t.Errorf("the platform holds %v (%t), recorded is %v, given at %s", held, ok, g.Window, g.GrantedAt)
	}
}

// The platform was told of a beginning and the ledger could not be: what it holds moves all the same.
func TestABeginningThatWasNotConfirmedMoves(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.platform.Traits.NativeStart = true
	r := request(func(r *broker.Request) { r.StartsAt = w.now.Add(time.Hour) })
	w.platform.Call = func(what string) error {
		if what == "written" {
			w.ledger.Call = func(string) error { return errors.New("the ledger is gone") }
		}
		return nil
	}
	if _, err := w.Grant(t.Context(), r); err == nil {
		t.Fatal("the grant was confirmed")
	}
	w.platform.Call, w.ledger.Call = nil, nil
	p, err := w.Preview(t.Context(), r, false)
	g := p.Grant
	if err != nil || !p.Met || !g.GrantedAt.IsZero() {
		t.Fatalf("it meets %+v, %v", p, err)
	}
	r.StartsAt = w.now.Add(4 * time.Hour)
	if g, err = w.Change(t.Context(), g, r); err != nil {
		t.Fatal(err)
	}
	if held, ok := w.on(g); !ok || !held.Equal(g.Window) || !g.Start.Equal(r.StartsAt) {
		t.Errorf("the platform holds %v (%t), recorded is %v", held, ok, g.Window)
	}
}

// A policy of which not all is known yet refuses what it can and permits nothing.
func TestAnAwaitedPolicyGrantsNothing(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.Planned = &broker.Planned{}
	w.Planned.PutIncomplete(jit.Policy{Name: "oncall", Effect: jit.Permit, MaxTTL: 4 * time.Hour})
	for _, named := range []string{"", "oncall"} {
		r := request(func(r *broker.Request) { r.Policy = named })
		p, err := w.Preview(t.Context(), r, true)
		if err != nil || len(p.Warnings) == 0 || p.Warnings[0].Summary != "The policy is not known yet" {
			t.Errorf("policy %q: preview %+v, error %v", named, p, err)
		}
		r.TTL = jit.RecordedTTL("5h")
		_, err = w.Preview(t.Context(), r, true)
		wantError(t, err, jit.ErrDenied, "4h")
	}
	w.mustWrite(0, func() {
		_, err := w.Grant(t.Context(), request(func(r *broker.Request) { r.Policy = "oncall" }))
		wantError(t, err, jit.ErrUnknown, `no policy "oncall"`)
	})
	w.Planned.Put(jit.Policy{Name: "oncall", Effect: jit.Permit, MaxTTL: time.Hour})
	_, err := w.Preview(t.Context(), request(), true)
	wantError(t, err, jit.ErrDenied, "1h")
	w.Planned.Put(jit.Policy{Name: "oncall", Effect: jit.Permit, MaxTTL: 3 * time.Hour})
	if p, err := w.Preview(t.Context(), request(), true); err != nil || len(p.Warnings) != 0 {
		t.Errorf("known, preview %+v, error %v", p, err)
	}
}

func TestRefusalsCallNothing(t *testing.T) {
	now := time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		change func(*broker.Request)
		kind   error
		parts  []string
	}{
		"no end": {func(r *broker.Request) { r.TTL = jit.TTL{} }, jit.ErrInvalid,
			[]string{"ttl", "no end", `ttl = "2h"`}},
		"two ends": {func(r *broker.Request) { r.ExpiresAt = now.Add(time.Hour) }, jit.ErrInvalid,
			[]string{"expires_at", "two ends"}},
		"zero": {func(r *broker.Request) { r.TTL = jit.RecordedTTL("0s") }, jit.ErrInvalid,
			[]string{"ttl", `"0s"`}},
		"negative": {func(r *broker.Request) { r.TTL = jit.RecordedTTL("-5m") }, jit.ErrInvalid,
			[]string{"ttl", `"-5m"`}},
		"never": {func(r *broker.Request) { r.TTL = jit.RecordedTTL("never") }, jit.ErrInvalid,
			[]string{"ttl", `"never"`}},
		"years": {func(r *broker.Request) { r.TTL = jit.RecordedTTL("1y") }, jit.ErrInvalid,
			[]string{"ttl", `"1y"`}},
		"past": {func(r *broker.Request) { r.TTL, r.ExpiresAt = jit.TTL{}, now.Add(-time.Second) },
			jit.ErrInvalid, []string{"expires_at", "already past"}},
		"over the maximum": {func(r *broker.Request) { r.TTL = jit.RecordedTTL("2d") }, jit.ErrInvalid,
			[]string{"ttl", "2d", "max_ttl", "1d"}},
		"end over the maximum": {func(r *broker.Request) { r.TTL, r.ExpiresAt = jit.TTL{}, now.Add(25*time.Hour) },
			jit.ErrInvalid, []string{"expires_at", "max_ttl"}},
		"too late to begin": {func(r *broker.Request) { r.StartBy = now.Add(-time.Minute) }, jit.ErrInvalid,
			[]string{"start_by"}},
		"begins after its end": {func(r *broker.Request) {
			r.TTL, r.StartsAt, r.ExpiresAt = jit.TTL{}, now.Add(2*time.Hour), now.Add(time.Hour)
		}, jit.ErrInvalid, []string{"expires_at", "starts_at"}},
		"unknown target": {func(r *broker.Request) { r.Binding.Target = "prod" }, jit.ErrUnknown,
			[]string{"target", `"prod"`, `"db"`}},
		"two lines": {func(r *broker.Request) { r.Binding.Principal = "bob\nroot" }, jit.ErrInvalid,
			[]string{"principal", "U+000A"}},
		"no reason":      {func(r *broker.Request) { r.Reason = " " }, jit.ErrInvalid, []string{"reason", "empty"}},
		"no renewal":     {func(r *broker.Request) { r.Renewal = 0 }, jit.ErrInvalid, []string{"renewal"}},
		"unknown policy": {func(r *broker.Request) { r.Policy = "prod" }, jit.ErrUnknown, []string{"policy", `"prod"`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Native)
			w.now = now
			w.ledger.Call = func(what string) error {
				if what == "write" {
					t.Error("the ledger was written to")
				}
				return nil
			}
			w.mustWrite(0, func() {
				_, err := w.Preview(t.Context(), request(tt.change), false)
				wantError(t, err, tt.kind, tt.parts...)
				_, err = w.Grant(t.Context(), request(tt.change))
				wantError(t, err, tt.kind, tt.parts...)
			})
		})
	}
}

func TestPoliciesOfTheSamePlanCount(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.Planned = &broker.Planned{}
	named := request(func(r *broker.Request) { r.Policy = "oncall" })
	w.Planned.Put(jit.Policy{Name: "oncall", Effect: jit.Permit, MaxTTL: time.Hour})
	_, err := w.Preview(t.Context(), named, false)
	wantError(t, err, jit.ErrDenied, "ttl", "1h", "2h")
	w.Planned.Put(jit.Policy{Name: "oncall", Effect: jit.Permit, MaxTTL: 4 * time.Hour})
	p, err := w.Preview(t.Context(), named, false)
	if err != nil || p.Verdict.Policy != "oncall" {
		t.Errorf("verdict %+v, error %v", p.Verdict, err)
	}
	if _, err := w.Grant(t.Context(), request()); err != nil {
		t.Fatal(err)
	}
	if err := w.PutPolicy(t.Context(), jit.Policy{Name: "no-readers", Effect: jit.Forbid,
		Match: jit.Match{Roles: []string{"read*"}}}); err != nil {
		t.Fatal(err)
	}
	_, err = w.Grant(t.Context(), request(func(r *broker.Request) { r.Renewal = 2 }))
	wantError(t, err, jit.ErrDenied, "no-readers")
	w.Planned.Drop("no-readers")
	if _, err = w.Preview(t.Context(), request(func(r *broker.Request) { r.Renewal = 2 }), false); err != nil {
		t.Errorf("a policy that the plan removes still counts: %v", err)
	}
}

func TestStandingAccessIsNamedAtPlan(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.platform.AddStanding("all", jit.Standing{Principal: "bob", Role: "reader", Detail: "line 3"})
	p, err := w.Preview(t.Context(), request(), true)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(p.Warnings, func(w broker.Warning) bool { return strings.Contains(w.Detail, "line 3") }) {
		t.Errorf("warnings %+v do not name the standing access", p.Warnings)
	}
}

// What a platform notes of a scope is for every grant there, or for those of one principal.
func TestAdviceIsAWarningAtPlan(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	w.platform.Advise = func(_ context.Context, b jit.Binding) []jit.Advice {
		return []jit.Advice{{Attribute: "principal", Title: "The principal does not exist", Text: "no " + b.Principal}}
	}
	p, err := w.Preview(t.Context(), request(), true)
	if err != nil {
		t.Fatal(err)
	}
	want := broker.Warning{Attribute: "principal", Summary: "The principal does not exist", Detail: "no bob"}
	if !slices.Contains(p.Warnings, want) {
		t.Errorf("the plan warns of %+v, want %+v among it", p.Warnings, want)
	}
}

func TestNotesAreWarningsAtPlan(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.platform.Notes = []jit.Note{{Text: "nearly full"}, {Principal: "bob", Text: "bob has many"},
		{Principal: "alice", Text: "alice has many"}}
	p, err := w.Preview(t.Context(), request(), true)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, w := range p.Warnings {
		if w.Summary == "Little room is left" {
			told = append(told, w.Detail)
		}
	}
	if want := []string{"nearly full", "bob has many"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestACancelledGrantIsNotTakenForAFailedOne(t *testing.T) {
	w := newWorld(t, jit.Native)
	ctx, cancel := context.WithCancel(t.Context())
	w.platform.Call = func(what string) error {
		if what == "written" {
			cancel()
			return ctx.Err()
		}
		return nil
	}
	if _, err := w.Grant(ctx, request()); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	w.platform.Call = nil
	begun := w.now
	w.pass(time.Hour)
	if g := w.grant(request()); !g.Start.Equal(begun) {
		t.Errorf("it begins at %s, want %s", g.Start, begun)
	}
}

func TestAWindowFitsThePlatform(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.platform.Traits.MinTTL, w.platform.Traits.MaxTTL = 5*time.Minute, 3*time.Hour
	for _, tt := range []struct {
		name   string
		change func(*broker.Request)
		parts  []string
	}{
		{"too short", func(r *broker.Request) { r.TTL = jit.RecordedTTL("4m") }, []string{"ttl", "4m", "at least 5m",
			"ask for 5m or more"}},
		{"too long", func(r *broker.Request) { r.TTL = jit.RecordedTTL("4h") }, []string{"ttl", "at most 3h",
			"ask for 3h or less"}},
		{"an end too near", func(r *broker.Request) { r.TTL, r.ExpiresAt = jit.TTL{}, w.now.Add(time.Minute) },
			[]string{"expires_at", "at least 5m"}},
	} {
		_, err := w.Preview(t.Context(), request(tt.change), true)
		wantError(t, err, jit.ErrInvalid, tt.parts...)
		_, err = w.Grant(t.Context(), request(tt.change))
		wantError(t, err, jit.ErrInvalid, tt.parts...)
	}
	g := w.grant(request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("5m") }))
	_, err := w.Change(t.Context(), g, request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("3m") }))
	wantError(t, err, jit.ErrInvalid, "ttl", "at least 5m")
	w.allowed(true)
}

// Two sweepers start the same grant, the second because the first stalled: it is recorded once that it was given.
func TestStartTwice(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	g := w.grant(request(func(r *broker.Request) { r.StartsAt = w.now.Add(time.Hour) }))
	w.pass(time.Hour)
	for range 2 {
		if err := w.execute(reconcile.Start, g, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	w.allowed(true)
	granted := 0
	for _, k := range w.kinds() {
		if k == jit.EventGranted {
			granted++
		}
	}
	if granted != 1 {
		t.Errorf("%d events tell that it was given, want 1: %v", granted, w.kinds())
	}
}

// A sweeper stalls just before it starts or repairs a grant, for so long that another one ends it meanwhile: what it
// gives then is taken back at once, and the end is recorded once.
func TestStalledSweeperTakesBack(t *testing.T) {
	for name, put := range map[string]func(*world, jit.Grant) error{
		"start":  func(w *world, g jit.Grant) error { return w.execute(reconcile.Start, g, "", "") },
		"repair": func(w *world, g jit.Grant) error { return w.execute(reconcile.Repair, g, "", "missing") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Sweeper)
			g := w.grant(request(func(r *broker.Request) {
				if name == "start" {
					r.StartsAt = w.now.Add(time.Hour)
				}
			}))
			w.pass(time.Hour)
			stalled := false
			w.platform.Call = func(what string) error {
				if what == "write" && !stalled {
					stalled = true
					w.pass(3 * time.Hour)
					return w.execute(reconcile.End, g, "", "")
				}
				return nil
			}
			if err := put(w, g); err != nil {
				t.Fatal(err)
			}
			if s, err := w.platform.Read(t.Context(), "all"); err != nil || len(s.Ours) != 0 {
				t.Errorf("after the end there is %+v, %v", s.Ours, err)
			}
			ends := 0
			for _, k := range w.kinds() {
				if k == jit.EventExpired {
					ends++
				}
			}
			if last := w.kinds()[len(w.kinds())-1]; ends != 1 || last != jit.EventExpired {
				t.Errorf("%d events tell of the end, want 1, and nothing after it: %v", ends, w.kinds())
			}
		})
	}
}

// Whose a grant is, the record says, else the marker; who remembers it as his own is refused all the same.
func TestRevokeLeavesTheGrantsOfOtherOwners(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request())
	w.Owner = "others"
	claimed := g
	claimed.Owner = w.Owner
	refused := func(g jit.Grant) {
		t.Helper()
		w.mustWrite(0, func() {
			_, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "stop"})
			wantError(t, err, jit.ErrInvalid, `belongs to the owner "jit"`)
		})
	}
	refused(g)
	refused(claimed)
	w.lose()
	refused(g)
	w.allowed(true)
}
