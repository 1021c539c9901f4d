package cli

import (
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// story records a grant, a revocation and an expiry.
func story(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	t.Setenv(config.EnvChange, "=HYPERLINK(\"http://evil.example.com\")")
	a := w.grant("INC-1: a", "1h")
	w.grant("@INC-2: b, \"quoted\"", "30m")
	w.run("revoke", string(a.ID), "--reason", "done").wantCode(exitDone)
	w.now = w.now.Add(time.Hour)
	w.run("sweep").wantCode(exitDone)
	return w
}

func TestAuditVerifyFindsTampering(t *testing.T) {
	w := newWorld(t)
	w.run("audit", "verify").wantCode(exitDone).wantOut("intact: 0 events")
	w = story(t)
	var intact struct {
		OK     bool
		Events int
		Root   string
	}
	w.run("audit", "verify").wantCode(exitDone).wantOut("The record is intact: ")
	w.run("audit", "verify", "--json").wantCode(exitDone).decode(&intact)
	if !intact.OK || intact.Events < 6 || len(intact.Root) != 64 {
		t.Errorf("got %+v", intact)
	}

	db, err := sql.Open("sqlite", "ledger.db")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Exec("DELETE FROM jit_log WHERE chain = 'payments' AND seq = 3"); err != nil {
		t.Fatal(err)
	}
	w.run("audit", "verify").wantCode(exitNotDone).
		wantOut("event payments/3 was removed", "The head of chain payments vouches for events 4 to ").
		wantErr("not intact")
	var broken struct {
		OK     bool
		Damage []struct {
			Kind  string
			First int
		}
	}
	w.run("audit", "verify", "--json").wantCode(exitNotDone).decode(&broken)
	if broken.OK || len(broken.Damage) != 1 || broken.Damage[0].First != 3 {
		t.Errorf("got %+v", broken)
	}
}

// The chain can be checked from the exported lines alone.
func TestAuditExportJSON(t *testing.T) {
	w := story(t)
	out := w.run("audit", "export").wantCode(exitDone).out
	last := map[string]jit.Event{}
	n := 0
	for line := range strings.Lines(out) {
		var e jit.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("line %d: %v: %s", n+1, err, line)
		}
		n++
		before := last[e.Chain]
		if e.Chain == "" || e.Seq != before.Seq+1 || e.Sum() != e.Hash || e.Seq > 1 && e.Prev != before.Hash {
			t.Errorf("line %d does not continue its chain: %s", n, line)
		}
		last[e.Chain] = e
	}
	if n < 6 {
		t.Errorf("%d events, want at least 6", n)
	}

	w.run("audit", "export", "--output", "events.jsonl").wantCode(exitDone)
	text, err := os.ReadFile("events.jsonl")
	if err != nil || string(text) != out {
		t.Errorf("the file differs from standard output: %v\n%s", err, text)
	}
	if info, err := os.Stat("events.jsonl"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	w.run("audit", "export", "--output", "no/such/directory").wantCode(exitNotDone).wantErr("no/such/directory")
}

func TestAuditExportCSV(t *testing.T) {
	empty := newWorld(t)
	if out := empty.run("audit", "export", "--format", "csv").wantCode(exitDone).out; strings.TrimSpace(
		out) != "chain,seq,at,kind,grant,policy,actor,change,source,detail,after,prev,hash" {
		t.Errorf("an empty record is exported as %q", out)
	}
	w := story(t)
	rows, err := csv.NewReader(strings.NewReader(w.run("audit", "export", "--format",
		"csv").wantCode(exitDone).out)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	events := strings.Count(w.run("audit", "export").wantCode(exitDone).out, "\n")
	if len(rows) != events+1 {
		t.Errorf("%d rows for %d events and a heading", len(rows), events)
	}
	for _, row := range rows[1:] {
		if change := row[7]; change != "'=HYPERLINK(\"http://evil.example.com\")" {
			t.Errorf("a formula in the change column is exported as %q", change)
		}
		for _, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
				t.Errorf("a spreadsheet would run the cell %q", cell)
			}
		}
	}
}

func TestHarmless(t *testing.T) {
	for cell, want := range map[string]string{
		"": "", "a=b": "a=b", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM": "'@SUM", "\tx": `\u{9}x`,
		"a;=1": "a;'=1", "'=1": "''=1", "＝1": "'＝1", "é": "é",
	} {
		if got := harmless(cell); got != want {
			t.Errorf("harmless(%q) = %q, want %q", cell, got, want)
		}
	}
}
