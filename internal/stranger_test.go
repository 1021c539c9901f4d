package internal_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// A stranger checks a release and installs it as the guide says, without the registry or a network: the command from
// its archive, the provider from a mirror. Access works, and the checks find an archive that was changed.
func TestStrangersPath(t *testing.T) {
	if os.Getenv("JIT_TEST_LONG") == "" {
		t.Skip("part of `make test-long`: it builds a release")
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("the guide shows linux_amd64")
	}
	release := makeRelease(t)
	sums, err := filepath.Glob(filepath.Join(release, "*_SHA256SUMS"))
	if err != nil || len(sums) != 1 {
		t.Fatalf("%q: %v", sums, err)
	}
	version := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(sums[0]), "terraform-provider-jit_"), "_SHA256SUMS")
	guide := read(t, "../templates/guides/install.md")
	section := func(title string) string {
		_, text, _ := strings.Cut(guide, "\n## "+title+"\n")
		text, _, _ = strings.Cut(text, "\n## ")
		return text
	}
	steps := blocks(section("The command"), "shell")[0] + blocks(section("Without the registry"), "shell")[0]
	for old, made := range map[string]string{"VERSION=0.1.0": "VERSION=" + version, "sudo install": "install",
		"/usr/local/bin/": "./bin/", "\njit --version": "\n./bin/jit --version"} {
		if !strings.Contains(steps, old) {
			t.Fatalf("the guide has no %q:\n%s", old, steps)
		}
		steps = strings.ReplaceAll(steps, old, made)
	}
	install := func(dir string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "bash", "-euc", "mkdir bin\n"+steps)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}

	changed := downloaded(t, release)
	archive := filepath.Join(changed, "jit_"+version+"_linux_amd64.tar.gz")
	if err := os.WriteFile(archive, append([]byte(read(t, archive)), 0), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := install(changed); err == nil || !strings.Contains(out, "FAILED") {
		t.Errorf("a changed archive is installed: %v\n%s", err, out)
	}
	forged := downloaded(t, release)
	claimed := filepath.Join(forged, filepath.Base(sums[0]))
	if err := os.WriteFile(claimed, []byte(read(t, claimed)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := install(forged); err == nil || !strings.Contains(out, "BAD signature") {
		t.Errorf("changed checksums are believed: %v\n%s", err, out)
	}

	here := downloaded(t, release)
	out, err := install(here)
	if err != nil || !strings.Contains(out, "Good signature") || !strings.Contains(out, "OK\n") ||
		!regexp.MustCompile(`jit `+regexp.QuoteMeta(version)+` \(commit [0-9a-f]{7,}, go`).MatchString(out) {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, cli := range testenv.Terraforms(t) {
		t.Run(cli.String(), func(t *testing.T) { strangerGrants(t, cli, here, version) })
	}
}

// strangerGrants grants with the provider of the mirror, and ends the access with the command. Nothing may be fetched.
// Terraform reads the names of archives in lower case.
func strangerGrants(t *testing.T, cli testenv.CLI, installed, version string) {
	mirror := filepath.Join(installed, "mirror", cli.Registry(), "jitaccess", "jit")
	if cli.Kind == "tofu" { // the folder that the guide names for OpenTofu
		if err := os.MkdirAll(filepath.Dir(filepath.Dir(mirror)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(installed, "mirror", "registry.terraform.io", "jitaccess"),
			filepath.Dir(mirror)); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	keys := filepath.Join(dir, "authorized_keys")
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(program string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+filepath.Join(dir, "cli.tfrc"), "CHECKPOINT_DISABLE=1",
			"HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", program, args, err, out)
		}
		return string(out)
	}
	write("cli.tfrc", fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n",
		filepath.Join(installed, "mirror")))
	settings := fmt.Sprintf("targets = { host = { ssh = { authorized_keys = %q } } }\n", keys)
	write("jit.hcl", settings)
	pinned := strings.Replace(requires, "jit\" }", "jit\", version = \""+strings.ToLower(version)+"\" }", 1)
	write("main.tf", pinned+"provider \"jit\" {\n"+settings+"}\n"+fmt.Sprintf("resource \"jit_grant\" \"a\" {\n"+
		"  target = \"host\"\n  principal = %q\n  role = \"login\"\n  reason = \"INC-1: look\"\n  ttl = \"1h\"\n}\n",
		exampleKey))
	write("authorized_keys", "")
	holds := func(want bool, when string) {
		t.Helper()
		if got := strings.Contains(read(t, keys), exampleKey); got != want {
			t.Errorf("%s: the key may log in: %t, want %t\n%s", when, got, want, read(t, keys))
		}
	}
	run(cli.Path, "init", "-input=false")
	run(cli.Path, "plan", "-input=false", "-out=plan")
	holds(false, "after the plan")
	run(cli.Path, "apply", "-input=false", "plan")
	holds(true, "after the apply")
	jit := filepath.Join(installed, "bin", "jit")
	if out := run(jit, "list"); !strings.Contains(out, "INC-1: look") {
		t.Errorf("the command does not list the grant:\n%s", out)
	}
	run(jit, "revoke", "--all", "--yes", "--reason", "done")
	holds(false, "after the revocation")
	run(cli.Path, "plan", "-input=false", "-detailed-exitcode")
}

// makeRelease makes the files of a release of the current commit for linux_amd64, signed with a key for this test, and
// returns their folder. gpg knows the key.
func makeRelease(t *testing.T) string {
	t.Helper()
	home, source := t.TempDir(), filepath.Join(t.TempDir(), "source")
	t.Setenv("GNUPGHOME", home)
	t.Setenv("GPG_FINGERPRINT", "release@example.com")
	run := func(dir, program string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", program, args, err, out)
		}
		return string(out)
	}
	t.Cleanup(func() { // its agent would outlive the test
		_ = exec.Command("gpgconf", "--kill", "all").Run() // the context of the test has ended
	})
	run(home, "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", "release@example.com", "ed25519", "sign",
		"1d")
	run("..", "git", "clone", "--quiet", ".", source)
	pinned := regexp.MustCompile(`(?m)^GORELEASER +:= (\S+)$`).FindStringSubmatch(read(t, "../GNUmakefile"))[1]
	t.Setenv("GOFLAGS", "") // of the tools
	settings := filepath.Join(source, ".goreleaser.yml")
	one := regexp.MustCompile(`(?s)(goos: &goos)\n.*?(goarch: &goarch)\n.*?(\n  - id: jit)`).ReplaceAllString(
		read(t, settings), "$1 [linux]\n    $2 [amd64]$3") // the other systems would take eight times as long
	if err := os.WriteFile(settings, []byte(one), 0o600); err != nil {
		t.Fatal(err)
	}
	run(source, "go", "run", pinned, "check")
	run(source, "go", "run", pinned, "release", "--snapshot", "--clean", "--skip=docker")
	return filepath.Join(source, "dist")
}

// downloaded is a folder with the files of a release that the guide names.
func downloaded(t *testing.T, release string) string {
	t.Helper()
	dir := t.TempDir()
	for _, pattern := range []string{"*_SHA256SUMS*", "*_linux_amd64.zip", "*_linux_amd64.tar.gz"} {
		files, err := filepath.Glob(filepath.Join(release, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %q, %v", pattern, files, err)
		}
		for _, file := range files {
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), []byte(read(t, file)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}
