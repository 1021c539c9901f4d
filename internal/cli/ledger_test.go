package cli

import (
	"database/sql"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// backUp backs the ledger up as the guide says, and restore puts it back. A daemon may have the file open, so restore
// replaces what is in it.
func (w *world) backUp(into string) {
	w.t.Helper()
	db, err := sql.Open("sqlite", "ledger.db")
	if err == nil {
		_, err = db.ExecContext(w.t.Context(), "VACUUM INTO ?", into)
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) restore(from string) {
	w.t.Helper()
	db, err := sql.Open("sqlite", "ledger.db?_busy_timeout=10000&_txlock=immediate")
	if err != nil {
		w.t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	run := func(statement string) {
		w.t.Helper()
		if _, err := db.ExecContext(w.t.Context(), statement); err != nil {
			w.t.Fatal(err)
		}
	}
	run("ATTACH DATABASE '" + from + "' AS kept")
	run("BEGIN IMMEDIATE")
	for _, table := range []string{"jit_ledger", "jit_grants", "jit_due", "jit_events", "jit_log", "jit_chains", "jit_policies",
		"jit_persons", "jit_leases"} {
		run("DELETE FROM main." + table)
		run("INSERT INTO main." + table + " SELECT * FROM kept." + table)
	}
	run("COMMIT")
	if err := db.Close(); err != nil {
		w.t.Fatal(err)
	}
}

// A backup that is put back under a running daemon gives no revoked access back, neither before nor after somebody
// accepts it. Ending goes on, everything says what has happened, and no id of a notice is used for two events.
func TestRestoredBackupGrantsNothingAgain(t *testing.T) {
	w := newWorld(t)
	h := w.newHook("")
	w.run("sweep").wantCode(exitDone)
	revoked, kept, early := w.grant("INC-1: a", "2h"), w.grant("INC-2: b", "2h"), w.grant("INC-3: c", "2h")
	w.backUp("backup.db")
	_, errs, stop := w.daemon("--interval", "1s", "--drift-interval", "1s")
	eventually(t, "the daemon watches", func() bool { return strings.Contains(errs.String(), "msg=watching") })
	w.run("revoke", string(revoked.ID), "--reason", "SEC-1: stolen laptop").wantCode(exitDone)
	eventually(t, "the revocation is sent", func() bool { return strings.Contains(h.got(), "revoked") })
	lost := w.grant("INC-4: d", "2h")

	w.restore("backup.db")
	eventually(t, "the daemon says so", func() bool { return strings.Contains(errs.String(), "has gone back in time") })
	eventually(t, "the notice says so", func() bool { return strings.Contains(h.got(), "ledger_behind") })
	w.wantAccess(revoked, false)
	w.wantAccess(kept, true)
	w.wantAccess(lost, true)
	w.run("list").wantCode(exitDone).wantErr("has gone back in time", "jit ledger accept --reason")
	w.run("sweep").wantCode(exitUnreadable).wantErr("has gone back in time")
	w.run("audit", "verify").wantCode(exitNotDone).wantErr("has gone back in time")
	another := broker.Request{Binding: jit.Binding{Target: "bastion", Principal: w.key(), Role: "login"},
		Reason: "INC-5: e", Renewal: 1, TTL: jit.RecordedTTL("1h")}
	rt := w.runtime()
	if _, err := rt.Broker.Grant(t.Context(), another); !errors.Is(err, jit.ErrBehind) {
		t.Errorf("a grant: %v", err)
	}
	if err := rt.Broker.PutPolicy(t.Context(), jit.Policy{Name: "p", Effect: jit.Permit}); !errors.Is(err, jit.ErrBehind) {
		t.Errorf("a policy: %v", err)
	}
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
	w.run("revoke", string(early.ID), "--reason", "done").wantCode(exitDone)
	w.wantAccess(early, false)

	w.run("ledger", "accept").wantCode(exitUsage).wantErr("--reason")
	w.run("ledger", "accept", "--reason", "OPS-1: lost", "--epoch", "e").wantCode(exitUsage).wantErr("--epoch")
	w.answer("no\n", "ledger", "accept", "--reason", "OPS-1: the disk died").wantCode(exitNotDone).
		wantErr("missing: will count as ended", "not confirmed")
	w.answer("accept\n", "ledger", "accept", "--reason", "OPS-1: the disk died").wantCode(exitDone).
		wantOut("1 grant counted as ended")
	eventually(t, "the daemon goes on", func() bool { return strings.Contains(errs.String(), "problem solved") })
	w.run("sweep").wantNotOut("repair")
	w.wantAccess(revoked, false)
	w.wantAccess(kept, true)
	w.run("list", "--all").wantOut("revoked")
	w.run("audit", "verify").wantCode(exitDone)
	w.request(another)
	eventually(t, "notices go on", func() bool { return strings.Contains(h.got(), "ledger_restored") })
	if code := stop(); code != exitDone {
		t.Errorf("exit code %d:\n%s", code, errs)
	}
	w.run("sweep")
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, about := range h.about {
		if len(about) > 1 {
			t.Errorf("the id %s was used for %d events", id, len(about))
		}
	}
}

// What an acceptance cannot read counts as ended all the same: a later sweep ends it instead of putting it back, and so
// does a start that was due.
func TestMissingAfterAcceptCountsAsEnded(t *testing.T) {
	w := newWorld(t)
	revoked, kept := w.grant("INC-1: a", "8h"), w.grant("INC-2: b", "8h")
	later := w.request(broker.Request{
		Binding: jit.Binding{Target: "bastion", Principal: w.key(), Role: "login"}, Reason: "INC-3: c", Renewal: 1,
		TTL: jit.RecordedTTL("1h"), StartsAt: w.now.Add(time.Hour),
	})
	w.backUp("backup.db")
	w.run("revoke", string(revoked.ID), string(later.ID), "--reason", "SEC-1: stolen laptop").wantCode(exitDone)
	w.restore("backup.db")
	if err := os.Rename(w.keys, w.keys+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(w.keys, 0o700); err != nil {
		t.Fatal(err)
	}
	var accepted struct {
		Behind bool
		Grants []struct {
			ID       jit.ID
			OnTarget onTarget `json:"on_target"`
		}
		Unread []string
	}
	w.run("ledger", "accept", "--reason", "OPS-1: the disk died", "--yes", "--json").
		wantCode(exitUnreadable).decode(&accepted)
	if !accepted.Behind || len(accepted.Grants) != 3 || accepted.Grants[0].OnTarget != isUnread ||
		len(accepted.Unread) != 1 {
		t.Errorf("accepted %+v", accepted)
	}
	if err := errors.Join(os.Remove(w.keys), os.Rename(w.keys+".away", w.keys)); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(90 * time.Minute)
	w.run("sweep")
	w.run("sweep").wantCode(exitDone)
	w.wantAccess(revoked, false)
	w.wantAccess(later, false)
	w.wantAccess(kept, true)
	for _, g := range []jit.Grant{revoked, later} {
		w.run("show", string(g.ID)).wantOut("counts as ended")
	}
	// What is granted after the acceptance is repaired as ever.
	after := w.grant("INC-4: d", "1h")
	text := strings.ReplaceAll(w.read("authorized_keys"), after.Principal, "")
	w.write("authorized_keys", text)
	w.run("sweep").wantCode(exitDone)
	w.wantAccess(after, true)
}
