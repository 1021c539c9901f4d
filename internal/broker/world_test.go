package broker_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// world is a broker over a platform and a ledger in memory, with its own clock.
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

// request returns a request of the role reader for bob for two hours.
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

// mustWrite runs f and fails the test unless it wrote to the platform want times.
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
		w.t.Errorf("at %s bob has access: %t, want %t", w.now.Format(time.TimeOnly), got, want)
	}
}

// kinds returns the kinds of all events so far.
func (w *world) kinds() []jit.EventKind {
	var all []jit.EventKind
	for e, err := range jit.AllEvents(w.t.Context(), w.ledger) {
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

// finish ends an expired grant as the sweeper does.
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

// execute carries out one step on the grant's place; drift and reason are empty for steps that are due.
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
