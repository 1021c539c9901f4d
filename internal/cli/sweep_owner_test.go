package cli

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Under every on_drift, lines without a marker or with another owner's stay byte for byte, also when they are expired,
// altered or copied.
func TestSweepTouchesOnlyItsOwn(t *testing.T) {
	for _, on := range []jit.OnDrift{jit.RepairDrift, jit.RevokeDrift, jit.ReportDrift} {
		t.Run(string(on), func(t *testing.T) {
			w := newWorld(t)
			settings := func(owner, ledger string) {
				w.write(
					"jit.hcl",
					fmt.Sprintf(
						"ledger = \"sqlite://%s\"\nowner = %q\nmax_unplanned_revocations = 1000\ntargets = { bastion = { ssh = { authorized_keys = %q }, on_drift = %q } }\n",
						ledger,
						owner,
						w.keys,
						on,
					),
				)
			}
			line := func(g jit.Grant) string {
				for line := range strings.Lines(w.read("authorized_keys")) {
					if strings.Contains(line, g.Principal) {
						return line
					}
				}
				t.Fatalf("no line of %s", g.ID)
				return ""
			}
			settings("search", "search.db")
			theirs := line(w.grant("INC-1: theirs", "30m")) + line(w.grant("INC-2: theirs", "8h"))
			settings("payments", "ledger.db")
			over, live, lost := w.grant("INC-3: over", "30m"), w.grant("INC-4: live",
				"8h"), line(w.grant("INC-5: lost", "30m"))
			ours := line(over) + lost + strings.Replace(line(live), `expiry-time="2`, `expiry-time="3`, 1)
			lostLedger(w)
			live = w.grant("INC-4: live again", "8h") // the only recorded one
			known := strings.Replace(line(live), `expiry-time="2`, `expiry-time="3`, 1)

			const odd = "\t# tabs, and spaces at the end  \r\n\n\n\xff\xfe not UTF-8 \x80\n# jit: no marker\nnot a key at all"
			w.write("authorized_keys",
				foreignLine+theirs+ours+odd+"\n"+theirs+known+known+theirs+"last line without an end")
			w.now = w.now.Add(time.Hour)
			foreign := func() string {
				var rest strings.Builder
				for line := range strings.Lines(w.read("authorized_keys")) {
					if !strings.Contains(line, "payments") { // the owner in our markers
						rest.WriteString(line)
					}
				}
				return rest.String()
			}
			before := foreign()
			if !strings.Contains(before, theirs) || !strings.Contains(before, odd) ||
				strings.Contains(before, live.Principal) {
				t.Fatalf("the test classifies this as foreign:\n%s", before)
			}
			for range 2 {
				w.run("sweep")
			}
			if after := foreign(); after != before {
				t.Errorf("the foreign lines were\n%q\nand are\n%q", before, after)
			}
			if removed := !strings.Contains(w.read("authorized_keys"), lost); removed != (on != jit.ReportDrift) {
				t.Errorf("our expired, unrecorded line was removed: %t", removed)
			}
		})
	}
}

// Any sweeper that can ends the grant of an owner without a sweeper. If it cannot, sweep and list report the grant.
func TestSweepServesEveryOwner(t *testing.T) {
	w := newWorld(t)
	settings := func(owner, more, target string) {
		w.write(
			"jit.hcl",
			fmt.Sprintf(
				"ledger = \"sqlite://ledger.db\"\nowner = %q\n%s\ntargets = { %s = { ssh = { authorized_keys = %q } } }\n",
				owner,
				more,
				target,
				w.keys,
			),
		)
	}
	settings("nosweep", "", "bastion")
	g := w.grant("INC-1: nobody sweeps", "1m")
	w.now = w.now.Add(12 * time.Minute)

	settings("payments", `owners = ["payments", "search"]`, "bastion")
	w.run("sweep").wantCode(exitDone).wantOut("out_of_reach", string(g.ID)).
		wantErr("1 grant out of reach of this sweeper ended on the target")
	w.alter("UPDATE jit_grants SET enforcement = 'sweeper'")
	w.run("sweep").wantCode(exitNotDone).
		wantOut("out_of_reach", "nosweep", string(g.ID),
			`this sweeper does not serve the owner "nosweep"; it serves payments, search`).
		wantErr("1 overdue and out of reach")
	settings("payments", "", "elsewhere")
	w.run("sweep", "--due").wantCode(exitNotDone).wantOut("out_of_reach", `this sweeper has no target "bastion"`)
	var pass struct {
		OutOfReach int `json:"out_of_reach"`
		Steps      []struct{ Result string }
	}
	w.run("sweep", "--due", "--json").wantCode(exitNotDone).decode(&pass)
	if pass.OutOfReach != 1 || len(pass.Steps) != 1 || pass.Steps[0].Result != "out_of_reach" {
		t.Errorf("the pass reported %+v", pass)
	}
	w.run("list").wantOut("OWNER", "nosweep", "expired (not removed yet)")
	w.run("list", "--owner", "payments").wantErr("No grant matches.")
	w.wantAccess(g, true)

	settings("payments", "", "bastion")
	w.run("revoke", "--all", "--yes", "--reason", "INC-1: done").wantNotOut(string(g.ID)) // a person acts for one owner
	w.wantAccess(g, true)
	w.run("sweep").wantCode(exitDone).wantOut("end", "done", "nosweep", string(g.ID))
	w.wantAccess(g, false)
	w.run("sweep").wantCode(exitDone).wantErr("Nothing to do.")
}

func (w *world) read(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}
