package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
)

func TestWrongInput(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		args []string
		says []string
	}{
		{[]string{"frobnicate"}, []string{"error: ", "frobnicate", "jit --help"}},
		{[]string{"list", "--colour"}, []string{"--colour", "jit list --help"}},
		{[]string{"list", "extra"}, []string{"extra"}},
		{[]string{"list", "--state", "gone"}, []string{"error: --state: ", `"gone"`, "active"}},
		{[]string{"list", "--principal", "a["}, []string{"--principal"}},
		{[]string{"show"}, []string{"jit show --help"}},
		{[]string{"show", "42"}, []string{"error: id: ", `"42"`}},
		{[]string{"show", "00000000-0000-8000-8000-000000000000"}, []string{"no grant 00000000"}},
		{[]string{"audit", "export", "--format", "xml"}, []string{"--format", `"xml"`, "csv"}},
		{[]string{"list", "--config", "missing.hcl"}, []string{"missing.hcl", "--config"}},
	} {
		r := w.run(tt.args...).wantCode(exitUsage).wantErr(tt.says...)
		if r.out != "" {
			t.Errorf("%s: an error on stdout: %q", r.line, r.out)
		}
	}
}

func TestWrongSettings(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		says       []string
	}{
		{"bad syntax", "owner = \"payments\"\ntargets = {\n", []string{"jit.hcl:"}},
		{"an unknown attribute", "\n\nlegder = \"x\"\n", []string{"jit.hcl:3: ", "legder"}},
		{"a variable that is not set", "ledger = env(\"JIT_TEST_UNSET\")\n", []string{"jit.hcl:1: ", "JIT_TEST_UNSET"}},
		{"a bad owner", "owner = \"Payments!\"\n", []string{"error: owner: ", "Payments!"}},
		{"a bad ledger", "ledger = \"mysql://root:hunter2@db/jit\"\n", []string{"error: ledger: ", "mysql"}},
		{"a target without a platform", "targets = {\n  bastion = {}\n}\n", []string{"bastion", "no platform"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.write("jit.hcl", tt.text)
			r := w.run("list").wantCode(exitUsage).wantErr(tt.says...)
			if strings.Contains(r.err, "hunter2") {
				t.Errorf("the error tells a secret: %q", r.err)
			}
		})
	}
}

func TestNoSettings(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: a", "1h")
	if err := os.Rename("jit.hcl", "other.hcl"); err != nil {
		t.Fatal(err)
	}
	w.run("list").wantCode(exitUsage).wantErr("there is no jit.hcl", "--config", config.EnvFile)
	w.run("list", "--config", "other.hcl").wantCode(exitDone).wantOut(string(g.ID))
	// The record can be read with nothing but the ledger's URL.
	t.Setenv(config.EnvLedger, "sqlite://ledger.db")
	w.run("list", "--owner", "payments").wantCode(exitDone).wantOut(string(g.ID))
	w.run("show", string(g.ID)).wantCode(exitDone).wantOut("INC-1: a")
}

func TestUnreadableLedger(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: a", "1h")
	unreadableLedger(w)
	for _, args := range [][]string{{"list"}, {"show", string(g.ID)}, {"audit", "export"}, {"audit", "verify"}} {
		w.run(args...).wantCode(exitUnreadable).wantErr("error: ")
	}
}

func TestReadingWritesNothing(t *testing.T) {
	w := newWorld(t)
	for _, args := range [][]string{{"list"}, {"audit", "export"}, {"audit", "verify"}, {"sweep", "--dry-run"}, {"sweep", "--markers-only"}, {"__complete", "show", ""}} {
		w.run(args...).wantCode(exitDone)
	}
	if _, err := os.Stat("ledger.db"); err == nil {
		t.Error("a ledger was made by reading")
	}
}

func TestHelp(t *testing.T) {
	w := newWorld(t)
	w.run().wantCode(exitDone).wantOut("jit.hcl", "sweep", "revoke", "exit-codes")
	w.run("help", "exit-codes").wantCode(exitDone).wantOut("could not be revoked", "could not read", "130")
	w.run("revoke", "--help").wantCode(exitDone).wantOut("Examples:", "--terminate-sessions", "exit codes")
	w.run("version").wantCode(exitDone).wantOut("jit 1.2.3 (go")
	w.run("completion", "bash").wantCode(exitDone).wantOut("__jit")
}

func TestCompletion(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: a", "1h")
	w.run("__complete", "show", "").wantCode(exitDone).wantOut(string(g.ID) + "\tbastion ssh-ed25519")
	w.run("__complete", "list", "--target", "").wantCode(exitDone).wantOut("bastion\n")
	w.run("__complete", "list", "--state", "a").wantCode(exitDone).wantOut("active\n")
	w.write("jit.hcl", "broken")
	w.run("__complete", "show", "").wantCode(exitDone)
}
