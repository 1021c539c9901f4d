package broker_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

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

// A failed attempt is closed: it is neither live nor due, and revoking it records nothing.
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
			t.Errorf("the grant is %s with the error %q", state, g.Failure)
		}
	}
	for _, f := range []jit.Filter{{Open: true}, {DueBy: w.now}, {LiveAt: w.now.Add(-4 * time.Hour)}} {
		for g, err := range w.ledger.Grants(t.Context(), f) {
			t.Errorf("%+v finds %+v, %v", f, g, err)
		}
	}
	w.platform.Call = func(string) error { return errors.New("the target is unreachable") }
	recorded := len(w.kinds())
	if _, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: g, Reason: "destroyed"}); !errors.Is(err,
		jit.ErrRemains) || len(w.kinds()) != recorded {
		t.Errorf("revoking the grant: %v; events %v", err, w.kinds())
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
		t.Errorf("the second attempt begins at %s, want %s, when the access began", g.Start, begun)
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
			t.Errorf("the grant is %s", g.State(w.now))
		}
	})
}

// A change of a grant that its platform has never confirmed grants it.
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
		t.Errorf("the ledger has the events %v", told)
	}
	if !g.GrantedAt.Equal(w.now) || !g.Window.Equal(pending.Window) {
		t.Errorf("granted at %s with window %v, want %s and %v", g.GrantedAt, g.Window, w.now, pending.Window)
	}
	w.allowed(true)
	w.pass(time.Hour)
	w.allowed(false)
}

// grantCrashing requests a grant during which [failAfter] kills the process.
func (w *world) grantCrashing() {
	defer func() { _ = recover() }()
	_, _ = w.Grant(w.t.Context(), request())
}

// failAfter panics at the n-th call of that name, as if the process crashed.
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
		t.Errorf("the grant begins at %s, want %s", g.Start, begun)
	}
}
