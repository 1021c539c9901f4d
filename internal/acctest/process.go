package acctest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// Process is a command line that is at work.
type Process struct {
	t              testing.TB
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	stop           context.CancelFunc
}

// Start begins a run of the command line. It is killed after the timeout of the workspace, and with the test.
func (w *World) Start(args ...string) *Process {
	w.t.Helper()
	if w.served != nil {
		w.served.begin()
	}
	ctx, stop := context.WithTimeout(context.Background(), w.timeout())
	p := &Process{t: w.t, cmd: exec.CommandContext(ctx, w.cli.Path, args...), stop: stop}
	p.cmd.Dir, p.cmd.Env = w.Dir, slices.Clone(w.env)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.WaitDelay = 5 * time.Second // children of a killed command line hold its output
	grouped(p.cmd)
	if err := p.cmd.Start(); err != nil {
		stop()
		w.t.Fatalf("%s %s: %v", w.cli.Kind, strings.Join(args, " "), err)
	}
	w.t.Cleanup(func() {
		stop()
		killGroup(p.cmd)
	})
	return p
}

// Signal sends a signal to the command line alone.
func (p *Process) Signal(signal os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.t.Fatal(err)
	}
}

// Wait waits for the end, ends the providers that a killed command line left behind, and returns the outcome. Call it
// once.
func (p *Process) Wait() Result {
	p.t.Helper()
	defer p.stop()
	err := p.cmd.Wait()
	killGroup(p.cmd)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		p.t.Fatalf("wait for the command line: %v", err)
	}
	return Result{ExitCode: p.cmd.ProcessState.ExitCode(), Stdout: p.stdout.String(), Stderr: p.stderr.String()}
}
