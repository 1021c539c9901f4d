// Package testenv finds the Terraform CLIs on hand and starts real servers for
// tests: PostgreSQL, OpenSSH's sshd, a Kubernetes API, and moto and versitygw in AWS's place. Servers listen on
// loopback only, keep their data in a temporary directory and end with the test
// process, however that ends. They start only where [EnvAcceptance] is set, as
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

// Unavailable ends a test which lacks something of its environment. A person at
// a desk gets a skip; under CI it is a failure, because there a skipped suite
// would pass for a green one. The reason should name the next step.
func Unavailable(t testing.TB, what string, reason error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not available: %v", what, reason)
	}
	t.Skipf("%s is not available: %v", what, reason)
}
