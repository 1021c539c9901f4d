package testenv_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// The command that is made of the shared library behaves as Terraform does.
func TestNewestTerraform(t *testing.T) {
	cli := testenv.NewestTerraform(t)
	dir := t.TempDir()
	write := func(name, content string) {
		path := filepath.Join(dir, name)
		err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600))
		if err != nil {
			t.Fatal(err)
		}
	}
	write("cli.tfrc", "")
	write("there/main.tf", "variable \"said\" {}\noutput \"heard\" { value = var.said }\n")
	write("asleep/main.tf", `resource "terraform_data" "this" {
  provisioner "local-exec" { command = "echo begun; sleep 60" }
}
`)
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), cli.Path, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+filepath.Join(dir, "cli.tfrc"), "TF_IN_AUTOMATION=1",
			"CHECKPOINT_DISABLE=1", "TF_DATA_DIR="+filepath.Join(dir, "data"))
		return cmd
	}
	for _, test := range []struct {
		args  []string
		stdin string
		code  int
		says  string
	}{
		{args: []string{"version"}, says: "Terraform v" + cli.Version},
		{args: []string{"nonsense"}, code: 1, says: "no command named"},
		{args: []string{"-chdir=nowhere", "plan"}, code: 1, says: "nowhere"},
		{args: []string{"-chdir=there", "plan", "-detailed-exitcode", "-no-color"}, stdin: "hello\n", code: 2,
			says: `+ heard = "hello"`},
		{args: []string{"console"}, stdin: "20 + 22\n", says: "42"},
	} {
		cmd := command(test.args...)
		cmd.Stdin = strings.NewReader(test.stdin)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(string(out)), " ")
		if cmd.ProcessState.ExitCode() != test.code || !strings.Contains(text, test.says) {
			t.Errorf("%q: exit code %d, want %d and %q:\n%s", test.args, cmd.ProcessState.ExitCode(), test.code, test.says, out)
		}
	}
	interrupted(t, command("-chdir=asleep", "apply", "-auto-approve", "-no-color"))
}

// interrupted fails the test unless Ctrl-C stops the apply in good order.
func interrupted(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	sent, buffer := false, make([]byte, 4096)
	for {
		n, err := stdout.Read(buffer)
		said.Write(buffer[:n])
		if !sent && strings.Contains(said.String(), "begun\n") {
			sent = true
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
		if err != nil {
			break
		}
	}
	_ = cmd.Wait() // its exit code is checked
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(said.String(), "Stopping operation...") {
		t.Errorf("after Ctrl-C: exit code %d, want 1 in good order:\n%s", code, said.String())
	}
}
