package cli

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The key file cannot be written at first. The failed attempt does not count as access, makes no command fail, and does
// not block the same request later.
func TestAnAttemptThatGaveNothingIsClosed(t *testing.T) {
	w := newWorld(t)
	right := filepath.Join(w.dir, "home", ".ssh")
	w.write("jit.hcl", `ledger  = "sqlite://ledger.db"
owner   = "payments"
targets = { bastion = { ssh = { authorized_keys = "`+filepath.Join(right, "authorized_keys")+`" } } }
`)
	keys, second := filepath.Join(right, "authorized_keys"), filepath.Join(w.dir, "second")
	if err := errors.Join(os.MkdirAll(right, 0o700), os.WriteFile(keys, []byte(foreignLine), 0o600),
		os.Link(keys, second)); err != nil {
		t.Fatal(err)
	}
	request := broker.Request{Binding: jit.Binding{Target: "bastion", Principal: w.key(), Role: "login"},
		Reason: "INC-1: look", Renewal: 1, TTL: jit.RecordedTTL("1h")}
	rt := w.runtime()
	if _, err := rt.Broker.Grant(t.Context(), request); err == nil {
		t.Fatal("a file with two names was written")
	}
	_ = rt.Close()
	tells := func() {
		t.Helper()
		w.run("list").wantCode(exitDone).wantErr("No grant matches.")
		w.run("sweep").wantCode(exitDone)
		w.run("list", "--all").wantCode(exitDone).wantOut("failed", "gave nothing").wantNotOut("not removed")
		w.run("report", "--json").wantCode(exitDone).wantOut(`"grants": 0`, `"failed_attempts": 1`, `"overdue": 0`)
	}
	tells()
	w.now = w.now.Add(3 * time.Hour)
	tells()
	var failed []jit.Grant
	w.run("list", "--state", "failed", "--json").wantCode(exitDone).wantOut(`"failure"`).decode(&failed)
	w.run("revoke", string(failed[0].ID), "--reason", "INC-1: close it").wantCode(exitDone)
	w.run("show", string(failed[0].ID)).wantCode(exitDone).wantOut("failed, gave nothing", "failure")

	if err := os.Remove(second); err != nil {
		t.Fatal(err)
	}
	g := w.request(request)
	if g.State(w.now) != jit.StateActive {
		t.Errorf("after the repeated request the grant is %s", g.State(w.now))
	}
	w.run("list").wantCode(exitDone).wantOut("active")
}

// A grant's target is gone for good. The record can be closed by hand, but only while the target cannot be read. Sweeps
// succeed again afterwards.
func TestARecordOfAGoneTargetIsClosed(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: look", "1h")
	id := string(g.ID)
	w.run("revoke", id, "--reason", "INC-1: gone", "--target-gone").wantCode(exitNotDone).wantOut("can be read")
	w.wantAccess(g, true)
	w.write("jit.hcl", "ledger = \"sqlite://ledger.db\"\nowner = \"payments\"\ntargets = {}\n")
	w.now = w.now.Add(2 * time.Hour)
	w.run("revoke", id, "--reason", "INC-1: gone").wantCode(exitNotDone)
	w.run("list").wantCode(exitDone).wantOut("not removed yet")
	w.run("revoke", "--all", "--yes", "--reason", "INC-1: gone", "--target-gone").wantCode(exitUsage)
	w.run("revoke", id, "--reason", "INC-1: the host was scrapped", "--target-gone").wantCode(exitDone)
	w.run("list").wantCode(exitDone).wantErr("No grant matches.")
	w.run("sweep").wantCode(exitDone)
	w.run("show", id).wantCode(exitDone).wantOut("closed without a look", "the host was scrapped")
	w.run("audit", "verify").wantCode(exitDone)
}
