package ledger

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Due work whose grant somebody removed keeps no other grant waiting.
func TestDueWorkWithoutAGrant(t *testing.T) {
	onDatabases(t, func(t *testing.T, url string) {
		l := opened(t, url)
		var last jit.Grant
		for n := range 3 {
			g := due1(t)
			g.Reason, g.End = fmt.Sprint("INC-", n), g.End.Add(time.Duration(n)*time.Minute)
			g.ID = jit.NewID(g.Owner, g.Binding, g.Reason, g.Renewal)
			must(t, put1(t, l, g))
			last = g
		}
		db, err := l.db.writer(t.Context())
		must(t, err)
		_, err = db.ExecContext(t.Context(), "DELETE FROM jit_grants WHERE id <> $1", string(last.ID))
		must(t, err)
		got, err := l.AcquireDue(t.Context(), jit.DueQuery{Owners: jit.Owners{last.Owner}, Now: last.End.Add(time.Hour),
			Holder: "me", Lease: time.Minute, Limit: 2})
		if err != nil || len(got) != 1 || got[0].ID != last.ID {
			t.Errorf("acquired %+v, %v, want the grant that is left", got, err)
		}
	})
}

// Due work with another time than its grant, as somebody may write into the ledger, ends no list late or never.
func TestListOfDueWorkWithOtherTimes(t *testing.T) {
	onDatabases(t, func(t *testing.T, url string) {
		l := opened(t, url)
		var entries []jit.Entry
		for n := range pageSize + 10 {
			g := due1(t)
			g.Reason = fmt.Sprint("INC-", n)
			g.ID = jit.NewID(g.Owner, g.Binding, g.Reason, g.Renewal)
			entries = append(entries, jit.Entry{Grant: &g, Events: []jit.Event{{Kind: jit.EventGranted, Grant: g.ID}}})
		}
		for _, err := range l.Write(t.Context(), entries) {
			must(t, err)
		}
		db, err := l.db.writer(t.Context())
		must(t, err)
		_, err = db.ExecContext(t.Context(), "UPDATE jit_due SET due_at = due_at + 1000000")
		must(t, err)
		found := map[jit.ID]bool{}
		for g, err := range l.Grants(t.Context(), jit.Filter{DueBy: due1(t).End.Add(time.Hour)}) {
			must(t, err)
			if found[g.ID] {
				t.Fatalf("%s is listed twice", g.ID)
			}
			found[g.ID] = true
		}
		if len(found) != len(entries) {
			t.Errorf("%d of %d grants are listed", len(found), len(entries))
		}
	})
}

// Readers of a bucket derive due work with the same statement as the migration.
func TestDerivedDueWorkIsThatOfTheMigration(t *testing.T) {
	words := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	if !slices.ContainsFunc(migrations[dueSchema-1], func(s string) bool { return words(s) == words(deriveDue) }) {
		t.Errorf("the migration to version %d has no statement %q", dueSchema, deriveDue)
	}
}
