package kubernetes

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

// A gateway in front of several clusters tells them apart by the beginning of the path. All
// requests have it, say who we are, and take the encoding that is the quickest to read.
func TestRequestsThroughAGateway(t *testing.T) {
	s := fakeSite(t)
	const prefix = "/k8s/clusters/c-1"
	type asked struct{ what, agent, accept, sent string }
	var mu sync.Mutex
	var all []asked
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, prefix), "/v1/")
		mu.Lock()
		all = append(all, asked{r.Method + " " + kind, r.UserAgent(), r.Header.Get("Accept"), r.Header.Get("Content-Type")})
		mu.Unlock()
		http.StripPrefix(prefix, s.fake).ServeHTTP(w, r)
	}))
	t.Cleanup(gateway.Close)
	s.cfg.Host = gateway.URL + prefix
	p := s.open(t)
	for _, scope := range []string{"namespaces/" + s.namespace, "cluster"} {
		alice := s.access(scope, "user:alice", "ClusterRole/"+s.role(0), "gateway "+scope)
		all = nil
		apply(t, p, ensured(alice))
		wantWhole(t, p, alice)
		s.edit(t, scope, alice.Marker, func(b *rbacv1.RoleBinding) { b.Annotations = nil })
		apply(t, p, ensured(alice))
		wantWhole(t, p, alice)
		apply(t, p, removed(alice))
		if got := observed(t, p, alice); len(got) > 0 {
			t.Errorf("%s: %v is left", scope, got)
		}
		seen := map[string]bool{}
		for _, r := range all {
			seen[r.what] = true
			writes := !strings.HasPrefix(r.what, http.MethodGet)
			if r.agent != "terraform-provider-jit" || !strings.HasPrefix(r.accept, "application/vnd.kubernetes.protobuf,") || writes && r.sent != "application/vnd.kubernetes.protobuf" {
				t.Errorf("%s: %+v", scope, r)
			}
		}
		const roles = " /apis/rbac.authorization.k8s.io"
		for _, what := range []string{"GET" + roles, "POST" + roles, "PUT" + roles, "DELETE" + roles} {
			if !seen[what] {
				t.Errorf("%s: no %s in %v", scope, what, seen)
			}
		}
		if looked := seen["GET /api"]; looked != (scope != "cluster") {
			t.Errorf("%s: the namespace was looked for: %t", scope, looked)
		}
	}
}
