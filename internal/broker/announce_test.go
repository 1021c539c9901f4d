package broker_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const before = 15 * time.Minute

// announce announces near ends, and fails the test unless it announces want of them.
func (w *world) announce(want int) {
	w.t.Helper()
	if n, err := w.Announce(w.t.Context(), before); err != nil || n != want {
		w.t.Errorf("at %s %d ends were announced, %v; want %d", w.now.Format(time.TimeOnly), n, err, want)
	}
}

// announced returns the announced ends in the order of the record.
func (w *world) announced() []string {
	w.t.Helper()
	var all []string
	for e, err := range jit.AllEvents(w.t.Context(), w.ledger) {
		if err != nil {
			w.t.Fatal(err)
		}
		if e.Kind == jit.EventEndsSoon {
			all = append(all, e.Detail["expires_at"])
		}
	}
	return all
}

// Each end is announced once; a moved end is announced again.
func TestAnnounceOnceForEachEnd(t *testing.T) {
	w := newWorld(t, jit.Native)
	g := w.grant(request())
	w.announce(0)
	w.pass(2*time.Hour - before - time.Second)
	w.announce(0)
	w.pass(time.Second)
	w.announce(1)
	w.announce(0)
	if _, err := w.Change(t.Context(), g,
		request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("3h") })); err != nil {
		t.Fatal(err)
	}
	w.announce(0)
	w.pass(time.Hour)
	w.announce(1)
	w.announce(0)
	w.pass(before)
	w.announce(0)
	if got, want := fmt.Sprint(w.announced()), "[2026-11-23T18:00:00Z 2026-11-23T19:00:00Z]"; got != want {
		t.Errorf("announced %s, want %s", got, want)
	}
	w.allowed(false)
}

// Grants without access, grants of another owner and short grants are not announced.
func TestAnnounceLeavesOut(t *testing.T) {
	w := newWorld(t, jit.Native)
	another := func(name string, change ...func(*broker.Request)) broker.Request {
		return request(append(change, func(r *broker.Request) { r.Reason += " " + name })...)
	}
	short := func(r *broker.Request) { r.TTL = jit.RecordedTTL("29m") }
	w.grant(another("short", short))
	w.grant(another("just long enough", func(r *broker.Request) { r.TTL = jit.RecordedTTL("30m") }))
	gone := w.grant(another("revoked"))
	w.grant(another("not begun", func(r *broker.Request) {
		r.StartsAt, r.TTL = w.now.Add(3*time.Hour),
			jit.RecordedTTL("2h")
	}))
	w.platform.Unknown = map[string]bool{"bob": true}
	if _, err := w.Grant(t.Context(), another("failed")); err == nil {
		t.Fatal("the grant did not fail")
	}
	w.platform.Unknown = nil
	w.Owner = "payments"
	w.grant(another("of another owner"))
	w.Owner = "jit"
	if _, _, err := w.Revoke(t.Context(), broker.Revocation{Grant: gone, Reason: "done early"}); err != nil {
		t.Fatal(err)
	}
	w.pass(20 * time.Minute)
	w.announce(1)
	w.pass(85 * time.Minute)
	w.announce(0)
}

// Of two concurrent processes, only one announces an end.
func TestAnnounceTogether(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.grant(request())
	w.pass(110 * time.Minute)
	other := broker.Broker{Ledger: w.Ledger, Targets: w.Targets, Owner: w.Owner, MaxTTL: w.MaxTTL, Actor: w.Actor,
		Now: w.Now}
	raced := false
	w.ledger.Call = func(what string) error {
		if what != "write" || raced {
			return nil
		}
		raced = true
		if n, err := other.Announce(t.Context(), before); err != nil || n != 1 {
			t.Errorf("the other process announced %d, %v", n, err)
		}
		return nil
	}
	w.announce(0)
	if got := len(w.announced()); got != 1 || !raced {
		t.Errorf("announced %d times", got)
	}
}

func TestAnnounceWithoutLedger(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.grant(request())
	w.pass(110 * time.Minute)
	gone := errors.New("the ledger is unreachable")
	for _, what := range []string{"read", "write"} {
		w.ledger.Call = func(does string) error {
			if does == what {
				return gone
			}
			return nil
		}
		if n, err := w.Announce(t.Context(), before); !errors.Is(err, gone) || n != 0 {
			t.Errorf("%s: %d, %v", what, n, err)
		}
	}
	w.ledger.Call = nil
	w.announce(1)
}
