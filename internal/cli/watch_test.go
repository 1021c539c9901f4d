package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// output can be read while a command writes to it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// eventually waits until so is true, for at most 30 seconds.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after 30 seconds still not true: %s", what)
		}
	}
}

// daemon starts jit sweep --watch. stop ends it as a signal does and returns its exit code.
func (w *world) daemon(args ...string) (out, errs *output, stop func() int) {
	w.t.Helper()
	out, errs = &output{}, &output{}
	ctx, cancel := context.WithCancel(w.t.Context())
	code := make(chan int)
	o := w.options()
	go func() {
		code <- Run(ctx, append([]string{"sweep", "--watch"}, args...), strings.NewReader(""), out, errs, o)
	}()
	return out, errs, func() int { cancel(); return <-code }
}

func TestSweepWatch(t *testing.T) {
	w := newWorld(t)
	short, long := w.grant("INC-1: a", "30m"), w.grant("INC-2: b", "2h")
	w.now = w.now.Add(time.Hour)
	_, errs, stop := w.daemon()
	eventually(t, "the expired grant is ended",
		func() bool { return strings.Contains(errs.String(), string(short.ID)) })
	w.run("sweep", "--watch").wantCode(exitUsage).
		wantErr("ledger:", "another `jit sweep --watch` runs on", "postgres://")
	w.run("sweep").wantCode(exitDone)
	if code := stop(); code != exitDone {
		t.Errorf("exit code %d, want %d", code, exitDone)
	}
	if !strings.Contains(errs.String(), "msg=stopped") || strings.Contains(errs.String(), string(long.ID)) {
		t.Errorf("log:\n%s", errs)
	}
	w.wantAccess(short, false)
	w.wantAccess(long, true)
}

// A daemon stays the only one after its ledger is removed together with the directory.
func TestSweepWatchStaysAlone(t *testing.T) {
	w := newWorld(t)
	w.write("jit.hcl", strings.Replace(w.read("jit.hcl"), "sqlite://ledger.db", "sqlite://is/ledger.db", 1))
	w.grant("INC-1: a", "2h")
	_, errs, stop := w.daemon()
	eventually(t, "the daemon watches", func() bool { return strings.Contains(errs.String(), "msg=watching") })
	// The daemon may create a file there meanwhile.
	eventually(t, "the directory is removed", func() bool { return os.RemoveAll("is") == nil })
	eventually(t, "the daemon has noticed the removal",
		func() bool { _, err := os.Stat("is/ledger.db.watch"); return err == nil })
	w.run("sweep", "--watch").wantCode(exitUsage).wantErr("another `jit sweep --watch` runs on")
	if code := stop(); code != exitDone {
		t.Errorf("exit code %d, want %d:\n%s", code, exitDone, errs)
	}
}

func TestSweepWatchJSON(t *testing.T) {
	w := newWorld(t)
	short := w.grant("INC-1: a", "30m")
	w.now = w.now.Add(time.Hour)
	out, errs, stop := w.daemon("--json", "--interval", "1s", "--drift-interval", "2s")
	eventually(t, "the expired grant is ended",
		func() bool { return strings.Contains(out.String(), string(short.ID)) })
	if code := stop(); code != exitDone || errs.String() != "" {
		t.Errorf("exit code %d, standard error: %s", code, errs)
	}
	ended := 0
	for line := range strings.Lines(out.String()) {
		var entry struct{ Msg, Grant, Target, Why string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if entry.Msg == "end" && entry.Grant == string(short.ID) && entry.Target == "bastion" &&
			strings.HasPrefix(entry.Why, "its window ended at ") {
			ended++
		}
	}
	if ended != 1 {
		t.Errorf("%d lines report the end, want 1:\n%s", ended, out)
	}
}

// The daemon logs when a target becomes unreadable and when it is readable again, and keeps running.
func TestSweepWatchTrouble(t *testing.T) {
	w := newWorld(t)
	w.grant("INC-1: a", "2h")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Rename(w.keys, w.keys+".away"))
	must(os.Mkdir(w.keys, 0o700))
	_, errs, stop := w.daemon("--drift-interval", "1s")
	eventually(t, "the problem is logged", func() bool { return strings.Contains(errs.String(), "msg=problem ") })
	must(os.Remove(w.keys))
	must(os.Rename(w.keys+".away", w.keys))
	eventually(t, "its end is logged", func() bool { return strings.Contains(errs.String(), `msg="problem solved"`) })
	if code := stop(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

// The daemon logs held-back removals with their target. A clean target beside it does not clear the problem.
func TestSweepWatchTellsWhatIsHeld(t *testing.T) {
	w := newWorld(t)
	w.grant("INC-1: a", "30m")
	lostLedger(w)
	w.now = w.now.Add(time.Hour)
	w.write("clean", foreignLine)
	w.write(
		"jit.hcl",
		fmt.Sprintf(
			"ledger = \"sqlite://ledger.db\"\nowner = \"payments\"\nmax_unplanned_revocations = 0\ntargets = {\n"+
				"  bastion = { ssh = { authorized_keys = %q } }\n  clean = { ssh = { authorized_keys = %q } }\n}\n",
			w.keys,
			filepath.Join(w.dir, "clean"),
		),
	)
	_, errs, stop := w.daemon()
	const held = `msg=problem with="the cap on unplanned removals of target bastion" error="1 held back`
	eventually(t, "the held-back removal is logged", func() bool { return strings.Contains(errs.String(), held) })
	if code := stop(); code != exitDone || strings.Contains(errs.String(), "target clean") ||
		strings.Contains(errs.String(), "problem solved") {
		t.Errorf("exit code %d:\n%s", code, errs)
	}
}

func TestSweepWatchRefuses(t *testing.T) {
	w := newWorld(t)
	for line, want := range map[string]string{
		"--interval 1m":                    "--watch",
		"--watch --dry-run":                "for one pass",
		"--watch --due":                    "for one pass",
		"--watch --markers-only":           "for one pass",
		"--watch --timeout 5m":             "--timeout",
		"--watch --interval often":         `"often" is not a duration`,
		"--watch --interval 0s":            `"0s" is less than 1s`,
		"--watch --drift-interval 500ms":   "is not a duration",
		"--watch --max-unplanned -1":       "negative",
		"--watch --interval 1m --interval": "flag needs an argument",
	} {
		w.run(append([]string{"sweep"}, strings.Fields(line)...)...).wantCode(exitUsage).wantErr(want)
	}
	w.write("jit.hcl", "drift_interval = \"0s\"\n")
	w.run("sweep", "--watch").wantCode(exitUsage).wantErr("drift_interval", `"0s" is less than 1s`)
	w.write("jit.hcl", "ledger = \"sqlite://ledger.db\"\n")
	w.run("sweep", "--watch").wantCode(exitUsage).wantErr("targets", "nothing to watch")
}

// Each check of a target reports the same finding; the log repeats it once an hour.
func TestStepLogRepeatsAFindingOnceAnHour(t *testing.T) {
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	l := &stepLog{log: slog.New(slog.NewTextHandler(&out, nil)), now: func() time.Time { return now },
		logged: map[string]time.Time{}}
	finding := func(principal string) sweeper.Result {
		return sweeper.Result{Step: reconcile.Step{Kind: reconcile.Report,
			Grant: jit.Grant{Binding: jit.Binding{Principal: principal}}, Reason: "it bears another marker"}}
	}
	for range 3 {
		l.write(finding("alice"))
	}
	l.write(finding("bob"))
	if got := strings.Count(out.String(), "needs attention"); got != 2 {
		t.Errorf("%d lines for two findings:\n%s", got, out.String())
	}
	now = now.Add(logAgain)
	l.write(finding("alice"))
	if got := strings.Count(out.String(), "principal=alice"); got != 2 {
		t.Errorf("%d lines for alice after an hour, want a second one:\n%s", got, out.String())
	}
}
