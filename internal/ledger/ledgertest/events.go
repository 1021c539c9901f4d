package ledgertest

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func testWriters(t *testing.T, l jit.Ledger) {
	const writers, rounds = 50, 5
	concurrently(t, writers, func(w int) error {
		for r := range rounds {
			own, shared := Grant(1000+w*rounds+r), Grant(r)
			errs := l.Write(t.Context(), []jit.Entry{Entry(own), Entry(shared)})
			if errors.Is(errs[1], jit.ErrStale) {
				errs[1] = nil
			}
			if err := errors.Join(errs...); err != nil {
				return err
			}
		}
		return nil
	})
	if got, want := len(list(t, l, jit.Filter{})), writers*rounds+rounds; got != want {
		t.Errorf("%d grants, want %d", got, want)
	}
	if got, want := checkChain(t, l), writers*rounds+rounds; got != want {
		t.Errorf("%d events, want %d: one for each grant", got, want)
	}
}

// checkChain returns the number of events.
func checkChain(t *testing.T, l jit.Ledger) int {
	t.Helper()
	all := events(t, l, 1)
	for i, e := range all {
		if e.Seq != int64(i+1) || e.Sum() != e.Hash || i > 0 && e.Prev != all[i-1].Hash || e.Prev == "" {
			t.Fatalf("event %d does not continue the chain: %+v", i+1, e)
		}
	}
	return len(all)
}

func testEvents(t *testing.T, l jit.Ledger) {
	start := time.Now()
	written := Event(Grant(1).ID)
	written.At = Epoch.Add(1234567 * time.Nanosecond).In(time.FixedZone("somewhere", 3600))
	unclocked := jit.Event{Kind: jit.EventDrift, Actor: jit.Actor{Source: jit.FromSweeper}}
	write(t, l, jit.Entry{Events: []jit.Event{written, unclocked}})
	many := make([]jit.Event, 2100)
	for i := range many {
		many[i] = Event("")
	}
	write(t, l, jit.Entry{Events: many})
	if got := checkChain(t, l); got != 2102 {
		t.Fatalf("%d events, want 2102", got)
	}
	all := events(t, l, 1)
	want := written
	want.At = Epoch.Add(1234 * time.Microsecond)
	want.Seq, want.Prev, want.Hash = 1, all[0].Prev, all[0].Hash
	if !reflect.DeepEqual(all[0], want) {
		t.Errorf("read back\n%+v\nwant\n%+v", all[0], want)
	}
	if d := all[1].At.Sub(start); d < -time.Second || d > time.Minute {
		t.Errorf("an event without a time was recorded at %s, %s after the start", all[1].At, d)
	}
	if got := events(t, l, 2100); len(got) != 3 || got[0].Seq != 2100 {
		t.Errorf("from 2100 on there are %d events", len(got))
	}
}
