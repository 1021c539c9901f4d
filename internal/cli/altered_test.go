package cli

import (
	"database/sql"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // to alter the ledger's file directly

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// alter writes into the ledger's file behind the program's back.
func (w *world) alter(statement string) {
	w.t.Helper()
	db, err := sql.Open("sqlite", "ledger.db")
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(w.t.Context(), statement); err != nil {
		w.t.Fatal(err)
	}
}

func TestVerifyNamesARewrittenRow(t *testing.T) {
	w := newWorld(t)
	w.grant("INC-1: look", "2h")
	w.run("audit", "verify").wantCode(exitDone).
		wantOut("The record is intact", "A cut tail goes unnoticed without --head")
	w.run("audit", "head", "--output", "head.json").wantCode(exitDone)
	w.run("audit", "verify", "--head", "head.json").wantCode(exitDone).wantNotOut("A cut tail")
	w.alter("UPDATE jit_grants SET reason = 'INC-2: other'")
	w.run("audit", "verify", "--head", "head.json").wantCode(exitNotDone).
		wantOut(`reason is "INC-2: other" and the events say "INC-1: look"`).wantErr("not intact")
	w.run("audit", "verify", "--json").wantCode(exitNotDone).
		wantOut(`"ok": false`, `"mismatch_count": 1`, `"fact": "reason"`, `"head_checked": false`)
	w.run("audit", "head").wantCode(exitNotDone)
}

// Somebody moves the end of a grant in the ledger by ten years. No sweep writes that end to the target, and the access
// ends at its original end.
func TestASweepBringsNoForgedEndToATarget(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: look", "2h")
	before := w.line(g)
	for _, forgery := range []string{
		"expires_at = expires_at + 315360000000000",
		"role = 'command:/bin/sh'",
	} {
		w.alter("UPDATE jit_grants SET " + forgery)
		w.run("sweep").wantCode(exitNotDone).wantOut("the record was altered", "critical")
		if after := w.line(g); after != before {
			t.Errorf("%s: the line became\n%s\nwant\n%s", forgery, after, before)
		}
	}
	w.now = w.now.Add(3 * time.Hour)
	w.run("sweep").wantOut("the record was altered")
	w.wantAccess(g, false)
	w.run("audit", "verify").wantCode(exitNotDone).wantOut("expires_at", "role")
}

// Somebody clears the due time of a live grant in the ledger. Its access still ends.
func TestAGrantThatIsNeverDueEnds(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: look", "2h")
	w.alter("DELETE FROM jit_due")
	w.now = w.now.Add(2*time.Hour + 2*time.Minute)
	w.run("sweep").wantCode(exitDone).wantOut("end", "done", string(g.ID))
	w.wantAccess(g, false)
	if line := w.read("authorized_keys"); strings.Contains(line, g.Principal) {
		t.Errorf("the key file still holds %s", line)
	}
	w.run("show", string(g.ID)).wantOut("expired")
	w.run("sweep").wantCode(exitDone).wantErr("Nothing to do.")
}

// Somebody deletes a grant from the ledger. It is not recorded again, and its access ends.
func TestADeletedGrantIsNotRecordedAnew(t *testing.T) {
	w := newWorld(t)
	request := broker.Request{Binding: jit.Binding{Target: "bastion", Principal: w.key(), Role: "login"},
		Reason: "INC-1: look", Renewal: 1, TTL: jit.RecordedTTL("2h")}
	g := w.request(request)
	w.alter("DELETE FROM jit_grants")
	w.run("adopt").wantCode(exitNotDone).
		want("output", w.run("adopt").err+w.run("adopt").out, []string{"was removed", "jit audit verify"})
	rt := w.runtime()
	if _, err := rt.Broker.Grant(t.Context(), request); !errors.Is(err, jit.ErrAltered) {
		t.Errorf("the repeated request returned %v, want ErrAltered", err)
	}
	_ = rt.Close()
	w.run("audit", "verify").wantCode(exitNotDone).wantOut(string(g.ID) + ": its row was removed")
	w.now = w.now.Add(3 * time.Hour)
	w.run("sweep")
	w.wantAccess(g, false)
}

// line returns a grant's line in the key file.
func (w *world) line(g jit.Grant) string {
	w.t.Helper()
	text, err := os.ReadFile(w.keys)
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, string(g.ID)) {
			return line
		}
	}
	return ""
}
