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
// requests have it, say who we are, and take the encoding that is the quickest to read; a
// write says in whose name the cluster records it.
func TestRequestsThroughAGateway(t *testing.T) {
	s := fakeSite(t)
	const prefix, protobuf = "/k8s/clusters/c-1", "application/vnd.kubernetes.protobuf"
	type asked struct{ what, agent, accept, sent, manager string }
	var mu sync.Mutex
	var all []asked
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, ok := strings.CutPrefix(r.URL.Path, prefix)
		if !ok {
			t.Errorf("%s %s is not of the cluster", r.Method, r.URL.Path)
		}
		kind, _, _ := strings.Cut(path, "/v1/")
		mu.Lock()
		all = append(all, asked{r.Method + " " + kind, r.UserAgent(), r.Header.Get("Accept"),
			r.Header.Get("Content-Type"), r.URL.Query().Get("fieldManager")})
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
			method, _, _ := strings.Cut(r.what, " ")
			want := asked{r.what, "terraform-provider-jit", protobuf + ",application/json", "", ""}
			if method != http.MethodGet {
				want.sent = protobuf
			}
			if method == http.MethodPost || method == http.MethodPut {
				want.manager = "jit"
			}
			if r != want {
				t.Errorf("%s: asked %+v, want %+v", scope, r, want)
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
