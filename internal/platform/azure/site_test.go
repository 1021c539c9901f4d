package azure

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/azuretest"
)

const (
	subscription  = "/subscriptions/11111111-0000-4000-8000-000000000000"
	resourceGroup = subscription + "/resourceGroups/payments"

	alice    = "aaaaaaaa-0000-4000-8000-000000000001"
	bob      = "bbbbbbbb-0000-4000-8000-000000000002"
	robot    = "cccccccc-0000-4000-8000-000000000003"
	stranger = "dddddddd-0000-4000-8000-000000000004"
)

// site is a tenant with a subscription, a resource group and some people.
type site struct {
	*azuretest.Server
	t          *testing.T
	assignment string
	recheck    time.Duration // of its instances
}

func newSite(t *testing.T, assignment string) *site {
	t.Helper()
	s := &site{azuretest.New(t), t, assignment, 800 * time.Millisecond}
	s.AddScope(subscription, resourceGroup)
	s.AddPrincipal("User", alice, 0)
	s.AddPrincipal("Group", bob, 0)
	s.AddPrincipal("ServicePrincipal", robot, 0)
	return s
}

// open returns a new instance, like that of another process, with short waits.
func (s *site) open(offset time.Duration, scopes ...string) *Platform {
	s.t.Helper()
	p, err := New(Config{Assignment: s.assignment, Endpoint: s.URL, Scopes: scopes},
		jit.Services{Now: func() time.Time { return s.Now().Add(offset) }})
	if err != nil {
		s.t.Fatal(err)
	}
	p.pace = pace{tick: 20 * time.Millisecond, recheck: s.recheck, replication: 50 * time.Millisecond,
		patience: 30 * time.Second, throttle: 2 * time.Second}
	return p
}

// binding is Reader on the resource group.
func binding(principal string) jit.Binding {
	return jit.Binding{Target: "prod", Principal: principal, Role: "Reader", Scope: resourceGroup}
}

// access is a grant that begins now.
func (s *site) access(b jit.Binding, why string, length time.Duration) jit.Access {
	start := jit.Second(s.Now())
	return jit.Access{Binding: b, Marker: jit.Marker{Owner: "payments", ID: jit.NewID("payments", b, why, 1),
		Window: jit.Window{Start: start, End: start.Add(length)}}}
}

// apply makes one change.
func (s *site) apply(p *Platform, op jit.Op, a jit.Access) error {
	s.t.Helper()
	return p.Apply(s.t.Context(), a.Binding.Scope, []jit.Change{{Op: op, Access: a}})[0]
}

func (s *site) must(p *Platform, op jit.Op, a jit.Access) {
	s.t.Helper()
	if err := s.apply(p, op, a); err != nil {
		s.t.Fatalf("%s: %v", op, err)
	}
}

// may fails the test unless alice can, or cannot, read the resource group now.
func (s *site) may(want bool, when string) {
	s.t.Helper()
	if got := s.Allowed(alice, azuretest.Reader, resourceGroup, s.Now()); got != want {
		s.t.Errorf("%s: alice may read: %t, want %t", when, got, want)
	}
}

// drift is the drift of a grant for a new process.
func (s *site) drift(a jit.Access, enforcement jit.Enforcement) string {
	s.t.Helper()
	snapshot, err := s.open(0).Read(s.t.Context(), a.Binding.Scope)
	if err != nil {
		s.t.Fatal(err)
	}
	g := jit.Grant{ID: a.Marker.ID, Owner: a.Marker.Owner, Binding: a.Binding, Window: a.Marker.Window,
		Enforcement: enforcement}
	return g.Drift(snapshot)
}

// foreign reports whether the text of an assignment or a request has no claim.
func foreign(text string) bool {
	return !strings.Contains(text, "jit:") && !strings.Contains(text, endMark)
}
