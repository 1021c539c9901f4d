// Package testenv finds the Terraform CLIs of this machine and starts real servers for tests: PostgreSQL, OpenSSH's
// sshd, a Kubernetes API, and moto and versitygw instead of AWS. Servers listen on loopback only, store their data in a
// temporary directory and end with the test process, however that ends. They start only if [EnvAcceptance] is set, as
// `make testacc` does; `make testenv` installs what they need.
package testenv

import (
	"os"
	"testing"
)

// EnvAcceptance names the environment variable that turns on the tests against
// real servers.
const EnvAcceptance = "JIT_TESTACC"

// Acceptance skips the test unless the tests against real servers are turned on.
func Acceptance(t testing.TB) {
	t.Helper()
	if os.Getenv(EnvAcceptance) == "" {
		t.Skipf("real servers are off: run `make testacc`, or set %s=1", EnvAcceptance)
	}
}

// Unavailable ends a test that lacks part of its environment. It fails the test in CI, where a skipped suite would look
// green, and skips it elsewhere. The reason should name the next step.
func Unavailable(t testing.TB, what string, reason error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not available: %v", what, reason)
	}
	t.Skipf("%s is not available: %v", what, reason)
}

// shared returns a server that all tests of the process share; the first call starts it.
func shared[T any](t testing.TB, what string, start func() (T, error)) T {
	t.Helper()
	Acceptance(t)
	server, err := start()
	if err != nil {
		Unavailable(t, what, err)
	}
	return server
}
