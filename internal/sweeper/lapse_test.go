package sweeper_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// waiting asks through b for a grant that waits for lea for at most an hour.
func waiting(t *testing.T, b *broker.Broker) jit.Grant {
	t.Helper()
	err := errors.Join(
		b.PutPerson(t.Context(), jit.Person{Name: "lea"}),
		b.PutPolicy(t.Context(), jit.Policy{Name: "prod", Effect: jit.Permit,
			Approval: []jit.Requirement{{Required: 1, From: []string{"lea"}}}}))
	if err != nil {
		t.Fatal(err)
	}
	r := request("2h")
	r.StartBy = b.Now().Add(time.Hour)
	if _, err := b.Grant(t.Context(), r); !errors.Is(err, jit.ErrUnapproved) {
		t.Fatalf("granted with %v", err)
	}
	for g, err := range b.Ledger.Grants(t.Context(), jit.Filter{Waiting: true}) {
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	t.Fatal("no request waits")
	return jit.Grant{}
}

// A pass records requests that lapsed; a dry run does not, nor does a pass whose clock may be wrong.
func TestPassRecordsWhatLapsed(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	g := waiting(t, w.broker)
	state := func(want jit.State) {
		t.Helper()
		if g := w.recorded(g.ID); g.Awaits == "" != (want == jit.StateFailed) {
			t.Errorf("the request waits for %q, want it %s", g.Awaits, want)
		}
	}
	w.sweep()
	state(jit.StateRequested)
	w.now = w.now.Add(3 * time.Hour)
	s := &sweeper.Sweeper{Broker: w.broker, Holder: "test", DryRun: true}
	s.Pass(t.Context())
	state(jit.StateRequested)
	w.ledger.Remote = func() time.Time { return w.now.Add(-90 * time.Minute) }
	w.sweep()
	state(jit.StateRequested)
	w.ledger.Remote = nil
	w.sweep()
	state(jit.StateFailed)
}

// Two daemons record once that a request lapsed, within a minute.
func TestWatchersRecordWhatLapsedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, "db")
		g := waiting(t, w.broker)
		_, stop := w.watch("a")
		defer stop()
		_, stopToo := w.watch("b")
		defer stopToo()
		time.Sleep(time.Hour - time.Second)
		if n := w.events(g, jit.EventLapsed); n != 0 {
			t.Errorf("it lapsed %d times before start_by", n)
		}
		time.Sleep(time.Minute + 2*time.Second)
		if n := w.events(g, jit.EventLapsed); n != 1 {
			t.Errorf("%d events record that it lapsed, want 1", n)
		}
	})
}
