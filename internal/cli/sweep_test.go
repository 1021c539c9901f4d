package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

func TestSweepEndsWhatIsOver(t *testing.T) {
	w := newWorld(t)
	short, long := w.grant("INC-1: a", "30m"), w.grant("INC-2: b", "2h")
	w.run("sweep").wantCode(exitDone).wantErr("Nothing to do.")

	w.now = w.now.Add(time.Hour)
	w.run("sweep", "--dry-run").wantCode(exitNotDone).wantOut("end", "planned", string(short.ID), "its window ended").
		wantErr("1 to do").wantNotOut(string(long.ID))
	w.wantAccess(short, true)

	var pass struct {
		DryRun bool `json:"dry_run"`
		Steps  []struct {
			Kind, Target, Result string
			Grant                struct{ ID jit.ID }
		}
		Unread []string
	}
	w.run("sweep", "--json").wantCode(exitDone).decode(&pass)
	if len(pass.Steps) != 1 || pass.Steps[0].Kind != "end" || pass.Steps[0].Result != "done" ||
		pass.Steps[0].Target != "bastion" || pass.Steps[0].Grant.ID != short.ID || pass.DryRun {
		t.Errorf("pass %+v", pass)
	}
	w.wantAccess(short, false)
	w.wantAccess(long, true)
	w.run("sweep").wantCode(exitDone).wantErr("Nothing to do.")
}

func TestSweepRepairsWhatSomebodyAltered(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: a", "2h")
	text, err := os.ReadFile("authorized_keys")
	if err != nil {
		t.Fatal(err)
	}
	end := regexp.MustCompile(`expiry-time="[^"]*"`)
	w.write("authorized_keys", end.ReplaceAllString(string(text), `expiry-time="20990101000000Z"`))
	w.run("sweep", "--due").wantCode(exitDone).wantErr("Nothing to do.")
	w.run("sweep").wantCode(exitDone).wantOut("repair", "done", string(g.ID), "the end was moved to 2099-01-01")
	w.wantAccess(g, true)
	w.run("sweep").wantCode(exitDone).wantErr("Nothing to do.")
}

// A binding removed by hand is put back, unless on_drift says otherwise.
func TestSweepOnDrift(t *testing.T) {
	for on, want := range map[string]struct {
		code   int
		out    []string
		access bool
	}{
		"repair": {exitDone, []string{"repair", "done", "info", "missing"}, true},
		"report": {exitDone, []string{"report", "look", "info", "missing"}, false},
		"revoke": {exitDone, []string{"revoke", "done", "info", "missing"}, false},
	} {
		t.Run(on, func(t *testing.T) {
			w := newWorld(t)
			w.write(
				"jit.hcl",
				fmt.Sprintf(
					"ledger = \"sqlite://ledger.db\"\nowner = \"payments\"\ntargets = { bastion = { ssh = { authorized_keys = %q }, on_drift = %q } }\n",
					w.keys,
					on,
				),
			)
			g := w.grant("INC-1: a", "2h")
			w.write("authorized_keys", foreignLine)
			w.run("sweep", "--dry-run")
			w.wantAccess(g, false)
			w.run("sweep").wantCode(want.code).wantOut(append(want.out, string(g.ID))...)
			w.wantAccess(g, want.access)
			if on == "revoke" {
				w.run("show", string(g.ID)).wantOut("revoked", "drift: missing")
				w.run("sweep").wantErr("Nothing to do.")
			}
			w.run("sweep")
			w.run("sweep")
			out := w.run("audit", "export").out
			if n := strings.Count(out, `"kind":"drift_found"`); n != 1 {
				t.Errorf("%d drift_found events, want 1:\n%s", n, out)
			}
		})
	}
}

// A pass that only reports access wider than granted does not succeed.
func TestSweepReportsCriticalDrift(t *testing.T) {
	w := newWorld(t)
	w.write(
		"jit.hcl",
		fmt.Sprintf(
			"ledger = \"sqlite://ledger.db\"\nowner = \"payments\"\ntargets = { bastion = { ssh = { authorized_keys = %q }, on_drift = \"report\" } }\n",
			w.keys,
		),
	)
	g := w.grant("INC-1: a", "2h")
	text, err := os.ReadFile("authorized_keys")
	if err != nil {
		t.Fatal(err)
	}
	end := regexp.MustCompile(`expiry-time="[^"]*"`)
	w.write("authorized_keys", end.ReplaceAllString(string(text), `expiry-time="20990101000000Z"`))
	w.run("sweep").wantCode(exitNotDone).wantOut("report", "look", "critical", string(g.ID)).
		wantErr("1 critical and only reported")
	if now, err := os.ReadFile("authorized_keys"); err != nil || !strings.Contains(string(now), "20990101000000Z") {
		t.Errorf("the file was changed: %s, %v", now, err)
	}
}

// The configured cap holds back removals that no recorded end explains, and the output names them. The flag raises it.
func TestSweepHoldsBack(t *testing.T) {
	w := newWorld(t)
	over := w.grant("INC-1: a", "30m")
	w.now = w.now.Add(time.Hour)
	text, err := os.ReadFile("authorized_keys")
	if err != nil {
		t.Fatal(err)
	}
	w.run("sweep").wantCode(exitDone)
	w.write("authorized_keys", string(text)) // somebody restores the line
	settings, err := os.ReadFile("jit.hcl")
	if err != nil {
		t.Fatal(err)
	}
	w.write("jit.hcl", string(settings)+"max_unplanned_revocations = 0\n")
	w.run("sweep").wantCode(exitNotDone).wantOut("remove", "held", "critical", string(over.ID), "it came back").
		wantErr("1 held back by --max-unplanned")
	w.wantAccess(over, true)
	w.run("sweep", "--max-unplanned", "1").wantCode(exitDone).wantOut("remove", "done", string(over.ID))
	w.wantAccess(over, false)
}

func TestSweepByMarkersWhenTheLedgerIsLost(t *testing.T) {
	w := newWorld(t)
	over, live := w.grant("INC-1: a", "30m"), w.grant("INC-2: b", "2h")
	lostLedger(w)
	w.now = w.now.Add(time.Hour)
	w.run("sweep", "--markers-only").wantCode(exitDone).wantOut("remove", "done", string(over.ID))
	w.wantAccess(over, false)
	w.wantAccess(live, true)
	if _, err := os.Stat("ledger.db"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a sweep by markers created a ledger: %v", err)
	}
}

func TestSweepWithAnUnreadableLedger(t *testing.T) {
	w := newWorld(t)
	over := w.grant("INC-1: a", "30m")
	unreadableLedger(w)
	w.now = w.now.Add(time.Hour)
	if r := w.run("sweep").wantOut("remove", string(over.ID)).wantErr("read the ledger"); r.code == exitDone {
		t.Errorf("exit code 0 with an unreadable ledger:\n%s", r.err)
	}
	w.wantAccess(over, false)
}

// blind is a target that cannot be read.
type blind struct{ jit.Platform }

func (blind) Read(context.Context, string) (jit.Snapshot, error) {
	return jit.Snapshot{}, errors.New("no route to host")
}

func TestSweepSaysWhatItCouldNotRead(t *testing.T) {
	w := newWorld(t)
	w.grant("INC-1: a", "1h")
	w.wrap = func(_ string, p jit.Platform) jit.Platform { return blind{p} }
	w.run("sweep").wantCode(exitUnreadable).wantErr("no route to host", "bastion")
	w.run("sweep", "--due").wantCode(exitDone)
}

func TestSweepIsCapped(t *testing.T) {
	w := newWorld(t)
	a, b := w.grant("INC-1: a", "30m"), w.grant("INC-2: b", "30m")
	lines, err := os.ReadFile(w.keys)
	if err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Hour)
	w.run("sweep").wantCode(exitDone)
	w.write(
		"authorized_keys",
		regexp.MustCompile(`expiry-time="[^"]*"`).ReplaceAllString(string(lines), "restrict,pty"),
	) // both came back, without an end
	w.run("sweep", "--max-unplanned", "1").wantCode(exitNotDone).wantErr("1 held back")
	if n := w.access(a) + w.access(b); n != 1 {
		t.Errorf("%d bindings are left, want 1", n)
	}
	w.run("sweep").wantCode(exitDone).wantOut("it came back")
	w.wantAccess(a, false)
	w.wantAccess(b, false)
}

func TestSweepRefuses(t *testing.T) {
	w := newWorld(t)
	w.run("sweep", "--due", "--markers-only").wantCode(exitUsage).wantErr("--due")
	w.run("sweep", "--max-unplanned", "-1").wantCode(exitUsage).wantErr("--max-unplanned")
	w.run("sweep", "now").wantCode(exitUsage).wantErr("jit sweep --help")
}

func TestInterrupted(t *testing.T) {
	w := newWorld(t)
	w.grant("INC-1: a", "1h")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs strings.Builder
	if code := Run(ctx, []string{"list"}, strings.NewReader(""), &out, &errs, w.options()); code != exitInterrupted {
		t.Errorf("exit code %d, want %d: %s", code, exitInterrupted, errs.String())
	}
}

// hung is a target that answers no read before the caller gives up.
type hung struct{ jit.Platform }

func (hung) Read(ctx context.Context, _ string) (jit.Snapshot, error) {
	<-ctx.Done()
	return jit.Snapshot{}, ctx.Err()
}

func TestEverythingEnds(t *testing.T) {
	w := newWorld(t)
	w.grant("INC-1: a", "1h")
	w.wrap = func(_ string, p jit.Platform) jit.Platform { return hung{p} }
	w.run("sweep", "--timeout", "300ms").wantCode(exitUnreadable).wantErr("deadline exceeded", "bastion")
	w.run("sweep", "--timeout", "0s").wantCode(exitUsage).wantErr("--timeout")
	w.run("sweep", "--timeout", "soon").wantCode(exitUsage).wantErr("--timeout")
}

// A pass never reports "Nothing to do." if another sweeper holds due grants or something could not be read.
func TestAnUnfinishedPassDoesNotSayNothingToDo(t *testing.T) {
	for _, report := range []sweeper.Report{
		{Elsewhere: []jit.Grant{{ID: "3f2b8c1e-0000-8000-8000-000000000000"}}},
		{Unread: []error{errors.New("ledger: the server does not answer")}},
	} {
		var out, errs bytes.Buffer
		p := &program{out: &out, err: &errs}
		left := unfinished(report, nil)
		if p.printSteps(nil, left == nil); left == nil || out.Len()+errs.Len() > 0 {
			t.Errorf("%+v: %v, %s%s", report, left, out.String(), errs.String())
		}
		p.printSteps(nil, unfinished(sweeper.Report{}, nil) == nil)
		if errs.String() != "Nothing to do.\n" {
			t.Errorf("a finished pass says %q", errs.String())
		}
	}
}

// A binding that only its marker explains was requested at an unknown time, so the time is left out.
func TestSweepJSONLeavesOutUnknownTimes(t *testing.T) {
	w := newWorld(t)
	w.grant("INC-1: a", "30m")
	lostLedger(w)
	w.now = w.now.Add(time.Hour)
	w.run("sweep", "--dry-run", "--json").wantCode(exitNotDone).wantOut(`"expires_at"`).
		wantNotOut("0001-01-01", `"requested_at"`)
}
