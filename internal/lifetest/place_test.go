package lifetest_test

import (
	"strings"
	"testing"
	"time"
)

// place is a target on which access can be tried.
type place interface {
	// target is the target's configuration, for the provider block and jit.hcl alike.
	target() string
	// role and scope are those of the place's grants.
	role() string
	scope() string
	// native reports whether the place itself ends access.
	native() bool
	// begins reports whether the place itself begins access.
	begins() bool
	// people makes n principals without access.
	people(t *testing.T, n int) []string
	// tries logs in as the principal, or sends a request as it, and reports whether it got through.
	tries(t *testing.T, principal string) bool
	// settles returns the time that a change may take to become effective.
	settles() time.Duration
	// foreign returns all foreign access, byte for byte.
	foreign(t *testing.T) string
	// dump returns everything, including facts that every write changes.
	dump(t *testing.T) string
	// marked counts the bindings with our marker.
	marked(t *testing.T) int
	// tamper alters the bindings with our marker, as an outsider, so that they give no access.
	tamper(t *testing.T)
}

// places are the platforms. open skips the test if a real server is missing.
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

// environment returns the environment variables that programs need for a place, if any.
func environment(p place) []string {
	if with, ok := p.(interface{ environment() []string }); ok {
		return with.environment()
	}
	return nil
}

// may fails the test unless the principal has access or not, as wanted.
func may(t *testing.T, p place, principal string, want bool, when string) {
	t.Helper()
	for deadline := time.Now().Add(p.settles()); ; time.Sleep(50 * time.Millisecond) {
		got := p.tries(t, principal)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: access of %s is %t, want %t\n%s", when, principal, got, want, p.dump(t))
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
