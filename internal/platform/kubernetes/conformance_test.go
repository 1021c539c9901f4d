package kubernetes

import (
	"fmt"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// TestConformance runs the suite on the fake cluster.
func TestConformance(t *testing.T) {
	conform(t, func(t *testing.T) *site { return fakeSite(t) })
}

// TestConformanceOnARealCluster runs the suite with requests as the principals, by an
// operator who has exactly the role of the manifest.
func TestConformanceOnARealCluster(t *testing.T) {
	testenv.Acceptance(t)
	conform(t, func(t *testing.T) *site { return realSite(t) })
}

func conform(t *testing.T, at func(t *testing.T) *site) {
	t.Run("namespace", func(t *testing.T) {
		platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target {
			s := at(t)
			target := s.target("namespaces/" + s.namespace)
			target.Principals = []string{"user:" + s.name + "-alice@example.com", "serviceaccount:" + s.namespace +
				"/deployer"}
			target.Roles = []string{"ClusterRole/" + s.role(0), "Role/" + s.role(1)}
			target.Gone = "namespaces/" + s.name + "-gone"
			return target
		}})
	})
	t.Run("cluster", func(t *testing.T) {
		platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target {
			s := at(t)
			target := s.target("cluster")
			target.Principals = []string{"group:" + s.name + " oncall", "user:" + s.name + ":bob"}
			target.Roles = []string{"ClusterRole/" + s.role(0), "ClusterRole/" + s.role(1)}
			return target
		}})
	})
}

// target describes one scope of the site to the suite.
func (s *site) target(scope string) *platformtest.Target {
	bad := func(name, attribute, principal, role, in string) platformtest.BadBinding {
		return platformtest.BadBinding{Name: name, Attribute: attribute,
			Binding: jit.Binding{Principal: principal, Role: role, Scope: in}}
	}
	const alice, view = "user:alice", "ClusterRole/view"
	var foreign int
	target := &platformtest.Target{
		Open: func(t *testing.T) jit.Platform { return s.open(t) },
		OpenAt: func(t *testing.T, offset time.Duration) jit.Platform {
			return s.openAs(t, s.cfg, func() time.Time { return time.Now().Add(offset) })
		},
		Scope: scope,
		BadBindings: []platformtest.BadBinding{
			bad("a principal of no kind", "principal", "alice", view, scope),
			bad("a service account without a namespace", "principal", "serviceaccount:deployer", view, scope),
			bad("everybody", "principal", "user:system:anonymous", view, scope),
			bad("a role of no kind", "role", alice, "view", scope),
			bad("a role with a slash", "role", alice, "ClusterRole/a/b", scope),
			bad("a Role on the cluster", "role", alice, "Role/view", "cluster"),
			bad("no scope", "scope", alice, view, ""),
			bad("a namespace in capitals", "scope", alice, view, "namespaces/Payments"),
		},
		Aliases: []platformtest.Alias{{
			Written:   jit.Binding{Principal: "user:system:serviceaccount:payments:deployer", Role: view, Scope: scope},
			Canonical: jit.Binding{Principal: "serviceaccount:payments/deployer", Role: view, Scope: scope},
		}},
		Impossible: &jit.Binding{Principal: alice, Role: "ClusterRole/" + s.name + "-none", Scope: scope},
		Allowed:    func(t *testing.T, b jit.Binding) bool { return s.allowed(t, b) },
		Foreign: func(t *testing.T, b jit.Binding) {
			foreign++
			s.put(t, scope, rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-foreign%d", s.name, foreign),
					Labels: map[string]string{"app.kubernetes.io/managed-by": "jit"}},
				Subjects: []rbacv1.Subject{subject(t, b.Principal)}, RoleRef: reference(b.Role),
			})
		},
		Dump:  func(t *testing.T) string { return s.dump(t, scope) },
		Calls: func() (reads, writes int) { return int(s.reads.Load()), int(s.writes.Load()) },
		MaxCalls: func(op jit.Op, n int) (reads, writes int) {
			lists := 1
			if s.fake != nil {
				lists = (n + 4) / s.fake.pageSize // its pages are tiny
			}
			if op == jit.Remove {
				return lists + 1, 1 // and a list that shows nothing
			}
			return lists + 3, n // the two roles and the service account
		},
		Tamper: platformtest.Tamper{
			MoveEnd: func(t *testing.T, m jit.Marker, end time.Time) {
				s.edit(t, scope, m, func(b *rbacv1.RoleBinding) {
					m.Window.End = end
					b.Annotations["jit.access/marker"] = m.String()
				})
			},
			StripEnd: func(t *testing.T, m jit.Marker) {
				s.edit(t, scope, m, func(b *rbacv1.RoleBinding) { b.Annotations = nil })
			},
			ChangeRole: func(t *testing.T, m jit.Marker, role string) {
				b := s.take(t, scope, m)
				b.RoleRef = reference(role)
				s.put(t, scope, b)
			},
			ChangePrincipal: func(t *testing.T, m jit.Marker, principal string) {
				s.edit(t, scope, m, func(b *rbacv1.RoleBinding) {
					b.Subjects = []rbacv1.Subject{subject(t,
						principal)}
				})
			},
			Duplicate: func(t *testing.T, m jit.Marker) {
				s.edit(t, scope, m, func(b *rbacv1.RoleBinding) {
					second := *b.DeepCopy()
					second.Name = s.name + "-" + string(m.ID)
					s.put(t, scope, second)
				})
			},
			Delete: func(t *testing.T, m jit.Marker) { s.take(t, scope, m) },
		},
		Break: s.breakDown,
	}
	if s.loses {
		target.Calls, target.MaxCalls = nil, nil // lost answers are looked up
	}
	return target
}

// breakDown takes the fake cluster down, or the operator's rights away on a real one.
func (s *site) breakDown(t *testing.T) (repair func()) {
	if s.fake != nil {
		set := func(down bool) {
			s.fake.mu.Lock()
			defer s.fake.mu.Unlock()
			s.fake.down = down
		}
		set(true)
		return func() { set(false) }
	}
	operator := s.name + "-operator"
	if err := s.rbac.ClusterRoleBindings().Delete(t.Context(), operator, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.settle(t)
	return func() { s.employ(t, operator) }
}
