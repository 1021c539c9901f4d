package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
)

// older takes the ledger back to the schema before the newest, which added two columns to jit_ledger.
func (w *world) older() {
	w.t.Helper()
	for _, undo := range []string{
		"ALTER TABLE jit_ledger DROP COLUMN readable_since", "ALTER TABLE jit_ledger DROP COLUMN writable_since",
		"UPDATE jit_ledger SET schema_version = 17",
	} {
		w.alter(undo)
	}
}

func TestLedgerMigrate(t *testing.T) {
	w := newWorld(t)
	w.run("ledger", "migrate").wantCode(exitUnreadable).wantErr("there is no ledger yet")
	g := w.grant("INC-1: a", "2h")
	w.run("ledger", "migrate").wantCode(exitDone).wantOut("Nothing to do")
	w.older()
	w.run("ledger", "migrate", "--dry-run").wantCode(exitDone).wantOut("would go from schema version 17 to 18", "can read it")
	var i ledger.Info
	w.run("list").wantCode(exitDone).wantOut(string(g.ID)) // reading migrates nothing
	if w.run("ledger", "info", "--json").decode(&i); i.Schema != 17 {
		t.Errorf("schema %d", i.Schema)
	}
	var m struct {
		ledger.Migration
		DryRun bool `json:"dry_run"`
	}
	w.run("ledger", "migrate", "--json").wantCode(exitDone).wantErr("schema version 18 of 18").decode(&m)
	if m.From != 17 || m.To != 18 || m.DryRun || !strings.HasPrefix(m.Name, "sqlite://") || m.WritableSince != 18 {
		t.Errorf("%+v", m)
	}
	if w.run("ledger", "info", "--json").decode(&i); i.Schema != 18 {
		t.Errorf("schema %d", i.Schema)
	}
	w.run("audit", "verify").wantCode(exitDone)
	w.run("ledger", "migrate", "now").wantCode(exitUsage).wantErr("now")

	// A newer program locked this one out, or lets it read.
	w.alter("UPDATE jit_ledger SET schema_version = 99, readable_since = 18, writable_since = 99")
	w.run("list").wantCode(exitDone).wantOut(string(g.ID))
	w.run("audit", "verify").wantCode(exitDone)
	w.run("ledger", "migrate").wantCode(exitUnreadable).wantErr("schema version 99", "can read this one but not write to it", "update")
	w.run("revoke", string(g.ID), "--reason", "SEC-1").wantCode(exitNotDone).wantOut("unrecorded")
	w.wantAccess(g, false)
	w.run("sweep").wantOut("repair", "failed")
	w.wantAccess(g, false)
	w.alter("UPDATE jit_ledger SET readable_since = 99")
	w.run("list").wantCode(exitUnreadable).wantErr("schema version 99", "update")
}

// A newer program keeps this one from writing, or from reading too. What is over ends all the same, by its marker.
func TestEndsOnANewerLedger(t *testing.T) {
	for _, readable := range []string{"18", "99"} {
		w := newWorld(t)
		g := w.grant("INC-1: a", "2h")
		w.alter("UPDATE jit_ledger SET schema_version = 99, writable_since = 99, readable_since = " + readable)
		w.now = w.now.Add(3 * time.Hour)
		w.run("sweep").wantCode(exitUnreadable).wantOut("remove", "done").wantErr("schema version 99", "update")
		if w.line(g) != "" {
			t.Error("the access is still there")
		}
	}
}
