package ledgertest

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Epoch is when the suite's grants are requested.
var Epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// Grant returns the n-th grant of the suite: requested at [Epoch], an hour long, and confirmed by its platform a second
// later.
func Grant(n int) jit.Grant {
	b := jit.Binding{Target: "bastion", Principal: "user:alice@example.com", Role: "login", Scope: "host"}
	reason := fmt.Sprintf("INC-%d: look", n)
	return jit.Grant{
		ID: jit.NewID("payments", b, reason, 1), Owner: "payments", Binding: b, Reason: reason, Renewal: 1,
		TTL:         jit.RecordedTTL("1h"),
		Window:      jit.Window{Start: Epoch, End: Epoch.Add(time.Hour)},
		Enforcement: jit.Native, SessionTail: jit.Unlimited,
		RequestedAt: Epoch, GrantedAt: Epoch.Add(time.Second), Holder: 1,
	}
}

// Fit returns a grant with the id that its facts lead to.
func Fit(g jit.Grant) jit.Grant {
	g.ID = jit.NewID(g.Owner, g.Binding, g.Reason, g.Renewal)
	return g
}

// Entry returns an entry with g and one event that holds all its facts.
func Entry(g jit.Grant) jit.Entry {
	version := g.Version
	g.Version = 0
	e := jit.Rewrite(jit.Grant{}, g, Event(g.ID))
	e.Grant.Version = version
	return e
}

// Event returns an event about a grant.
func Event(id jit.ID) jit.Event {
	return jit.Event{
		Kind: jit.EventDrift, Grant: id, Policy: "oncall", At: Epoch,
		Actor:  jit.Actor{Name: "alice", Change: "commit 1234567", Source: jit.FromTerraform},
		Detail: map[string]string{"reason": "INC-1: <look> & \"listen\"", "a": "ä"},
	}
}

// writeRecords writes new grants without events.
func writeRecords(t *testing.T, l jit.Ledger, grants ...jit.Grant) {
	t.Helper()
	entries := make([]jit.Entry, len(grants))
	for i := range grants {
		entries[i] = jit.Entry{Grant: &grants[i]}
	}
	write(t, l, entries...)
}

// concurrently calls do n times at once, and reports its errors.
func concurrently(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = do(i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, l jit.Ledger, entries ...jit.Entry) {
	t.Helper()
	errs := l.Write(t.Context(), entries)
	if len(errs) != len(entries) {
		t.Fatalf("Write returned %d errors for %d entries", len(errs), len(entries))
	}
	for i, err := range errs {
		if err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
}

func read(t *testing.T, l jit.Ledger, id jit.ID) jit.Grant {
	t.Helper()
	g, ok, err := l.Lookup(t.Context(), id)
	if err != nil || !ok {
		t.Fatalf("Lookup(%s) = %v, %v", id, ok, err)
	}
	return g
}

func list(t *testing.T, l jit.Ledger, f jit.Filter) []jit.Grant {
	t.Helper()
	return drain(t, l.Grants(t.Context(), f))
}

func events(t *testing.T, l jit.Ledger, chain string, first int64) []jit.Event {
	t.Helper()
	return drain(t, l.Events(t.Context(), chain, first))
}

// everything returns the events of all chains.
func everything(t *testing.T, l jit.Ledger) []jit.Event {
	t.Helper()
	return drain(t, jit.AllEvents(t.Context(), l))
}

// drain reads a stream to its end.
func drain[T any](t *testing.T, stream iter.Seq2[T, error]) (found []T) {
	t.Helper()
	for one, err := range stream {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, one)
	}
	return found
}

func reasons(grants []jit.Grant) string {
	var all []string
	for _, g := range grants {
		all = append(all, strings.TrimSuffix(strings.TrimPrefix(g.Reason, "INC-"), ": look"))
	}
	return strings.Join(all, " ")
}
