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
