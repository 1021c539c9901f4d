package sweeper_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// world is a broker and a sweeper over a platform and a ledger in memory.
type world struct {
	t        *testing.T
	now      time.Time
	ledger   *jittest.Ledger
	platform *jittest.Platform
	broker   *broker.Broker
}

func newWorld(t *testing.T, enforcement jit.Enforcement) *world {
	w := &world{t: t, now: time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC), ledger: &jittest.Ledger{}}
	clock := func() time.Time { return w.now }
	w.platform = &jittest.Platform{Traits: jit.Traits{Enforcement: enforcement}, Now: clock}
	w.broker = &broker.Broker{
		Ledger: w.ledger, Targets: map[string]jit.Platform{"db": w.platform}, Owner: "jit", MaxTTL: 24 * time.Hour,
		Actor: jit.Actor{Name: "alice", Source: jit.FromTerraform}, Now: clock,
	}
	return w
}

func request(ttl string) broker.Request {
	return broker.Request{Binding: jit.Binding{Target: "db", Principal: "bob", Role: "reader"}, Reason: "INC-1",
		Renewal: 1, TTL: jit.RecordedTTL(ttl)}
}

func (w *world) grant(r broker.Request) jit.Grant {
	w.t.Helper()
	g, err := w.broker.Grant(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

func (w *world) sweep() sweeper.Report {
	s := &sweeper.Sweeper{Broker: w.broker, Holder: "test", MaxUnplanned: sweeper.DefaultMaxUnplanned, ClaimSize: 10}
	return s.Pass(w.t.Context())
}

func (w *world) allowed(want bool) {
	w.t.Helper()
	if got := w.platform.Allowed("all", "bob", "reader"); got != want {
		w.t.Errorf("at %s bob has access: %t, want %t", w.now.Format(time.DateTime), got, want)
	}
}

func (w *world) recorded(id jit.ID) jit.Grant {
	w.t.Helper()
	g, known, err := w.ledger.Lookup(w.t.Context(), id)
	if err != nil || !known {
		w.t.Fatalf("no record of %s: %v", id, err)
	}
	return g
}

// duringNextWrite runs f once, during the next write to the platform.
func (w *world) duringNextWrite(f func()) {
	once := false
	w.platform.Call = func(what string) error {
		if what == "write" && !once {
			once = true
			f()
		}
		return nil
	}
}

// Access revoked while the ledger was unreachable is restored by a sweep, as the error warns, unless drift is only
// reported.
func TestWhatIsMissingIsPutBackOrReported(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	g := w.grant(request("8h"))
	w.ledger.Call = func(string) error { return errors.New("unreachable") }
	if _, _, err := w.broker.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "stolen laptop"}); err == nil ||
		!strings.Contains(err.Error(), "or the sweeper puts the access back") {
		t.Errorf("an unrecorded revocation: %v", err)
	}
	w.ledger.Call = nil
	w.allowed(false)
	w.now = w.now.Add(5 * time.Minute)
	for _, c := range []struct {
		on   jit.OnDrift
		want reconcile.Kind
		back bool
	}{{jit.ReportDrift, reconcile.Report, false}, {jit.RepairDrift, reconcile.Repair, true}} {
		s := &sweeper.Sweeper{Broker: w.broker, Holder: "test", MaxUnplanned: sweeper.DefaultMaxUnplanned,
			OnDrift: map[string]jit.OnDrift{"db": c.on}}
		if report := s.Pass(t.Context()); len(report.Results) != 1 || report.Results[0].Kind != c.want ||
			report.Results[0].Drift != jit.DriftMissing {
			t.Errorf("%s: the results are %+v, want one %s", c.on, report.Results, c.want)
		}
		w.allowed(c.back)
	}
}

func TestADeadTargetKeepsNobodyElseWaiting(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	dead := &jittest.Platform{Traits: jit.Traits{Enforcement: jit.Sweeper}, Now: w.broker.Now}
	w.broker.Targets["dead"] = dead
	for i := range 30 { // more than one claim
		r := request("1h")
		r.Binding.Target, r.Binding.Principal = "dead", fmt.Sprint("user ", i)
		w.grant(r)
	}
	w.grant(request("2h"))
	dead.Call = func(string) error { return errors.New("gone") }
	w.now = w.now.Add(3 * time.Hour)
	report := w.sweep()
	w.allowed(false)
	if report.Failed() != 30 {
		t.Errorf("%d steps failed, want 30", report.Failed())
	}
}

func TestAStartThatIsPutOffMeanwhileDoesNotBegin(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	r := request("1h")
	r.StartsAt = w.now.Add(time.Hour)
	g := w.grant(r)
	w.now = w.now.Add(time.Hour)
	w.duringNextWrite(func() {
		later := r
		later.StartsAt = w.now.Add(20 * time.Hour)
		if _, err := w.broker.Change(t.Context(), g, later); err != nil {
			t.Error(err)
		}
	})
	w.sweep()
	w.allowed(false)
	if got := w.recorded(g.ID); !got.GrantedAt.IsZero() {
		t.Errorf("granted_at is %s", got.GrantedAt)
	}
	w.now = w.now.Add(20 * time.Hour)
	w.sweep()
	w.allowed(true)
	w.now = w.now.Add(time.Hour)
	w.sweep()
	w.allowed(false)
}

func TestAnEndThatIsMovedDuringARepairHolds(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request("8h"))
	w.duringNextWrite(func() {
		if _, err := w.broker.Change(t.Context(), g, request("2h")); err != nil {
			t.Error(err)
		}
	})
	step := reconcile.Drifted(reconcile.Repair, g.Place(), g, jit.DriftEndLater, "the end was moved")
	if err := w.broker.Execute(t.Context(), []reconcile.Step{step})[0]; err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(2 * time.Hour)
	w.allowed(false)
}

func TestAnotherOwnersGrantIsLeftAlone(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	g := w.grant(request("8h"))
	other := &broker.Broker{Ledger: w.ledger, Targets: w.broker.Targets, Owner: "payments", MaxTTL: w.broker.MaxTTL,
		Now: w.broker.Now, Actor: w.broker.Actor}
	if _, err := other.Change(t.Context(), g, request("20h")); !errors.Is(err, jit.ErrInvalid) {
		t.Errorf("a change of another owner's grant: %v", err)
	}
	if _, _, err := other.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "tidy up"}); !errors.Is(
		err, jit.ErrInvalid,
	) {
		t.Errorf("a revocation of another owner's grant: %v", err)
	}
	w.allowed(true)
	if got := w.recorded(g.ID); !got.Window.Equal(g.Window) {
		t.Errorf("its window is %v, was %v", got.Window, g.Window)
	}
}

// A permitted grant without access yet is judged again before it gives access.
func TestAnOldIntentIsJudgedAgain(t *testing.T) {
	forbid := jit.Policy{Name: "freeze", Effect: jit.Forbid}
	t.Run("cut off", func(t *testing.T) {
		w := newWorld(t, jit.Sweeper)
		r := request("8h")
		r.StartBy = w.now.Add(10 * time.Minute)
		down := false
		w.platform.Call = func(what string) error {
			if down = down || what == "write"; down {
				return errors.New("unreachable")
			}
			return nil
		}
		if _, err := w.broker.Grant(t.Context(), r); err == nil {
			t.Fatal("no error")
		}
		w.platform.Call = nil
		w.now = w.now.Add(time.Hour)
		if _, err := w.broker.Grant(t.Context(), r); !errors.Is(err, jit.ErrInvalid) {
			t.Errorf("after start_by: %v", err)
		}
		w.now = w.now.Add(-55 * time.Minute)
		if err := w.broker.PutPolicy(t.Context(), forbid); err != nil {
			t.Fatal(err)
		}
		if _, err := w.broker.Grant(t.Context(), r); !errors.Is(err, jit.ErrDenied) {
			t.Errorf("forbidden meanwhile: %v", err)
		}
		w.allowed(false)
	})
	t.Run("deferred", func(t *testing.T) {
		w := newWorld(t, jit.Sweeper)
		r := request("8h")
		r.StartsAt = w.now.Add(time.Hour)
		w.grant(r)
		if err := w.broker.PutPolicy(t.Context(), forbid); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(2 * time.Hour)
		if report := w.sweep(); report.Failed() != 1 {
			t.Errorf("%d steps failed, want the start", report.Failed())
		}
		w.allowed(false)
	})
}

func TestOneServerUnderTwoNamesKeepsItsGrants(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.broker.Targets["same"] = w.platform
	w.grant(request("8h"))
	w.sweep()
	w.allowed(true)
}

// Somebody shortens a grant while another apply requests the old end. If that happens before the apply's look-up, the
// apply is refused. If it happens later, the apply repairs nothing.
func TestARepairDoesNotUndoAShorterEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		call func(*world) *func(string) error
		want error
	}{
		"at the look-up": {func(w *world) *func(string) error { return &w.ledger.Call }, jit.ErrDenied},
		"at the repair":  {func(w *world) *func(string) error { return &w.platform.Call }, nil},
	} {
		w := newWorld(t, jit.Native)
		g := w.grant(request("8h"))
		call := tt.call(w)
		*call = func(what string) error {
			if what == "read" {
				*call = nil
				if _, err := w.broker.Change(t.Context(), g, request("2h")); err != nil {
					t.Error(err)
				}
				if err := w.broker.PutPolicy(t.Context(), jit.Policy{Name: "short", Effect: jit.Permit,
					MaxTTL: 2 * time.Hour}); err != nil {
					t.Error(err)
				}
			}
			return nil
		}
		if _, err := w.broker.Change(t.Context(), g, request("8h")); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		if got := w.recorded(g.ID); *call != nil || got.Length() != 2*time.Hour {
			t.Errorf("%s: the grant lasts %s, want 2h", name, got.Length())
		}
		w.now = w.now.Add(2 * time.Hour)
		w.allowed(false)
	}
}

// A single pass works on scopes concurrently, and a slow scope does not delay the others.
func TestPassWorksOnScopesSideBySide(t *testing.T) {
	for name, tt := range map[string]struct {
		slow string
		most time.Duration // for the scopes other than s0
	}{"all alike": {"", 17 * time.Second}, "one slow": {"s0", time.Second}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatched(t, "db")
				end := time.Now().Add(time.Minute)
				var first, others []jit.Grant
				for n := range 6000 { // more than one claim for each
					first = append(first, dueGrant(n, "s0", end))
					for scope := range 3 {
						others = append(others, dueGrant(n, fmt.Sprint("s", scope+1), end))
					}
				}
				w.record(append(first, others...)...)
				b := w.newBroker()
				p := &costly{Platform: w.targets["db"], change: 2 * time.Millisecond, scope: tt.slow}
				b.Targets["db"] = p
				time.Sleep(time.Until(end))
				s := &sweeper.Sweeper{Broker: b, Holder: "a", DueOnly: true}
				if r := s.Pass(t.Context()); len(r.Results) != 24_000 || r.Failed() > 0 || len(r.Elsewhere) > 0 {
					t.Errorf("%d results, %d failed, %d elsewhere", len(r.Results), r.Failed(), len(r.Elsewhere))
				}
				if took := w.lastEnd(first...).Sub(end); took > 17*time.Second { // 12 s each; 48 s in sequence
					t.Errorf("6,000 changes of 2 ms took %s", took)
				}
				if took := w.lastEnd(others...).Sub(end); took > tt.most {
					t.Errorf("the others took %s, want at most %s", took, tt.most)
				}
				if n := p.overlaps.Load(); n > 0 {
					t.Errorf("%d calls for a scope overlapped", n)
				}
			})
		})
	}
}
