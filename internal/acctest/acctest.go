// Package acctest runs the real Terraform command line against the provider, either
// served from the test process, so that the clock and the platforms are the test's, or
// as a binary of its own that can be killed. Nothing is downloaded and no init is needed.
package acctest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// Options choose how the provider runs. The zero value serves it from the test process.
type Options struct {
	// Binary is the path of a provider binary (see [Build]); empty serves the provider from the test process.
	Binary string
	// Env is added to the environment of the command line, and with it to that of a Binary.
	Env []string
	// Start is what the clock of a served provider shows at first; zero is a day in 2026.
	Start time.Time
	// RealTime gives a served provider the clock of this machine, for targets that have one too.
	RealTime bool
	// Platform, if set, receives every platform that a served provider opens, before its first use.
	Platform func(jit.Platform)
	// Timeout bounds one run of the command line; zero is three minutes.
	Timeout time.Duration
}

// World is one workspace: a directory with a configuration and a state, a command line
// and a provider of its own.
type World struct {
	// Dir is the directory of the configuration.
	Dir string
	// Clock is the clock of the served provider and its platforms.
	Clock *Clock
	// Calls counts the calls on the served provider's platforms.
	Calls *Calls

	t      testing.TB
	cli    testenv.CLI
	o      Options
	env    []string
	served *server
}

// New makes a workspace, which ends with the test.
func New(t testing.TB, cli testenv.CLI, o Options) *World {
	t.Helper()
	dir := t.TempDir()
	w := &World{Dir: filepath.Join(dir, "work"), t: t, cli: cli, o: o, Clock: newClock(o.Start), Calls: &Calls{}}
	for _, d := range []string{w.Dir, filepath.Join(dir, "home")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	rc := ""
	if o.Binary != "" {
		rc = fmt.Sprintf("provider_installation {\n  dev_overrides {\n    \"jitaccess/jit\" = %q\n  }\n  direct {}\n}\n",
			filepath.ToSlash(filepath.Dir(o.Binary)))
	}
	rcPath := filepath.Join(dir, "cli.tfrc")
	if err := os.WriteFile(rcPath, []byte(rc), 0o600); err != nil {
		t.Fatal(err)
	}
	w.env = append([]string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + filepath.Join(dir, "home"),
		"TMPDIR=" + os.TempDir(),
		"TF_DATA_DIR=" + filepath.Join(dir, "data"),
		"TF_CLI_CONFIG_FILE=" + rcPath,
		"TF_IN_AUTOMATION=1",
		"TF_INPUT=0",
		"TF_CLI_ARGS=-no-color",
		"CHECKPOINT_DISABLE=1",
	}, o.Env...)
	if o.Binary == "" {
		w.served = serve(t, w)
		w.env = append(w.env, "TF_REATTACH_PROVIDERS="+w.served.reattach)
	}
	return w
}

// Write puts a file into the workspace.
func (w *World) Write(name, content string) {
	w.t.Helper()
	if err := os.WriteFile(w.Path(name), []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// Read returns the content of a file of the workspace.
func (w *World) Read(name string) string {
	w.t.Helper()
	content, err := os.ReadFile(w.Path(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(content)
}

// Path returns the absolute path of a file of the workspace.
func (w *World) Path(name string) string { return filepath.Join(w.Dir, name) }

// Env returns the environment of the command line, for programs that run it themselves.
func (w *World) Env() []string { return slices.Clone(w.env) }

// Result is the outcome of one run of the command line.
type Result struct {
	ExitCode       int
	Stdout, Stderr string
}

// Text is everything that was printed, with the lines joined and without the frames around diagnostics.
func (r Result) Text() string {
	s := strings.NewReplacer("│", " ", "╷", " ", "╵", " ").Replace(r.Stdout + " " + r.Stderr)
	return strings.Join(strings.Fields(s), " ")
}

// Run runs the command line in the workspace and returns its outcome, even if it failed.
func (w *World) Run(args ...string) Result {
	w.t.Helper()
	return w.RunWith(nil, args...)
}

// runTimeout bounds a command that does not end.
const runTimeout = 3 * time.Minute

// RunWith is [World.Run] with more in the environment, for this run alone.
func (w *World) RunWith(env []string, args ...string) Result {
	w.t.Helper()
	return w.run(env, w.timeout(), os.Kill, args...)
}

// timeout bounds one run.
func (w *World) timeout() time.Duration { return cmp.Or(w.o.Timeout, runTimeout) }

// Interrupted is [World.Run] of a command that gets Ctrl-C after a time.
func (w *World) Interrupted(after time.Duration, args ...string) Result {
	w.t.Helper()
	return w.run(nil, after, os.Interrupt, args...)
}

// run runs the command line, which gets a signal after a time.
func (w *World) run(env []string, after time.Duration, signal os.Signal, args ...string) Result {
	w.t.Helper()
	if w.served != nil {
		w.served.begin()
	}
	ctx, cancel := context.WithTimeout(context.Background(), after)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.cli.Path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(signal) }
	cmd.WaitDelay = runTimeout
	cmd.Dir = w.Dir
	cmd.Env = append(slices.Clip(w.env), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatalf("%s %s: %v", w.cli.Kind, strings.Join(args, " "), err)
	}
	return Result{ExitCode: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
}

// Must is [World.Run] of a command that must succeed.
func (w *World) Must(args ...string) Result {
	w.t.Helper()
	r := w.Run(args...)
	if r.ExitCode != 0 {
		w.t.Fatalf("%s %s: exit code %d\n%s%s", w.cli.Kind, strings.Join(args, " "), r.ExitCode, r.Stdout, r.Stderr)
	}
	return r
}

// Apply applies the configuration, which must succeed.
func (w *World) Apply(args ...string) Result {
	w.t.Helper()
	return w.Must(append([]string{"apply", "-auto-approve"}, args...)...)
}

// Plan plans with -detailed-exitcode: 0 nothing to do, 1 refused, 2 changes.
func (w *World) Plan(args ...string) Result {
	w.t.Helper()
	return w.Run(append([]string{"plan", "-detailed-exitcode"}, args...)...)
}

// State returns the attributes of every resource in the state by its address.
func (w *World) State() map[string]map[string]any {
	w.t.Helper()
	var shown struct {
		Values struct {
			Root struct {
				Resources []struct {
					Address string
					Values  map[string]any
				}
			} `json:"root_module"`
		}
	}
	if err := json.Unmarshal([]byte(w.Must("show", "-json").Stdout), &shown); err != nil {
		w.t.Fatalf("read the state: %v", err)
	}
	all := map[string]map[string]any{}
	for _, r := range shown.Values.Root.Resources {
		all[r.Address] = r.Values
	}
	return all
}
