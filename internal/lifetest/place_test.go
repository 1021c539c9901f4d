package lifetest_test

import (
	"strings"
	"testing"
	"time"
)

// place is a target with an access that can be tried.
type place interface {
	// target is the target's configuration, for the provider block and jit.hcl alike.
	target() string
	// role and scope are what the grants of the place give.
	role() string
	scope() string
	// native reports whether the place ends access without any process of ours.
	native() bool
	// begins reports whether the place begins access without any process of ours.
	begins() bool
	// people makes n principals who have no access.
	people(t *testing.T, n int) []string
	// tries logs in as the principal, or sends a request as it, and reports whether it got through.
	tries(t *testing.T, principal string) bool
	// settles is how long a change may take to become effective.
	settles() time.Duration
	// foreign returns everything that is not ours, byte for byte.
	foreign(t *testing.T) string
	// dump returns everything, with whatever changes when somebody writes.
	dump(t *testing.T) string
	// marked counts the bindings that bear our marker.
	marked(t *testing.T) int
	// tamper alters the bindings that bear our marker so that they give no access, as an outsider.
	tamper(t *testing.T)
}

// places are the platforms; open skips the test where a real server is missing.
var places = []struct {
	name string
	open func(t *testing.T) place
}{
	{"ssh", newHost},
	{"postgresql", newDatabase},
	{"kubernetes", newCluster},
	{"aws_iam", newAccount},
	{"aws_identity_center", newDirectory},
	{"azure", newSubscription},
	{"gcp", newProject},
	{"hoop", newGateway},
}

// unmarked is a place whose bindings cannot hold a marker. The ledger keeps claims, and a binding can only be
// removed, not altered.
type unmarked interface{ unmarked() }

// environment is the environment that programs need to work on a place, if any.
func environment(p place) []string {
	if with, ok := p.(interface{ environment() []string }); ok {
		return with.environment()
	}
	return nil
}

// may fails the test unless the principal can get through or not, as wanted.
func may(t *testing.T, p place, principal string, want bool, when string) {
	t.Helper()
	for deadline := time.Now().Add(p.settles()); ; time.Sleep(50 * time.Millisecond) {
		got := p.tries(t, principal)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s gets through: %t, want %t\n%s", when, principal, got, want, p.dump(t))
		}
	}
}

// same fails the test if two dumps differ.
func same(t *testing.T, before, after, what string) {
	t.Helper()
	if before != after {
		t.Errorf("%s:\n%s\nbefore it was\n%s", what, indent(after), indent(before))
	}
}

func indent(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }
