package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// TestAFullDiskIsNoSuccess: whoever keeps the output of a command must learn that it is incomplete.
func TestAFullDiskIsNoSuccess(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer func() { _ = full.Close() }()
	w := newWorld(t)
	g := w.grant("INC-1: look", "1h")
	for _, line := range []string{
		"list", "list --json", "show " + string(g.ID), "sweep --json", "audit verify", "audit export", "version", "help",
		"exit-codes", "report --output -", "completion bash", "list --help",
	} {
		for _, terminal := range []bool{false, true} {
			var errs bytes.Buffer
			o := w.options()
			o.Terminal = terminal
			code := Run(t.Context(), strings.Fields(line), strings.NewReader(""), full, &errs, o)
			if code != exitNotDone || !strings.Contains(errs.String(), "no space left") {
				t.Errorf("jit %s > /dev/full, terminal %t: exit code %d: %s", line, terminal, code, errs.String())
			}
		}
	}
}

func TestOneGrantIsOne(t *testing.T) {
	w := newWorld(t)
	w.grant("INC-1: look", "1h")
	w.run("audit", "verify").wantCode(exitDone).wantOut(" events, 1 grant that agrees with them, root ")
}

// A target without any scope was not looked at.
func TestScanOfNothingFindsNothing(t *testing.T) {
	w := newWorld(t)
	w.wrap = func(_ string, p jit.Platform) jit.Platform { return scopeless{p} }
	if r := w.run("scan").wantCode(exitDone).wantErr("No standing access in the scopes that were read.",
		"nothing was read"); strings.Contains(r.err, "No standing access.") {
		t.Error(r.err)
	}
}

// scopeless is a platform that lists no scope.
type scopeless struct{ jit.Platform }

func (scopeless) Scopes(context.Context) ([]string, error) { return nil, nil }

// TestAFileOfOursIsPrivate: a file that was there before keeps neither its mode nor, on an error, a part of the text.
func TestAFileOfOursIsPrivate(t *testing.T) {
	for _, line := range []string{"audit export --output", "report --output", "audit head --output"} {
		w := newWorld(t)
		w.grant("INC-1: look", "1h")
		w.write("out", "old")
		if err := os.Symlink("out", "link"); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod("out", 0o644); err != nil {
			t.Fatal(err)
		}
		reader, err := os.Open("out") // somebody has it open
		if err != nil {
			t.Fatal(err)
		}
		w.run(append(strings.Fields(line), "link")...).wantCode(exitDone)
		info, err := os.Stat("out")
		if err != nil || info.Mode().Perm() != 0o600 || info.Size() < 10 {
			t.Errorf("%s: %v, %v", line, info, err)
		}
		if link, err := os.Readlink("link"); err != nil || link != "out" {
			t.Errorf("%s: the link leads to %q: %v", line, link, err)
		}
		var seen bytes.Buffer
		if _, err := seen.ReadFrom(reader); err != nil || seen.String() != "old" {
			t.Errorf("%s: whoever had the old file open reads %q: %v", line, seen.String(), err)
		}
		_ = reader.Close()
		w.wantKept(line)
		if left, _ := filepath.Glob(".jit-*"); len(left) > 0 {
			t.Errorf("%s left %q", line, left)
		}
	}
}

// wantKept runs a command without a ledger and checks that the file stays as it was.
func (w *world) wantKept(line string) {
	w.t.Helper()
	before, err := os.ReadFile("out")
	if err != nil {
		w.t.Fatal(err)
	}
	unreadableLedger(w)
	if r := w.run(append(strings.Fields(line), "out")...); r.code == exitDone {
		w.t.Errorf("%s: without a ledger it succeeds", line)
	}
	if after, err := os.ReadFile("out"); err != nil || !bytes.Equal(after, before) {
		w.t.Errorf("%s: after an error the file holds %q: %v", line, after, err)
	}
}
