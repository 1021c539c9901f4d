package ledger_test

import (
	"errors"
	"strings"
	"testing"

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
