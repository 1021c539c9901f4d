package provider_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// Two people's keys.
const (
	alice = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBEpMmcaQDa7RrvUdYgxFOd8cmZphQCfzkQ6jWvPM4P2"
	bob   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGUr9nfr4qaKwK8nzW8GsQyi1WnO0I9oTfnhrdhS4m0U"
)

// foreign is somebody else's line, which every test must keep.
const foreign = "# keys of the build machines\n"

// each runs a test in a workspace of every available command line.
func each(t *testing.T, test func(t *testing.T, w *acctest.World)) {
	t.Parallel()
	for _, cli := range testenv.Terraforms(t) {
		t.Run(cli.String(), func(t *testing.T) {
			w := acctest.New(t, cli, acctest.Options{})
			w.Write("authorized_keys", foreign)
			test(t, w)
		})
	}
}

// configure writes main.tf: the provider with one target, "host", and the resources.
func configure(w *acctest.World, resources ...string) {
	configureWith(w, "", resources...)
}

// configureWith also writes settings into the provider block.
func configureWith(w *acctest.World, settings string, resources ...string) {
	w.Write("main.tf", fmt.Sprintf(`
terraform {
  required_providers {
    jit = { source = "jitaccess/jit" }
  }
}

provider "jit" {
  targets = { host = { ssh = { authorized_keys = %q } } }
  %s
}
%s`, w.Path("authorized_keys"), settings, strings.Join(resources, "\n")))
}

// grant returns the block jit_grant.<name>: alice may log in for two hours. A line replaces the line of the same
// attribute; a line without a value, such as "ttl =", removes it.
func grant(name string, lines ...string) string {
	attributes := []string{`target = "host"`, fmt.Sprintf("principal = %q", alice), `role = "login"`,
		`reason = "INC-1: look"`, `ttl = "2h"`}
	for _, line := range lines {
		attribute, value, _ := strings.Cut(line, "=")
		for i, a := range attributes {
			if strings.HasPrefix(a, strings.TrimSpace(attribute)+" =") {
				attributes[i] = ""
			}
		}
		if strings.TrimSpace(value) != "" || !strings.Contains(line, "=") {
			attributes = append(attributes, line)
		}
	}
	return fmt.Sprintf("resource \"jit_grant\" %q {\n  %s\n}\n", name, strings.Join(attributes, "\n  "))
}

// policy returns the block jit_policy.<name>, which matches everything.
func policy(name string, lines ...string) string {
	return fmt.Sprintf("resource \"jit_policy\" %q {\n  name = %q\n  match = [{}]\n  %s\n}\n", name, name,
		strings.Join(lines, "\n  "))
}

// unchanged fails the test unless every kind of plan is empty.
func unchanged(t *testing.T, w *acctest.World, when string) {
	t.Helper()
	for _, args := range [][]string{nil, {"-refresh-only"}, {"-refresh=false"}} {
		if r := w.Plan(args...); r.ExitCode != 0 {
			t.Errorf("%s: plan %v: exit code %d, want 0\n%s", when, args, r.ExitCode, r.Text())
		}
	}
}

// says fails the test unless the text has every part.
func says(t *testing.T, r acctest.Result, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(r.Text(), part) {
			t.Errorf("the output does not say %q:\n%s", part, r.Text())
		}
	}
}

// warnings counts the warnings of an output. In CI, the provider also warns that the ledger is a local file; that one
// does not count.
func warnings(r acctest.Result) int {
	text := r.Text()
	return strings.Count(text, "Warning:") - strings.Count(text, "Warning: The ledger is a local file in CI")
}

// fact returns an attribute of a resource in the state.
func fact(t *testing.T, w *acctest.World, address, attribute string) string {
	t.Helper()
	values, ok := w.State()[address]
	if !ok {
		t.Fatalf("%s is not in the state", address)
	}
	return fmt.Sprint(values[attribute])
}

// lines counts the lines of the file with our marker.
func lines(w *acctest.World) int { return strings.Count(w.Read("authorized_keys"), " jit:") }
