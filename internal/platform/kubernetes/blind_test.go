package kubernetes

import (
	"net/http"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// An operator that may create bindings and not list them creates none.
func TestAnOperatorThatMayNotListWritesNothing(t *testing.T) {
	t.Run("fake", func(t *testing.T) {
		s := fakeSite(t)
		p := s.open(t)
		s.fake.forbid(func(r *http.Request) bool { return r.Method == http.MethodGet })
		writesNothing(t, s, p)
	})
	t.Run("real", func(t *testing.T) {
		s := realSite(t)
		user := s.name + "-blind"
		blind := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"rolebindings", "clusterrolebindings"},
				Verbs: []string{"create", "update", "delete", "deletecollection"}},
			{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterroles"}, Verbs: []string{"bind"}},
		}}
		if _, err := s.rbac.ClusterRoles().Create(t.Context(), blind, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		s.employ(t, user)
		writesNothing(t, s, s.openAs(t, Config{Kubeconfig: s.real.UserKubeconfig(t, user), Context: s.real.Context},
			time.Now))
	})
}

func writesNothing(t *testing.T, s *site, p *Platform) {
	t.Helper()
	for _, scope := range []string{"cluster", "namespaces/" + s.namespace} {
		a := s.access(scope, "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), "unseen")
		before := s.writes.Load()
		for _, op := range []jit.Op{jit.Ensure, jit.Remove} {
			if err := p.Apply(t.Context(), scope, []jit.Change{{Op: op, Access: a}})[0]; err == nil {
				t.Errorf("%s: %s without reading succeeded", scope, op)
			}
		}
		if s.writes.Load() != before || s.allowed(t, a.Binding) {
			t.Errorf("%s: %d writes were made; the access is given: %t", scope, s.writes.Load()-before,
				s.allowed(t, a.Binding))
		}
	}
}
