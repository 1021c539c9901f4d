// Package platformtest is the conformance suite of platforms: it tries every promise that they make, on each. A
// platform's test describes a fresh target and calls [Run]. The suite skips nothing unless the target says that it
// cannot exist there.
package platformtest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Lag returns how long the reads of a test server miss a write: the given time, or that of a service on a bad day if the
// tests may take long (JIT_TEST_LONG). What a platform does does not depend on the length; the tests wait for it.
func Lag(short time.Duration) time.Duration {
	if os.Getenv("JIT_TEST_LONG") != "" {
		return 5 * time.Second
	}
	return short
}

// Target is one place where access lives, made for one case, with nothing of ours on it. Optional fields may be nil;
// all others are required.
type Target struct {
	// Open returns a new instance of the platform on this target, like that of another process.
	Open func(t *testing.T) jit.Platform
	// OpenAt returns an instance whose own clock is offset from the target's. Optional: nil if the target has no clock.
	OpenAt func(t *testing.T, offset time.Duration) jit.Platform

	// Principals are two principals, and Roles one role or two, in canonical form and real on
	// the target; every combination of them can be granted on Scope. Name is used as jit.Binding.Target.
	Principals []string
	Roles      []string
	Scope      string
	// Gone is a well-formed scope that has vanished (a namespace that was deleted); empty if that cannot happen.
	Gone string
	// Other is a third principal, for foreign access beside our grants, on a target that holds one binding of a
	// principal and role and so refuses a grant of access that the principal already has. Empty if the target holds
	// both.
	Other string
	// BadBindings must be refused by Check; at least one is required.
	BadBindings []BadBinding
	// Aliases are other spellings of a binding, with the canonical form of each. Optional.
	Aliases []Alias
	// Impossible is a binding in good form that the target refuses, such as one of a principal who does not exist.
	// Optional.
	Impossible *jit.Binding

	// Allowed tries the access itself, now, and reports whether it works. Optional: nil if it cannot be tried.
	Allowed func(t *testing.T, b jit.Binding) bool
	// AllowedAt reports whether the target as it stands would give the access at that time. Optional: for platforms
	// that end access by themselves.
	AllowedAt func(t *testing.T, b jit.Binding, at time.Time) bool
	// Early is how long before its end the target may end access by itself. Optional.
	Early time.Duration

	// Lag is how long a read may miss a write. Optional.
	Lag time.Duration

	// Foreign gives the access without an end and without a marker, as somebody else would.
	Foreign func(t *testing.T, b jit.Binding)
	// Dump returns everything on the target that bears no marker, byte for byte.
	Dump func(t *testing.T) string

	// Calls counts the calls of all instances so far. Optional.
	Calls func() (reads, writes int)
	// MaxCalls returns how many calls one Apply of n changes, all ensure or all remove, may make. Optional: nil if the
	// number must not depend on n.
	MaxCalls func(op jit.Op, n int) (reads, writes int)

	Tamper Tamper

	// Break makes the target unreachable or read-only until repair is called. Optional.
	Break func(t *testing.T) (repair func())
}

// Tamper changes the binding that bears the marker without the platform. A nil field cannot be done there.
type Tamper struct {
	MoveEnd         func(t *testing.T, m jit.Marker, end time.Time)
	StripEnd        func(t *testing.T, m jit.Marker)
	ChangeRole      func(t *testing.T, m jit.Marker, role string)
	ChangePrincipal func(t *testing.T, m jit.Marker, principal string)
	Duplicate       func(t *testing.T, m jit.Marker)
	// Delete removes the binding.
	Delete func(t *testing.T, m jit.Marker)
}

// BadBinding is a binding that Check refuses.
type BadBinding struct {
	Name    string
	Binding jit.Binding
	// Attribute is the one to blame: principal, role or scope.
	Attribute string
}

// Alias is another spelling of a binding.
type Alias struct{ Written, Canonical jit.Binding }

// Harness describes how a platform is put to the test.
type Harness struct {
	// New makes a fresh target for one case; t's cleanup takes it down.
	New func(t *testing.T) *Target
}

// patience bounds each case of the suite. The slowest takes two minutes on a machine that is busy with other things.
const patience = 10 * time.Minute

// Run runs the whole suite, each promise as a subtest.
func Run(t *testing.T, h Harness) {
	for _, c := range cases {
		t.Run(c.promise, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			target := h.New(t)
			target.complete(t)
			c.check(&trial{T: t, ctx: ctx, Target: target})
		})
	}
}

var cases = []struct {
	promise string
	check   func(*trial)
}{
	{"Check brings a binding into one canonical form and makes no call", checkCanonical},
	{"Check refuses what cannot be, and names the attribute", checkRefusal},
	{"what Ensure wrote is what Read sees and gives the access", ensureThenRead},
	{"a second Ensure changes nothing", ensureTwice},
	{"Ensure with another window replaces the first", ensureReplaces},
	{"Remove ends the access and may be repeated", removeTwice},
	{"Remove needs nothing but owner and id", removeByID},
	{"Remove of what never was is success", removeAbsent},
	{"a scope that is not there refuses Ensure and stops nothing else", noSuchScope},
	{"a batch costs no more calls than one change", batchCost},
	{"one bad change does not fail its neighbours", badNeighbour},
	{"overlapping grants do not end each other", overlapping},
	{"another owner's grant of the same id is left alone", otherOwner},
	{"access that the principal had before is neither adopted nor removed", priorAccess},
	{"standing access is listed and ours is not", standing},
	{"all that is foreign stays as it is, byte for byte", foreignStays},
	{"concurrent writers of several processes lose nothing", concurrent},
	{"a cancelled context does nothing, at once", cancelled},
	{"a call cut off half-way leaves each grant whole or absent", cutOff},
	{"tampering is visible and Ensure repairs it", tampered},
	{"the scope is listed once it holds a grant", scopesListed},
	{"access ends by itself where the platform says so", endsByItself},
	{"disagreeing clocks stop Ensure and not Remove", clockSkew},
	{"a target that fails is an error and changes nothing", broken},
}

// complete fails the test if the description of the target is incomplete.
func (target *Target) complete(t *testing.T) {
	t.Helper()
	switch {
	case target.Open == nil, target.Foreign == nil, target.Dump == nil:
		t.Fatal("the target needs Open, Foreign and Dump")
	case len(target.Principals) != 2, len(target.Roles) == 0, len(target.Roles) > 2, target.Scope == "":
		t.Fatal("the target needs two principals, one role or two, and a scope")
	case len(target.BadBindings) == 0:
		t.Fatal("the target needs a binding that Check refuses")
	}
}
