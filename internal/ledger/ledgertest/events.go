package ledgertest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
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
	if got, want := checkChains(t, l), writers*rounds+rounds; got != want {
		t.Errorf("%d events, want %d: one for each grant", got, want)
	}
}

// checkChains checks every chain and returns the number of all events.
func checkChains(t *testing.T, l jit.Ledger) (n int) {
	t.Helper()
	id, err := l.ID(t.Context())
	tips, err2 := l.Chains(t.Context())
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	for _, tip := range tips {
		last := jit.Event{Hash: jit.Genesis(id, tip.Chain)}
		for _, e := range events(t, l, tip.Chain, 1) {
			if e.Chain != tip.Chain || e.Seq != last.Seq+1 || e.Sum() != e.Hash || e.Prev != last.Hash || e.After < last.After ||
				e.Chain == jit.AllChain && e.After != 0 {
				t.Fatalf("event %s does not continue the chain: %+v", e.Place(), e)
			}
			last = e
			n++
		}
		if last.Seq != tip.Seq || last.Hash != tip.Hash {
			t.Fatalf("chain %s ends with %s %s, want %+v", tip.Chain, last.Place(), last.Hash, tip)
		}
	}
	return n
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
	if got := checkChains(t, l); got != 2102 {
		t.Fatalf("%d events, want 2102", got)
	}
	all := events(t, l, jit.AllChain, 1)
	want := written
	want.At = Epoch.Add(1234 * time.Microsecond)
	want.Chain, want.Seq, want.Prev, want.Hash = jit.AllChain, 1, all[0].Prev, all[0].Hash
	if !reflect.DeepEqual(all[0], want) {
		t.Errorf("read back\n%+v\nwant\n%+v", all[0], want)
	}
	if d := all[1].At.Sub(start); d < -time.Second || d > time.Minute {
		t.Errorf("an event without a time was recorded at %s, %s after the start", all[1].At, d)
	}
	if got := events(t, l, jit.AllChain, 2100); len(got) != 3 || got[0].Seq != 2100 {
		t.Errorf("from 2100 on there are %d events", len(got))
	}
}

// testChains: the events of each owner are in its chain, and say after which event of the chain of all they were
// recorded.
func testChains(t *testing.T, l jit.Ledger) {
	policy := func(name string) jit.Entry {
		return jit.Entry{Policy: &jit.Policy{Name: name, Effect: jit.Permit},
			Events: []jit.Event{{Kind: jit.EventPolicyChanged, Policy: name, At: Epoch, Actor: Event("").Actor}}}
	}
	ours, theirs := Grant(1), Of("other", 2)
	write(t, l, Entry(ours))
	write(t, l, policy("a"), Entry(theirs), policy("b"))
	stray, known := Event("4711"), Event(theirs.ID)
	write(t, l, jit.Entry{Events: []jit.Event{stray}, Owner: "third"},
		jit.Entry{Events: []jit.Event{known}, Owner: "third"},
		jit.Entry{Events: []jit.Event{Event("4712")}}, jit.Entry{Events: []jit.Event{Event("4713")}, Owner: "No owner"})
	if n := checkChains(t, l); n != 8 {
		t.Errorf("%d events, want 8", n)
	}
	var got []string
	for _, chain := range []string{"_all", "other", "payments", "third", "nobody"} {
		for _, e := range events(t, l, chain, 1) {
			got = append(got, fmt.Sprintf("%s %s after %d", e.Place(), e.Kind, e.After))
		}
	}
	want := []string{
		"_all/1 policy_changed after 0", "_all/2 policy_changed after 0",
		"_all/3 drift_found after 0", "_all/4 drift_found after 0",
		"other/1 drift_found after 1", "other/2 drift_found after 2", "payments/1 drift_found after 0",
		"third/1 drift_found after 2",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	merged := map[string]int64{}
	for _, e := range drain(t, jit.AllEvents(t.Context(), l)) {
		if merged[e.Chain]++; merged[e.Chain] != e.Seq {
			t.Errorf("%s is not in the order of its chain", e.Place())
		}
	}
	if len(merged) != 4 {
		t.Errorf("merged %v", merged)
	}
	if of := drain(t, l.EventsOf(t.Context(), []jit.ID{theirs.ID})); len(of) != 2 || of[0].Place() != "other/1" {
		t.Errorf("events of a grant %+v", of)
	}
}

// testManyOwners writes of many owners at once, with policies in between: no chain has a gap, and nothing waits for
// ever.
func testManyOwners(t *testing.T, l jit.Ledger) {
	const owners, rounds = 12, 8
	concurrently(t, owners, func(o int) error {
		for r := range rounds {
			a, b := Of(fmt.Sprintf("team-%d", o), r), Of(fmt.Sprintf("team-%d", (o+1)%owners), 50+r)
			entries := []jit.Entry{Entry(a), Entry(b)}
			if r%3 == 0 {
				removed := jit.Event{Kind: jit.EventPolicyRemoved, Policy: "x"}
				entries = append(entries, jit.Entry{DropPolicy: "x", Events: []jit.Event{removed}})
			}
			if err := errors.Join(l.Write(t.Context(), entries)...); err != nil {
				return err
			}
		}
		return nil
	})
	if got, want := checkChains(t, l), owners*(2*rounds+3); got != want {
		t.Errorf("%d events, want %d", got, want)
	}
}
