package cli

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func TestWrongInput(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		args []string
		says []string
	}{
		{[]string{"frobnicate"}, []string{"error: ", "frobnicate", "jit --help"}},
		{[]string{"help", "lst"}, []string{"did you mean list"}},
		{[]string{"help", "audit", "verfy"}, []string{"did you mean verify?"}},
		{[]string{"completion", "bsh"}, []string{"did you mean bash"}},
		{[]string{"list", "--colour"}, []string{"--colour", "jit list --help"}},
		{[]string{"list", "extra"}, []string{"extra"}},
		{[]string{"list", "--state", "gone"}, []string{"error: --state: ", `"gone"`, "active"}},
		{[]string{"list", "--principal", "a["}, []string{"--principal"}},
		{[]string{"lst"}, []string{`unknown command "lst" for "jit"`, "did you mean list", "Usage: jit COMMAND"}},
		{[]string{"audit", "verfy"}, []string{"did you mean verify?", "Usage: jit audit COMMAND"}},
		{[]string{"list", "--targt", "x"}, []string{"--targt", "did you mean --target?", "Usage: jit list [flags]"}},
		{[]string{"list", "-z"}, []string{"unknown shorthand flag", "Usage: jit list [flags]"}},
		{[]string{"list", "--state", "actve"}, []string{"did you mean active?", "Usage: jit list [flags]"}},
		{[]string{"list", "--target"}, []string{"flag needs an argument: --target", "Usage: jit list"}},
		{[]string{"list", "--timeout", "0s"}, []string{"--timeout: 0s is not a positive duration", "Usage: jit list"}},
		{[]string{"show"}, []string{"ID is missing", "jit list", "Usage: jit show ID", "jit show --help"}},
		{[]string{"show", "3f2b8c1e", "fcb53cdf"}, []string{"give one ID, not 2", "Usage: jit show ID"}},
		{[]string{"show", "42"}, []string{"error: id: ", `"42"`, "Usage: jit show ID"}},
		{[]string{"show", "alice"}, []string{"error: id: ", `"alice"`}},
		{[]string{"revoke"}, []string{"nothing says which grants to revoke", "Usage: jit revoke {ID... |"}},
		{[]string{"sweep", "--due", "--markers-only"}, []string{"--due", "Usage: jit sweep"}},
		{[]string{"report"}, []string{"choose one form of output", "-o report.html", "Usage: jit report"}},
		{[]string{"audit", "export", "--format", "xml"},
			[]string{"--format", `"xml"`, "csv", "Usage: jit audit export"}},
		{[]string{"audit", "export", "--since", "yesterday"}, []string{"--since", `"yesterday"`}},
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
		{"a bad owner", "owner = \"Payments!\"\n", []string{"error: jit.hcl:1: owner: ", "Payments!"}},
		{"a bad ledger", "ledger = \"mysql://root:hunter2@db/jit\"\n", []string{"error: jit.hcl:1: ledger: ", "mysql"}},
		{"a target without a platform", "targets = {\n  bastion = {}\n}\n", []string{"bastion", "no platform"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.write("jit.hcl", tt.text)
			r := w.run("list").wantCode(exitUsage).wantErr(tt.says...)
			if strings.Contains(r.err, "hunter2") {
				t.Errorf("the error has a secret: %q", r.err)
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
	// The ledger's URL is enough to read the record.
	t.Setenv(config.EnvLedger, "sqlite://ledger.db")
	const note = "note: without a jit.hcl, the owner is \"jit\" and the ledger is sqlite://ledger.db\n"
	w.run("list", "--owner", "payments").wantCode(exitDone).wantOut(string(g.ID)).wantErr(note)
	w.run("show", string(g.ID)).wantCode(exitDone).wantOut("INC-1: a").wantErr(note)
	if r := w.run("list", "--json").wantCode(exitDone); r.err != "" {
		t.Errorf("%s: stderr has %q", r.line, r.err)
	}
	t.Setenv(config.EnvLedger, "postgres://jit:hunter2@127.0.0.1:1/jit?password=hunter3&connect_timeout=1")
	r := w.run("list").wantCode(exitUnreadable).wantErr("the ledger is postgres://127.0.0.1:1/jit\n")
	if strings.Contains(r.err, "hunter") {
		t.Errorf("stderr has a secret: %s", r.err)
	}
}

// Any unique prefix of its id identifies a grant.
func TestShortenedID(t *testing.T) {
	w := newWorld(t)
	a, b := w.grant("INC-1: a", "1h"), w.grant("INC-2: b", "1h")
	for _, prefix := range []jit.ID{a.ID[:8], a.ID[:9], a.ID[:20], a.ID} {
		w.run("show", strings.ToUpper(string(prefix))).wantCode(exitDone).wantOut(string(a.ID), "INC-1: a").
			wantNotOut("INC-2")
	}
	w.run("show", "00000000").wantCode(exitUnknown).wantErr("no grant 00000000")
	w.run("revoke", string(a.ID[:8]), string(a.ID), "--reason", "x").wantCode(exitDone).wantOut(string(a.ID), "revoked")
	w.wantAccess(a, false)
	w.wantAccess(b, true)
	// With the ledger unreadable, the markers on the targets are searched.
	unreadableLedger(w)
	w.run("revoke", string(b.ID[:8]), "--reason", "x").wantErr("searching the targets").wantOut(string(b.ID))
	w.wantAccess(b, false)
	w.run("revoke", "00000000", "--reason", "x").wantCode(exitUnreadable).
		wantErr("no marker of grant 00000000 was found")
}

func TestAmbiguousID(t *testing.T) {
	w := newWorld(t)
	var twins []jit.Grant
	for seen, n := map[string]jit.Grant{}, 0; len(twins) == 0; n++ {
		g := jit.Grant{Owner: "payments", Binding: jit.Binding{Target: "bastion", Principal: "alice", Role: "login"},
			Window: jit.Window{Start: w.now, End: w.now.Add(time.Hour)}}
		g.ID = jit.NewID("payments", g.Binding, strconv.Itoa(n), 1)
		if other, ok := seen[string(g.ID[:4])]; ok {
			twins = []jit.Grant{g, other}
		}
		seen[string(g.ID[:4])] = g
	}
	rt := w.runtime()
	defer func() { _ = rt.Close() }()
	for i := range twins {
		if err := errors.Join(rt.Ledger.Write(t.Context(), []jit.Entry{{Grant: &twins[i]}})...); err != nil {
			t.Fatal(err)
		}
	}
	prefix := string(twins[0].ID[:4])
	for _, args := range [][]string{{"show", prefix}, {"revoke", prefix, "--reason", "x"}} {
		w.run(args...).wantCode(exitUsage).wantErr(
			`id: "`+prefix+`" is ambiguous; write more of the id. It is the beginning of 2 ids:`+"\n",
			"  "+string(twins[0].ID)+" (alice on bastion)\n", "  "+string(twins[1].ID)+" (alice on bastion)\n")
	}
	if g, _, err := rt.Ledger.Lookup(t.Context(), twins[0].ID); err != nil || !g.RevokedAt.IsZero() {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestUnreadableLedger(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: a", "1h")
	unreadableLedger(w)
	for _, args := range [][]string{{"list"}, {"show", string(g.ID)}, {"show", string(g.ID[:8])}, {"audit", "export"},
		{"audit", "verify"}} {
		w.run(args...).wantCode(exitUnreadable).wantErr("error: ")
	}
}

func TestReadingWritesNothing(t *testing.T) {
	w := newWorld(t)
	for _, args := range [][]string{{"list"}, {"audit", "export"}, {"audit", "verify"}, {"sweep", "--dry-run"},
		{"sweep", "--markers-only"}, {"__complete", "show", ""}} {
		w.run(args...).wantCode(exitDone)
	}
	if _, err := os.Stat("ledger.db"); err == nil {
		t.Error("reading created a ledger")
	}
}

func TestHelp(t *testing.T) {
	w := newWorld(t)
	w.run().wantCode(exitDone).wantOut("jit.hcl", "sweep", "revoke", "exit-codes")
	w.run("help", "exit-codes").wantCode(exitDone).wantOut("could not be revoked", "could not read", "130")
	w.run("revoke", "--help").wantCode(exitDone).wantOut("Examples:", "--terminate-sessions", "exit codes")
	w.run("version").wantCode(exitDone).wantOut("jit 1.2.3 (go")
	w.run("--version").wantCode(exitDone).wantOut("jit 1.2.3 (go")
	var out bytes.Buffer
	for _, args := range [][]string{{"--version"}, {"version"}, {"version", "--json"}} {
		Run(t.Context(), args, strings.NewReader(""), &out, &out, Options{Version: "1.2.3", Commit: "1a2b3c4"})
	}
	if line := "jit 1.2.3 (commit 1a2b3c4, go"; strings.Count(out.String(), line) != 2 ||
		!strings.Contains(out.String(), `"commit": "1a2b3c4"`) {
		t.Errorf("the version, with the commit: %s", out.String())
	}
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
