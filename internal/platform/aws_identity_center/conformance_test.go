package awsidentitycenter

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
)

// TestConformance runs the suite on the model, with claims in a SQLite ledger.
func TestConformance(t *testing.T) {
	platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target { return newTarget(newSite(t)) }})
}

// TestConformanceUnderLag runs the suite on a directory whose reads and removals miss recent writes, and which loses
// the answer to every tenth call that writes after carrying it out.
func TestConformanceUnderLag(t *testing.T) {
	t.Parallel()
	platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target {
		s := newSite(t)
		s.lag = platformtest.Lag(50 * time.Millisecond)
		s.hurry = s.lag < time.Second
		s.fault = s.lossy()
		target := newTarget(s)
		target.Lag = s.lag
		target.MaxCalls = func(_ jit.Op, _ int) (reads, writes int) { return 100, 10 }
		return target
	}})
}

// lossy loses the answer to every tenth write.
func (s *site) lossy() func(string) *fault {
	n := 0
	return func(action string) *fault {
		if strings.HasPrefix(action, "Create") || strings.HasPrefix(action, "Delete") {
			n++
			return map[bool]*fault{true: {lost: true}}[n%10 == 0]
		}
		return nil
	}
}

// newTarget describes a site, with claims in a SQLite ledger.
func newTarget(s *site) *platformtest.Target {
	s.marks = nil
	usual := s.fault
	target := describeTarget()
	target.Open = func(t *testing.T) jit.Platform { return s.open(t) }
	target.OpenAt = func(t *testing.T, offset time.Duration) jit.Platform {
		return s.openAt(t, func() time.Time { return time.Now().Add(offset) })
	}
	target.Principals = []string{"user:alice@example.com", "group:On call"}
	target.Roles = []string{"ReadOnly", "Admin"}
	target.Scope, target.Gone = production, "999999999999"
	target.Impossible = &jit.Binding{Principal: "user:nobody@example.com", Role: "ReadOnly", Scope: production}
	target.Allowed = func(t *testing.T, b jit.Binding) bool { return s.allowed(t, b) }
	target.Foreign = func(t *testing.T, b jit.Binding) { s.foreign(t, b); time.Sleep(s.lag) }
	target.Dump = func(*testing.T) string { return s.dump() }
	target.Calls = func() (reads, writes int) { return int(s.reads.Load()), int(s.writes.Load()) }
	target.Tamper.Delete = func(t *testing.T, m jit.Marker) {
		for _, mark := range marked(t, s.open(t)) {
			if o, err := parseObject(mark.Object); err == nil && mark.Marker == m {
				s.with(func(m *model) { m.removed(assignment{production, o.set, string(o.kind), o.id}) })
				time.Sleep(s.lag)
			}
		}
	}
	target.Break = func(*testing.T) func() {
		s.with(func(m *model) {
			m.fault = func(string) *fault { return &fault{status: 503, code: "ServiceUnavailable"} }
		})
		return func() { s.with(func(m *model) { m.fault = usual }) }
	}
	return target
}

// describeTarget is what every site has in common.
func describeTarget() *platformtest.Target {
	bad := func(name, attribute, principal, role, scope string) platformtest.BadBinding {
		return platformtest.BadBinding{Name: name, Attribute: attribute,
			Binding: jit.Binding{Principal: principal, Role: role, Scope: scope}}
	}
	const alice, role = "user:alice", "ReadOnly"
	return &platformtest.Target{
		BadBindings: []platformtest.BadBinding{
			bad("a principal of no kind", "principal", "alice", role, production),
			bad("a principal without a name", "principal", "user:", role, production),
			bad("a blank at the end", "principal", "group:oncall ", role, production),
			bad("a role with a blank", "role", alice, "Read Only", production),
			bad("the ARN of a policy", "role", alice, "arn:aws:iam::aws:policy/ReadOnlyAccess", production),
			bad("no scope", "scope", alice, role, ""),
			bad("the name of an account", "scope", alice, role, "production"),
		},
		// Ticks go on for as long as a write takes, so the calls of a batch are bounded, not equal.
		MaxCalls: func(_ jit.Op, _ int) (reads, writes int) { return 40, 2 },
	}
}
