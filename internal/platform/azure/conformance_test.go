package azure

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/azuretest"
)

func TestConformance(t *testing.T) {
	for name, tt := range map[string]struct {
		assignment string
		prepare    func(s *site)
	}{
		"pim":  {pimAssignment, func(*site) {}},
		"rbac": {rbacAssignment, func(*site) {}},
		"pim, lists are late and answers get lost": {pimAssignment, func(s *site) {
			s.Lag, s.Lose, s.Unfound = 5*time.Second, 10, 1
		}},
		"rbac, answers get lost": {rbacAssignment, func(s *site) { s.Lose = 10 }},
		// Nothing but the list shows a new process what others wrote, so each case waits for it. It lags for longer than
		// a writer waits before it looks again.
		"rbac, lists are late and answers get lost": {rbacAssignment, func(s *site) {
			s.Lag, s.Lose = platformtest.Lag(400*time.Millisecond), 10
			s.recheck = s.Lag / 2
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target {
				s := newSite(t, tt.assignment)
				tt.prepare(s)
				return newTarget(s)
			}})
		})
	}
}

var roleIDs = map[string]string{"Reader": azuretest.Reader, "Contributor": azuretest.Contributor}

func bad(name, attribute, principal, role, scope string) platformtest.BadBinding {
	return platformtest.BadBinding{
		Name: name, Attribute: attribute, Binding: jit.Binding{Principal: principal, Role: role, Scope: scope},
	}
}

func newTarget(s *site) *platformtest.Target {
	s.Active = 0 // every case removes its grants at once
	s.Looks = 2
	s.PageSize = 50
	id := func(b jit.Binding) string { return b.Principal[strings.IndexByte(b.Principal, ':')+1:] }
	target := &platformtest.Target{
		// As in use: changes of one scope in one process are batched.
		Open:       func(*testing.T) jit.Platform { return batch.Share(s.open(0), 0, s.Now) },
		OpenAt:     func(_ *testing.T, offset time.Duration) jit.Platform { return s.open(offset) },
		Principals: []string{"user:" + alice, "group:" + bob}, Roles: []string{"Reader", "Contributor"},
		Scope: resourceGroup,
		Gone:  subscription + "/resourceGroups/gone",
		Other: "servicePrincipal:" + robot,
		BadBindings: []platformtest.BadBinding{
			bad("a name for an id", "principal", "user:alice@example.com", "Reader", resourceGroup),
			bad("no kind", "principal", alice, "Reader", resourceGroup),
			bad("a role that is a path", "role", "user:"+alice, "/roles/Reader", resourceGroup),
			bad("no scope", "scope", "user:"+alice, "Reader", ""),
			bad("a name that is too long", "scope", "user:"+alice, "Reader",
				subscription+"/resourceGroups/"+strings.Repeat("é", 261)),
			bad("half a resource", "scope", "user:"+alice, "Reader", resourceGroup+"/providers/Microsoft.Storage"),
		},
		Aliases: []platformtest.Alias{{
			Written: jit.Binding{
				Principal: "user:" + strings.ToUpper(alice), Role: definitions + strings.ToUpper(azuretest.Reader),
				Scope: "/SUBSCRIPTIONS/" + strings.ToUpper(subscription[15:]) + "/resourcegroups/payments/",
			},
			Canonical: jit.Binding{Principal: "user:" + alice, Role: azuretest.Reader, Scope: resourceGroup},
		}, {
			Written: jit.Binding{
				Principal: "group:" + bob, Role: "Reader",
				Scope: "/providers/microsoft.management/managementgroups/payments",
			},
			Canonical: jit.Binding{Principal: "group:" + bob, Role: "Reader", Scope: managementGroups + "payments"},
		}},
		Impossible: &jit.Binding{Principal: "user:" + stranger, Role: "Reader", Scope: resourceGroup},
		Allowed: func(_ *testing.T, b jit.Binding) bool {
			return s.Allowed(id(b), roleIDs[b.Role], b.Scope, s.Now())
		},
		Foreign: func(_ *testing.T, b jit.Binding) {
			s.Assign(fmt.Sprintf("eeeeeeee-0000-4000-8000-%s", strings.ToLower(rand.Text()[:12])), id(b),
				roleIDs[b.Role], b.Scope, "of old")
			s.Advance(s.Lag)
		},
		Dump:  func(*testing.T) string { return s.Dump(foreign) },
		Calls: s.Calls,
		MaxCalls: func(_ jit.Op, n int) (reads, writes int) {
			if s.assignment == rbacAssignment {
				return 16 + s.Lose, 2 + s.Lose/5 // four are looked at again before; what is lost is done again
			}
			requests := n/together + 2
			return 20 + requests*s.Looks, requests
		},
		Break: func(*testing.T) (repair func()) {
			down := make([]azuretest.Fault, 1000)
			for i := range down {
				down[i] = azuretest.Fault{Status: 503, Code: "ServerTimeout"}
			}
			s.Fail(down...)
			return func() { s.Fail() }
		},
	}
	where := func(t *testing.T, m jit.Marker) (principal, role string) {
		t.Helper()
		snapshot, err := s.open(0).Read(t.Context(), resourceGroup)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range snapshot.Ours {
			if o.Marker.ID == m.ID {
				return id(jit.Binding{Principal: o.Principal}), roleIDs[o.Role]
			}
		}
		t.Fatalf("no binding of %s", m)
		return "", ""
	}
	if s.assignment == rbacAssignment {
		target.Lag = s.Lag
		target.Tamper = platformtest.Tamper{
			Delete: func(t *testing.T, m jit.Marker) {
				if s.Unassign(string(m.ID)) == 0 {
					t.Fatal("nothing to delete")
				}
			},
		}
		return target
	}
	target.AllowedAt = func(_ *testing.T, b jit.Binding, at time.Time) bool {
		return s.Allowed(id(b), roleIDs[b.Role], b.Scope, at)
	}
	target.Tamper = platformtest.Tamper{
		MoveEnd: func(t *testing.T, m jit.Marker, end time.Time) {
			principal, role := where(t, m)
			s.Move(principal, role, resourceGroup, end)
		},
		StripEnd: func(t *testing.T, m jit.Marker) {
			principal, role := where(t, m)
			s.Move(principal, role, resourceGroup, time.Time{})
		},
		Delete: func(t *testing.T, m jit.Marker) {
			principal, role := where(t, m)
			s.Revoke(principal, role, resourceGroup)
		},
	}
	return target
}
