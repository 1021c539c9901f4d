package ledger_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

func ofOwner(owner string, n int) jit.Entry {
	g := ledgertest.Grant(n)
	g.Owner = owner
	return ledgertest.Entry(g)
}

// Promise 11: damage in the chain of one owner is named, and accuses no other.
func TestDamageInOneChainAccusesNoOther(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		l := open(t, url)
		for n := range 6 {
			write(t, l, ofOwner("payments", n), ofOwner("search", 10+n),
				jit.Entry{DropPolicy: "x", Events: []jit.Event{{Kind: jit.EventPolicyRemoved, Policy: "x"}}})
		}
		whole := verify(t, l)
		if !whole.OK() || whole.Events != 18 || len(whole.Chains) != 3 {
			t.Fatalf("%+v", whole)
		}
		db := raw(t, url)
		run(t, db, "UPDATE jit_log SET actor = 'mallory' WHERE chain = 'payments' AND seq = 3",
			"DELETE FROM jit_log WHERE chain = 'payments' AND seq = 5")
		r := verify(t, l)
		var said []string
		for _, d := range r.Damage {
			said = append(said, d.String())
		}
		if got := strings.Join(said, "\n"); got != "event payments/3 was edited: its content does not match its hash\n"+
			"event payments/5 was removed: recorded, but not stored" {
			t.Errorf("found %s", got)
		}
		for _, c := range r.Chains {
			if want := map[string]int64{"_all": 1, "payments": 6, "search": 1}[c.Chain]; c.VouchedFrom != want {
				t.Errorf("chain %s is vouched for from %d, want %d", c.Chain, c.VouchedFrom, want)
			}
		}
		for owner, intact := range map[string]bool{"search": true, "payments": false, "nobody": true} {
			r, err := l.VerifyOwner(t.Context(), owner)
			if err != nil || r.OK() != intact || r.Root != whole.Root {
				t.Errorf("the chain of %s: %+v, %v", owner, r, err)
			}
			if owner == "search" && (r.Events != 12 || r.Grants != 6) {
				t.Errorf("the chain of search has %d events and %d grants", r.Events, r.Grants)
			}
		}
	})
}

// Promise 11: a chain without a row, an event that says that it follows rules it could not know, and one about the
// grant of another owner are found.
func TestForgedChains(t *testing.T) {
	for name, c := range map[string]struct {
		forge func(t *testing.T, l *ledger.Ledger, url string)
		says  string
	}{
		"a chain without a row": {func(t *testing.T, _ *ledger.Ledger, url string) {
			run(t, raw(t, url), "DELETE FROM jit_chains WHERE chain = 'search'")
		}, "event search/1 was inserted: it is after the head"},
		"a chain with another beginning": {func(t *testing.T, _ *ledger.Ledger, url string) {
			run(t, raw(t, url), "UPDATE jit_log SET chain = 'ads' WHERE chain = 'search'",
				"UPDATE jit_chains SET chain = 'ads' WHERE chain = 'search'")
		}, "event ads/1 was edited: its content does not match its hash"},
		"after rules that were never": {func(t *testing.T, l *ledger.Ledger, url string) {
			append1(t, l, url, "search", func(e *jit.Event) { e.After = 9 })
		}, "event search/2 was edited: it does not follow the event of _all"},
		"after older rules than the event before": {func(t *testing.T, l *ledger.Ledger, url string) {
			append1(t, l, url, "search", func(e *jit.Event) { e.After = 0 })
		}, "event search/2 was edited: it does not follow the event of _all"},
		"about the grant of another": {func(t *testing.T, l *ledger.Ledger, url string) {
			append1(t, l, url, "search", func(e *jit.Event) { e.Grant = ledgertest.Grant(1).ID })
		}, "event search/2 about it is in the chain of another owner"},
		"a chain that passes for that of all": {func(t *testing.T, l *ledger.Ledger, url string) {
			run(t, raw(t, url), "UPDATE jit_log SET chain = '' WHERE chain = 'search'",
				"UPDATE jit_chains SET chain = '' WHERE chain = 'search'")
		}, "event /1 was inserted: no owner has that name"},
		"a policy": {func(t *testing.T, l *ledger.Ledger, url string) {
			append1(t, l, url, "search", func(e *jit.Event) { e.Kind, e.Policy = jit.EventPolicyChanged, "forged" })
		}, `policy "forged": event search/2 of an owner changes it`},
	} {
		t.Run(name, func(t *testing.T) {
			url := sqliteURL(t)
			l := open(t, url)
			write(t, l, jit.Entry{DropPolicy: "x", Events: []jit.Event{{Kind: jit.EventPolicyRemoved, Policy: "x"}}})
			write(t, l, ofOwner("payments", 1), ofOwner("search", 2))
			if r := verify(t, l); !r.OK() {
				t.Fatalf("%+v", r)
			}
			c.forge(t, l, url)
			r := verify(t, l)
			var said []string
			for _, d := range r.Damage {
				said = append(said, d.String())
			}
			for _, m := range r.Mismatches {
				said = append(said, m.String())
			}
			if r.OK() || !strings.Contains(strings.Join(said, "\n"), c.says) {
				t.Errorf("found %q, want %q", said, c.says)
			}
		})
	}
}

// append1 appends an event to a chain as somebody who can write to the database would: with hashes that are right.
func append1(t *testing.T, l *ledger.Ledger, url, chain string, change func(*jit.Event)) {
	t.Helper()
	var last jit.Event
	for e, err := range l.Events(t.Context(), chain, 1) {
		if err != nil {
			t.Fatal(err)
		}
		last = e
	}
	e := jit.Event{Chain: chain, Seq: last.Seq + 1, After: last.After, At: ledgertest.Epoch, Kind: jit.EventDrift,
		Actor: jit.Actor{Name: "mallory", Source: jit.FromCLI}, Prev: last.Hash}
	change(&e)
	e.Hash = e.Sum()
	run(t, raw(t, url), fmt.Sprintf("INSERT INTO jit_log (chain, seq, recorded_at, kind, grant_id, policy, actor, "+
		"change_ref, source, detail, after_seq, prev, hash) "+
		"VALUES ('%s', %d, %d, '%s', '%s', '%s', '%s', '', '%s', '', %d, '%s', '%s')", e.Chain, e.Seq,
		e.At.UnixMicro(), e.Kind, e.Grant, e.Policy, e.Name, e.Source, e.After, e.Prev, e.Hash),
		fmt.Sprintf("UPDATE jit_chains SET head_seq = %d, head_hash = '%s' WHERE chain = '%s'", e.Seq, e.Hash, chain))
}

// A head of the chain of an owner that a state remembers and the ledger lacks stops the run.
func TestLostChainOfAnOwner(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		l := open(t, url)
		write(t, l, ofOwner("payments", 1))
		write(t, l, ofOwner("payments", 2), ofOwner("search", 3))
		heads := l.Heads("payments")
		if len(heads) != 1 || heads[0].Place() != "payments/2" {
			t.Fatalf("heads %+v", heads)
		}
		fresh := open(t, url)
		if err := fresh.Recall(t.Context(), heads...); err != nil {
			t.Fatal(err)
		}
		run(t, raw(t, url), "DELETE FROM jit_log WHERE chain = 'payments' AND seq = 2",
			"UPDATE jit_chains SET head_seq = 1, head_hash = (SELECT hash FROM jit_log WHERE chain = 'payments' AND seq = 1) "+
				"WHERE chain = 'payments'")
		current := ofOwner("search", 4)
		current.Current = true
		if strings.HasPrefix(url, "sqlite") { // the file beside it remembers all chains
			rule := jit.Entry{DropPolicy: "x", Current: true, Events: []jit.Event{{Kind: jit.EventPolicyRemoved, Policy: "x"}}}
			if err := open(t, url).Write(t.Context(), []jit.Entry{rule})[0]; !errors.Is(err, jit.ErrBehind) {
				t.Errorf("a write of another chain: %v", err)
			}
		}
		// What this process has seen blocks everybody once it is recorded.
		err := l.Recall(t.Context())
		if !errors.Is(err, jit.ErrBehind) || !strings.Contains(err.Error(), "event payments/2 with") {
			t.Errorf("the process that saw it: %v", err)
		}
		for _, of := range []*ledger.Ledger{l, fresh, open(t, url)} {
			if err := of.Write(t.Context(), []jit.Entry{current})[0]; !errors.Is(err, jit.ErrBehind) {
				t.Errorf("a write: %v", err)
			}
		}
		if r := verify(t, l); !r.OK() && len(r.Damage) > 0 {
			t.Errorf("%v", r.Damage)
		}
	})
}

// Twenty owners write on one server, each in its own process, and no chain waits for another: the writer of one is held
// inside its transaction while another finishes.
func TestOwnersDoNotWaitForEachOther(t *testing.T) {
	url := postgresURL(t)
	write(t, open(t, url), ofOwner("payments", 1), ofOwner("search", 2))
	tx, err := raw(t, url).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), "SELECT 1 FROM jit_chains WHERE chain = 'payments' FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	held, done := open(t, url), make(chan error, 1)
	go func() { done <- held.Write(t.Context(), []jit.Entry{ofOwner("payments", 3)})[0] }()
	write(t, open(t, url), ofOwner("search", 4)) // does not wait
	write(t, open(t, url), jit.Entry{DropPolicy: "x", Events: []jit.Event{{Kind: jit.EventPolicyRemoved, Policy: "x"}}})
	select {
	case err := <-done:
		t.Fatalf("the writer of a locked chain did not wait: %v", err)
	default:
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("the writer still waits")
	}
}
