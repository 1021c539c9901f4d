package kubernetes

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A binding of others that bears our annotation, and a subject whose namespace is a path, steers no request and stops no
// read: the API server checks only that the namespace of a subject is not empty.
func TestABindingOfOthersSteersNoRead(t *testing.T) {
	s := fakeSite(t)
	p := s.open(t)
	scope := "namespaces/" + s.namespace
	a := s.access(scope, "serviceaccount:"+s.namespace+"/deployer", "ClusterRole/"+s.role(0), "x")
	apply(t, p, ensured(a))
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Name: "x", Namespace: s.namespace + "/pods/mine/proxy"}}
	s.put(t, scope, rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "theirs", Annotations: map[string]string{accountAnnotation: "x"}},
		Subjects:   subjects,
		RoleRef:    reference("ClusterRole/" + s.role(0)),
	})
	copied := newBinding(a.Marker, subjects[0], reference(a.Binding.Role), s.namespace)
	copied.Name, copied.Annotations[accountAnnotation] = "copy", "x"
	s.put(t, scope, *copied)
	answer(s, "/proxy/", func(w http.ResponseWriter) { _, _ = fmt.Fprint(w, "<html>") })
	before := func(r *http.Request) {
		if strings.Contains(r.URL.Path, "/pods/") {
			t.Errorf("a read asked for %s", r.URL.Path)
		}
	}
	s.fake.before.Store(&before)
	if _, err := p.Read(t.Context(), scope); err != nil {
		t.Errorf("the scope can no longer be read: %v", err)
	}
}

// A service account that cannot be read stops only the grants that depend on it.
func TestAnUnreadAccountStopsOnlyItsGrants(t *testing.T) {
	s := fakeSite(t)
	p := s.open(t)
	scope := "namespaces/" + s.namespace
	answer(s, "/serviceaccounts/", func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) })
	person := s.access(scope, "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), "x")
	account := s.access(scope, "serviceaccount:"+s.namespace+"/deployer", "ClusterRole/"+s.role(0), "x")
	errs := p.Apply(t.Context(), scope, []jit.Change{ensured(person), ensured(account)})
	if errs[0] != nil || !s.allowed(t, person.Binding) {
		t.Errorf("alice is not granted: %v", errs[0])
	}
	if errs[1] == nil || s.allowed(t, account.Binding) {
		t.Errorf("the service account that was not read is granted: %v", errs[1])
	}
}

// answer answers the requests of which the path contains part.
func answer(s *site, part string, with func(w http.ResponseWriter)) {
	inner := s.fake.Config.Handler
	s.fake.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, part) {
			with(w)
			return
		}
		inner.ServeHTTP(w, r)
	})
}
