package cli

import (
	"database/sql"
	"testing"

	_ "modernc.org/sqlite" // to alter a ledger as somebody else would
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
	w.run("audit", "verify").wantCode(exitDone).wantOut("The record is intact", "A cut tail cannot be seen without --head")
	w.run("audit", "head", "--output", "head.json").wantCode(exitDone)
	w.run("audit", "verify", "--head", "head.json").wantCode(exitDone).wantNotOut("A cut tail")
	w.alter("UPDATE jit_grants SET reason = 'INC-2: other'")
	w.run("audit", "verify", "--head", "head.json").wantCode(exitNotDone).wantOut(`reason is "INC-2: other" and the events say "INC-1: look"`).wantErr("not intact")
	w.run("audit", "verify", "--json").wantCode(exitNotDone).wantOut(`"ok": false`, `"mismatch_count": 1`, `"fact": "reason"`, `"head_checked": false`)
	w.run("audit", "head").wantCode(exitNotDone)
}
