package ledgertest

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// testRules reads the changes of policies and persons apart from other events, and tells which runs made some.
func testRules(t *testing.T, l jit.Ledger) {
	by := func(kind jit.EventKind, run string) jit.Event {
		e := Event("")
		e.Kind, e.Detail = kind, map[string]string{"person": "bob", jit.RunDetail: run}
		return e
	}
	changed := func(run string, want bool) {
		t.Helper()
		if got, err := l.ChangedRules(t.Context(), run); err != nil || got != want {
			t.Errorf("run %q has changed rules: %t, %v; want %t", run, got, err, want)
		}
	}
	seqs := func(first int64, want ...int64) {
		t.Helper()
		var got []int64
		for e, err := range l.Rules(t.Context(), first) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Seq)
		}
		if !slices.Equal(got, want) {
			t.Errorf("from %d on, events %v change rules; want %v", first, got, want)
		}
	}
	changed("a", false)
	seqs(1)
	write(t, l, Entry(Grant(1)), jit.Entry{Events: []jit.Event{by(jit.EventGranted, "b")}})
	bob := jit.Person{Name: "bob"}
	write(t, l, jit.Entry{Person: &bob,
		Events: []jit.Event{by(jit.EventPersonChanged, "a"), by(jit.EventPersonRemoved, "a")}})
	write(t, l, jit.Entry{Events: []jit.Event{by(jit.EventPolicyChanged, ""), Event("")}},
		jit.Entry{DropPolicy: "x", Events: []jit.Event{by(jit.EventPolicyRemoved, "a")}})
	changed("a", true)
	changed("b", false)
	changed("", false)
	seqs(1, 2, 3, 4, 6)
	seqs(4, 4, 6)
}

// testOnlyUnsigned: of many grants of one requester that begin without approval at the same time, one is recorded,
// until somebody signs it off.
func testOnlyUnsigned(t *testing.T, l jit.Ledger) {
	entry := func(n int, requester string) jit.Entry {
		g := Grant(n)
		g.BreakGlass, g.Awaits, g.Requester = true, "1 of: lea", requester
		e := Entry(g)
		e.OnlyUnsigned = true
		return e
	}
	var first atomic.Int64
	concurrently(t, 8, func(n int) error {
		err := l.Write(t.Context(), []jit.Entry{entry(n+1, []string{"bob", "BOB"}[n%2])})[0]
		if err == nil && first.Swap(int64(n+1)) != 0 {
			return errors.New("two grants of one requester are recorded")
		}
		if errors.Is(err, jit.ErrStale) {
			return nil
		}
		return err
	})
	errs := l.Write(t.Context(), []jit.Entry{entry(21, "eve"), entry(22, "Eve"), entry(23, "bob"), Entry(Grant(24))})
	for i, refused := range []bool{false, true, true, false} {
		if errors.Is(errs[i], jit.ErrStale) != refused || (errs[i] != nil) != refused {
			t.Errorf("entry %d: %v, want it to be refused: %t", i, errs[i], refused)
		}
	}
	g := read(t, l, Grant(int(first.Load())).ID)
	g.SignedOffAt, g.SignedOffBy = Epoch, "lea"
	errs = l.Write(t.Context(), []jit.Entry{Entry(g), entry(25, "bob"), entry(26, "bob")})
	for i, refused := range []bool{false, false, true} {
		if errors.Is(errs[i], jit.ErrStale) != refused || (errs[i] != nil) != refused {
			t.Errorf("after the sign-off, entry %d: %v, want it to be refused: %t", i, errs[i], refused)
		}
	}
}
