package ledger_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

// A role that may write only the log of its owner cannot use up the id of another owner's grant, nor add to its story.
func TestOwnerForgesGrantsOfAnother(t *testing.T) {
	theirs := ledgertest.Of("other", 1)
	for name, forge := range map[string]func(t *testing.T, forger *ledger.Ledger){
		"a record rebuilt from a marker": func(t *testing.T, forger *ledger.Ledger) {
			g := ledgertest.Grant(1)
			g.ID, g.Reason, g.Renewal = theirs.ID, "", 0
			if err := errors.Join(forger.Write(t.Context(), []jit.Entry{ledgertest.Entry(g)})...); err != nil {
				t.Fatal(err)
			}
		},
		"events": func(t *testing.T, forger *ledger.Ledger) {
			for _, kind := range []jit.EventKind{jit.EventRequested, jit.EventRevoked} {
				e := ledgertest.Event(theirs.ID)
				e.Kind = kind
				entry := jit.Entry{Events: []jit.Event{e}, Owner: "payments"}
				if err := errors.Join(forger.Write(t.Context(), []jit.Entry{entry})...); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, s := bucketURL(t)
			if err := writeGrant(t, open(t, url), 100); err != nil {
				t.Fatal(err)
			}
			mayWrite(s, "payments", "_shared")
			forge(t, onMachine(t, url))
			mayWrite(s, "other", "_shared")
			team := onMachine(t, url)
			if err := errors.Join(team.Write(t.Context(), []jit.Entry{ledgertest.Entry(theirs)})...); err != nil {
				t.Fatal(err)
			}
			for _, l := range []*ledger.Ledger{team, onMachine(t, url)} {
				g, ok, err := l.Lookup(t.Context(), theirs.ID)
				if err != nil || !ok || g.Owner != "other" || g.Reason != theirs.Reason {
					t.Errorf("the record is %+v, %v, %v", g, ok, err)
				}
				events := 0
				for e, err := range l.EventsOf(t.Context(), []jit.ID{theirs.ID}) {
					if events++; err != nil || e.Chain != "other" {
						t.Errorf("an event of the grant: %+v, %v", e, err)
					}
				}
				if events != 1 {
					t.Errorf("%d events of the grant, want 1", events)
				}
			}
		})
	}
}

// Whoever reads a grant with an id that its facts do not lead to, refuses it: the id may be another grant's.
func TestForgedID(t *testing.T) {
	url, s := bucketURL(t)
	l := open(t, url)
	for n := range 3 {
		if err := writeGrant(t, l, n); err != nil {
			t.Fatal(err)
		}
	}
	own, theirs := ledgertest.Grant(2).ID, ledgertest.Of("other", 7).ID
	altered(t, s, objectKey(3), func(text string) string {
		at := strings.Index(text, `"table":"jit_grants"`)
		return text[:at] + strings.Replace(text[at:], string(own), string(theirs), 1)
	})
	_, _, err := onMachine(t, url).Lookup(t.Context(), ledgertest.Grant(0).ID)
	told(t, "reading", err, "commit 3", "payments", string(theirs), "is not that of the grant")
	g := ledgertest.Grant(5)
	g.ID = theirs
	told(t, "a program's own mistake", l.Write(t.Context(), []jit.Entry{ledgertest.Entry(g)})[0], "is not that of the grant")
}

// lastCommit returns the last commit of a log.
func lastCommit(t *testing.T, url, log string) *bucket.Commit {
	t.Helper()
	at, err := bucket.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	var last *bucket.Commit
	for c, err := range bucket.Open(at).Since(t.Context(), log, bucket.Head{}) {
		if last = c; err != nil {
			t.Fatal(err)
		}
	}
	return last
}

// appendForged writes tables as the next commit of a log, which follows the last one as it should.
func appendForged(t *testing.T, url, log string, schema int, tables ...bucket.Table) {
	t.Helper()
	at, err := bucket.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	last := lastCommit(t, url, log)
	err = bucket.Open(at).Append(t.Context(), &bucket.Commit{Ledger: last.Ledger, Chain: log, Number: last.Number + 1,
		Prev: last.Hash, After: last.After, Writer: "forger", ID: "forged", Schema: schema, Tables: tables})
	if err != nil {
		t.Fatal(err)
	}
}

// rowOf returns the row of a table in the last commit of a log, with other values. A nil is a null.
func rowOf(t *testing.T, url, log, table string, values map[string]any) bucket.Table {
	t.Helper()
	tables := lastCommit(t, url, log).Tables
	i := slices.IndexFunc(tables, func(t bucket.Table) bool { return t.Name == table })
	if i < 0 {
		t.Fatalf("the last commit of %s has no %s", log, table)
	}
	row := slices.Clone(tables[i].Rows[0])
	for column, value := range values {
		row[slices.Index(tables[i].Columns, column)] = value
	}
	return bucket.Table{Name: table, Columns: tables[i].Columns, Rows: [][]any{row}}
}

// A value that no reader expects keeps the other owners from nothing: everybody reads the rows of all owners.
func TestForgedValues(t *testing.T) {
	own := ledgertest.Grant(2)
	for name, forged := range map[string]struct {
		table  string
		values map[string]any
		twice  string
	}{
		"no id":                   {"jit_grants", map[string]any{"id": nil, "reason": "", "renewal": 0}, ""},
		"a text as an end":        {"jit_grants", map[string]any{"expires_at": "soon"}, ""},
		"a text as a beginning":   {"jit_grants", map[string]any{"granted_at": "then"}, ""},
		"an end in the year 9e9":  {"jit_grants", map[string]any{"expires_at": json.Number("9000000000000000000")}, ""},
		"a fraction as a version": {"jit_grants", map[string]any{"version": json.Number("1.5")}, ""},
		"a number as a role":      {"jit_grants", map[string]any{"role": 7, "reason": ""}, ""},
		"a column twice":          {"jit_grants", nil, "owner"},
		"a text as due":           {"jit_due", map[string]any{"due_at": "soon"}, ""},
		"a text as a lease":       {"jit_due", map[string]any{"lease_until": "for ever"}, ""},
		"a text as a pass":        {"jit_sweeps", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := bucketURL(t)
			old, theirs := onMachine(t, url), ledgertest.Of("other", 1)
			for _, g := range []jit.Grant{theirs, ledgertest.Grant(1), own} {
				write(t, old, ledgertest.Entry(g))
			}
			table := bucket.Table{Name: "jit_sweeps", Columns: []string{"owner", "target", "swept_at"},
				Rows: [][]any{{"payments", "db", "now"}}}
			if forged.table != "jit_sweeps" {
				table = rowOf(t, url, "payments", forged.table, forged.values)
			}
			if forged.twice != "" {
				table.Columns = append(slices.Clone(table.Columns), forged.twice)
				table.Rows[0] = append(table.Rows[0], "other")
			}
			appendForged(t, url, "payments", lastCommit(t, url, "payments").Schema, table)
			for i, l := range []*ledger.Ledger{old, onMachine(t, url)} {
				_, _, err := l.Lookup(t.Context(), own.ID)
				told(t, "the owner", err, "commit 3", "payments", "a row of")
				readsOn(t, l, theirs, i)
			}
		})
	}
}

// readsOn checks that the due work of a grant is found among that of all owners.
func readsOn(t *testing.T, l *ledger.Ledger, g jit.Grant, holder int) {
	t.Helper()
	if next, err := l.NextDue(t.Context(), nil, g.End.Add(-time.Second)); err != nil || !next.Equal(g.End) {
		t.Errorf("next due %v, %v, want %v", next, err, g.End)
	}
	var found []jit.Grant
	for one, err := range l.Grants(t.Context(), jit.Filter{DueBy: g.End}) {
		if err == nil {
			found = append(found, one)
		} else if !jit.Partial(err, jit.Owners{g.Owner}) {
			t.Errorf("due grants: %v", err)
		}
	}
	due, err := l.AcquireDue(t.Context(), jit.DueQuery{Now: g.End.Add(time.Duration(holder) * time.Hour),
		Holder: fmt.Sprint(holder), Lease: time.Minute, Limit: 10})
	if err != nil || len(due) != 1 || due[0].ID != g.ID || len(found) != 1 || found[0].ID != g.ID {
		t.Errorf("due are %v, %v; listed %v", due, err, found)
	}
	if _, err := l.SweptSince(t.Context(), g.Owner, g.End); err != nil {
		t.Errorf("passes: %v", err)
	}
}

// Two owners record the same id without a reason, one of them to be in the way of the other. Every machine decides the
// same for one of them, in whatever order it reads the logs, and no log is damaged for it.
func TestTwoOwnersRecordAnIDWithoutAReason(t *testing.T) {
	url, _ := bucketURL(t)
	lost := func(owner string) jit.Grant {
		g := ledgertest.Of(owner, 1)
		g.ID, g.Reason, g.Renewal = ledgertest.Of("search", 9).ID, "", 0
		return g
	}
	machines := map[string]*ledger.Ledger{}
	for i, owner := range []string{"payments", "search"} {
		machines[owner] = onMachine(t, url)
		write(t, machines[owner], ledgertest.Entry(ledgertest.Of(owner, 20+i)))
	}
	write(t, machines["payments"], ledgertest.Entry(ledgertest.Of("payments", 30))) // it knows all logs
	for _, owner := range []string{"search", "payments"} {
		write(t, machines[owner], ledgertest.Entry(lost(owner)))
	}
	machines["new"] = onMachine(t, url)
	for name, l := range machines {
		g, ok, err := l.Lookup(t.Context(), lost("search").ID)
		if err != nil || !ok || g.Owner != "payments" {
			t.Errorf("on %s, the record is %+v, %v, %v", name, g, ok, err)
		}
		for _, owner := range []string{"payments", "search"} {
			more := ledgertest.Of(owner, 40+len(name))
			if err := errors.Join(l.Write(t.Context(), []jit.Entry{ledgertest.Entry(more)})...); err != nil {
				t.Errorf("on %s, a write of %s: %v", name, owner, err)
			}
		}
		r, err := l.VerifyOwner(t.Context(), "payments")
		if err != nil || r.Findings() > 0 {
			t.Errorf("on %s: %+v, %v", name, r, err)
		}
	}
}

// A commit in the form of an older program takes no due work from the grant for which its record makes way.
func TestForgedCommitOfAnOlderProgram(t *testing.T) {
	url, _ := bucketURL(t)
	theirs := ledgertest.Of("other", 1)
	old := onMachine(t, url)
	write(t, old, ledgertest.Entry(ledgertest.Grant(1)), ledgertest.Entry(theirs))
	appendForged(t, url, "payments", 16, rowOf(t, url, "payments", "jit_grants",
		map[string]any{"id": string(theirs.ID), "reason": "", "renewal": 0, "due_at": nil}))
	for i, l := range []*ledger.Ledger{old, onMachine(t, url)} {
		q := jit.DueQuery{Owners: jit.Owners{"other"}, Now: theirs.End.Add(time.Duration(i) * time.Hour),
			Holder: fmt.Sprint(i), Lease: time.Minute, Limit: 10}
		if due, err := l.AcquireDue(t.Context(), q); err != nil || len(due) != 1 || due[0].ID != theirs.ID {
			t.Errorf("due are %v, %v", due, err)
		}
	}
}
