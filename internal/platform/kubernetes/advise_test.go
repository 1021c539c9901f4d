package kubernetes

import (
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A plan is told what of a binding does not exist, as far as the operator may look.
func TestWhatDoesNotExistIsTold(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p := s.open(t)
		if _, err := s.core.ServiceAccounts(s.namespace).Create(t.Context(),
			&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "deployer"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		here, view := "namespaces/"+s.namespace, "ClusterRole/"+s.role(0)
		for _, tt := range []struct {
			principal, role, scope string
			want                   string // attribute and title
		}{
			{"user:alice", view, here, ""},
			{"user:alice", view, "cluster", ""},
			{"serviceaccount:" + s.namespace + "/deployer", view, here, ""},
			{"user:alice", "Role/" + s.role(1), here, ""},
			{"user:alice", "ClusterRole/veiw", here, "role: The role does not exist"},
			{"user:alice", "ClusterRole/veiw", "cluster", "role: The role does not exist"},
			{"user:alice", "Role/veiw", here, "role: The role does not exist"},
			{"user:alice", view, "namespaces/nowhere", "scope: The namespace does not exist"},
			{"serviceaccount:" + s.namespace + "/nobody", view, here, "principal: The service account does not exist"},
		} {
			for range 2 { // what is there is remembered, what is not is looked for again
				var got []string
				for _, a := range p.advise(t.Context(),
					jit.Binding{Principal: tt.principal, Role: tt.role, Scope: tt.scope}) {
					got = append(got, a.Attribute+": "+a.Title)
				}
				if strings.Join(got, ", ") != tt.want {
					t.Errorf("%+v: told %q", tt, got)
				}
			}
		}
	})
	s := fakeSite(t)
	s.fake.forbid(func(r *http.Request) bool { return r.Method == http.MethodGet })
	if told := s.open(t).advise(t.Context(),
		jit.Binding{Principal: "user:alice", Role: "ClusterRole/veiw", Scope: "cluster"}); len(told) != 0 {
		t.Errorf("of what may not be looked at is told %+v", told)
	}
}
