package internal_test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"sigs.k8s.io/yaml"

	"github.com/jitaccess/terraform-provider-jit/internal/cli"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
)

const deployments = "../examples/deploy/"

// parses reports a command line of jit that the command does not have.
func parses(t *testing.T, where string, args []string) {
	t.Helper()
	var out bytes.Buffer
	if code := cli.Run(t.Context(), append(slices.Clone(args), "--help"), strings.NewReader(""), &out, &out,
		cli.Options{}); code != 0 || !strings.Contains(out.String(), "Usage:") {
		t.Errorf("%s: jit %q: exit code %d\n%s", where, args, code, out.String())
	}
}

// settings reads a jit.hcl with values for the variables that it names.
func settings(t *testing.T, name, text string) config.Settings {
	t.Helper()
	for _, m := range regexp.MustCompile(`env\("(\w+)"\)`).FindAllStringSubmatch(text, -1) {
		value := "postgres://jit@127.0.0.1:1/jit"
		if strings.HasSuffix(m[1], "TOKEN") {
			value = "a-token-that-is-long-enough"
		}
		t.Setenv(m[1], value)
	}
	path := filepath.Join(t.TempDir(), "jit.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := config.Load(path)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	rt, err := config.Open(t.Context(), s, config.Options{})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	if formatted := hclwrite.Format([]byte(text)); string(formatted) != text {
		t.Errorf("%s is not formatted, it should be:\n%s", name, formatted)
	}
	return s
}

// unitKeys are the keys that systemd knows, of those that such units need (systemd.unit, .service, .exec,
// .resource-control, .timer).
var unitKeys = map[string]string{
	"Unit":    "Description Documentation Wants After OnFailure",
	"Install": "WantedBy",
	"Timer":   "OnCalendar AccuracySec RandomizedDelaySec Persistent",
	"Service": "Type ExecStart Environment EnvironmentFile Restart RestartSec RestartPreventExitStatus TimeoutStopSec DynamicUser User StateDirectory " +
		"WorkingDirectory UMask NoNewPrivileges CapabilityBoundingSet LockPersonality MemoryDenyWriteExecute MemoryMax PrivateDevices PrivateTmp ProcSubset " +
		"ProtectClock ProtectControlGroups ProtectHome ProtectHostname ProtectKernelLogs ProtectKernelModules ProtectKernelTunables ProtectProc ProtectSystem " +
		"ReadWritePaths RemoveIPC RestrictAddressFamilies RestrictNamespaces RestrictRealtime RestrictSUIDSGID SystemCallArchitectures SystemCallFilter SystemCallErrorNumber",
}

// unit returns the values of a unit file by section and key.
func unit(t *testing.T, name, text string) map[string][]string {
	t.Helper()
	values, section := map[string][]string{}, ""
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		switch key, value, found := strings.Cut(line, "="); {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
		case !found || !slices.Contains(strings.Fields(unitKeys[section]), key):
			t.Errorf("%s: systemd has no %q in [%s]", name, line, section)
		default:
			values[section+"."+key] = append(values[section+"."+key], value)
		}
	}
	return values
}

func TestSystemdUnits(t *testing.T) {
	const program = "/usr/local/bin/jit"
	folder := deployments + "systemd/"
	settings(t, folder+"jit.hcl", read(t, folder+"jit.hcl"))
	daemon := unit(t, "jit-sweep.service", read(t, folder+"jit-sweep.service"))
	once := unit(t, "jit-sweep-once.service", read(t, folder+"jit-sweep-once.service"))
	for name, u := range map[string]map[string][]string{"jit-sweep.service": daemon, "jit-sweep-once.service": once} {
		command := strings.Fields(u["Service.ExecStart"][0])
		if command[0] != program || !slices.Contains(u["Service.Environment"], config.EnvFile+"=/etc/jit/jit.hcl") {
			t.Errorf("%s starts %q with %q", name, command, u["Service.Environment"])
		}
		parses(t, name, command[1:])
		for key, want := range map[string]string{"DynamicUser": "yes", "ProtectSystem": "strict",
			"NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "StateDirectory": "jit"} {
			if got := u["Service."+key]; !slices.Equal(got, []string{want}) {
				t.Errorf("%s: %s=%q, want %q", name, key, got, want)
			}
		}
	}
	// A restart does not help against wrong settings.
	if got := daemon["Service.RestartPreventExitStatus"]; !slices.Equal(got, []string{"3"}) {
		t.Errorf("RestartPreventExitStatus=%v", got)
	}
	if got := unit(t, "jit-sweep-once.timer",
		read(t, folder+"jit-sweep-once.timer"))["Timer.OnCalendar"]; !slices.Equal(got, []string{"*:*"}) {
		t.Errorf("the timer: %v, want every minute", got)
	}
	unit(t, "ssh.conf", read(t, folder+"ssh.conf"))

	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not on this machine: the units were only read")
	}
	dir := t.TempDir()
	self, err := os.Executable() // it has to be there, and is not started
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(read(t, folder+filepath.Base(name)), program, self)),
			0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	units := []string{write("jit-sweep.service"), write("jit-sweep-once.service"), write("jit-sweep-once.timer")}
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), analyze, args...).CombinedOutput(); err != nil ||
			strings.Contains(string(out), dir) {
			t.Errorf("systemd-analyze %q: %v\n%s", args, err, out)
		}
	}
	verify := append([]string{"verify", "--man=no", "--recursive-errors=no"}, units...)
	run(verify...)
	for _, path := range units[:2] {
		// Of 100; what is left is that they go to the network.
		if out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=20",
			path).CombinedOutput(); err != nil {
			t.Errorf("%s is exposed: %v\n%s", filepath.Base(path), err, out)
		}
	}
	write("jit-sweep.service.d/ssh.conf")
	run(verify...)
}

// workflow is a workflow of GitHub Actions, as far as the example has need of it.
type workflow struct {
	Name string `json:"name"`
	On   struct {
		Schedule []struct {
			Cron string `json:"cron"`
		} `json:"schedule"`
		WorkflowDispatch *struct{} `json:"workflow_dispatch"`
	} `json:"on"`
	Permissions map[string]string `json:"permissions"`
	Concurrency struct {
		Group  string `json:"group"`
		Cancel bool   `json:"cancel-in-progress"`
	} `json:"concurrency"`
	Env  map[string]string `json:"env"`
	Jobs map[string]struct {
		RunsOn  string `json:"runs-on"`
		Timeout int    `json:"timeout-minutes"`
		Steps   []step `json:"steps"`
	} `json:"jobs"`
}

type step struct {
	Name string            `json:"name"`
	Uses string            `json:"uses"`
	With map[string]string `json:"with"`
	Run  string            `json:"run"`
	Dir  string            `json:"working-directory"`
	Env  map[string]string `json:"env"`
}

func TestGitHubActions(t *testing.T) {
	const name = "github-actions/sweep.yml"
	text := strings.Replace(read(t, deployments+name), "\non:\n", "\n\"on\":\n", 1) // for YAML 1.1 on is true
	text = strings.Replace(text, "workflow_dispatch:\n", "workflow_dispatch: {}\n", 1)
	var w workflow
	if err := yaml.UnmarshalStrict([]byte(text), &w); err != nil {
		t.Fatal(err)
	}
	if len(w.On.Schedule) != 1 || !regexp.MustCompile(`^\*/(\d+)( \*){4}$`).MatchString(w.On.Schedule[0].Cron) ||
		w.On.WorkflowDispatch == nil {
		t.Errorf("it runs on %+v", w.On)
	}
	if w.Permissions["id-token"] != "write" || w.Permissions["contents"] != "read" || len(w.Permissions) != 2 {
		t.Errorf("its permissions are %v", w.Permissions)
	}
	if w.Concurrency.Group == "" || w.Concurrency.Cancel {
		t.Errorf("two may run at a time, or one is cut off: %+v", w.Concurrency)
	}
	swept := false
	for _, job := range w.Jobs {
		if job.Timeout == 0 || job.RunsOn == "" {
			t.Errorf("a job without an end or a runner: %+v", job)
		}
		for _, s := range job.Steps {
			if s.Uses != "" && !regexp.MustCompile(`^[\w-]+/[\w-]+@v\d+(\.\d+\.\d+)?$`).MatchString(s.Uses) {
				t.Errorf("%s is of no version", s.Uses)
			}
			if args := split(s.Run); len(args) > 0 && args[0] == "jit" {
				parses(t, name, args[1:])
				swept = args[1] == "sweep"
			}
			if regexp.MustCompile(`\$\{\{`).MatchString(s.Run) {
				t.Errorf("an expression in a shell command: %s", s.Run)
			}
		}
	}
	if !swept {
		t.Error("it does not sweep")
	}
	hcl := deployments + "github-actions/jit.hcl"
	if s := settings(t, hcl, read(t, hcl)); s.Targets["prod-account"].AWSIAM == nil {
		t.Errorf("the targets are %+v", s.Targets)
	}
	checkDownload(t, w)
}

// checkDownload compares the names of the files that the workflow downloads with those that a release has.
func checkDownload(t *testing.T, w workflow) {
	t.Helper()
	release := strings.NewReplacer("{{ .ProjectName }}", "terraform-provider-jit", "{{ .Version }}", "${JIT_VERSION}",
		"{{ .Os }}_{{ .Arch }}", "linux_amd64")
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^ +(?:- binary:|name_template:) "(.*)"$`).FindAllStringSubmatch(read(t,
		"../.goreleaser.yml"), 4) {
		names = append(names, release.Replace(m[1]))
	}
	var install string
	for _, s := range w.Jobs["sweep"].Steps {
		if s.Name == "Install jit" {
			install = strings.ReplaceAll(s.Run, "v$JIT_VERSION", "v${JIT_VERSION}")
		}
	}
	for _, name := range []string{"terraform-provider-jit_v${JIT_VERSION}",
		"terraform-provider-jit_${JIT_VERSION}_linux_amd64", "terraform-provider-jit_${JIT_VERSION}_SHA256SUMS"} {
		if !slices.Contains(names, name) || !strings.Contains(install, name) {
			t.Errorf("a release has %q, the workflow installs %q by\n%s", names, name, install)
		}
	}
	if w.Env["JIT_VERSION"] == "" {
		t.Error("it is not said which version is installed")
	}
}
