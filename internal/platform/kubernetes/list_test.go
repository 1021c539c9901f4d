package kubernetes

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

// TestApplyListsItsOwnBindings: Apply lists the bindings that its labels select, and the whole scope only if a binding
// that it must remove is not among them. After a removal it lists once more.
func TestApplyListsItsOwnBindings(t *testing.T) {
	s := fakeSite(t)
	p, a := s.open(t), s.access("cluster", "user:alice", "ClusterRole/"+s.role(0), "list")
	var mu sync.Mutex
	var selectors []string
	before := func(r *http.Request) {
		if query := r.URL.Query(); r.Method == http.MethodGet && query.Has("limit") && query.Get("continue") == "" {
			mu.Lock()
			defer mu.Unlock()
			selectors = append(selectors, query.Get("labelSelector"))
		}
	}
	s.fake.before.Store(&before)
	listed := func() []string {
		mu.Lock()
		defer mu.Unlock()
		defer func() { selectors = nil }()
		return slices.Clone(selectors)
	}
	apply(t, p, ensured(a))
	if got := listed(); len(got) != 1 || !strings.Contains(got[0], string(a.Marker.ID)) {
		t.Errorf("the create listed with the selectors %q, want one that names the grant", got)
	}
	apply(t, p, removed(a))
	if got := listed(); len(got) != 2 || got[0] != got[1] || !strings.Contains(got[0], string(a.Marker.ID)) {
		t.Errorf("the removal listed with the selectors %q, want two that name the grant", got)
	}
	apply(t, p, ensured(a))
	s.edit(t, "cluster", a.Marker, func(b *rbacv1.RoleBinding) { delete(b.Labels, idLabel) })
	listed()
	apply(t, p, removed(a))
	if got := listed(); len(got) != 3 || got[1] != "" || got[2] != "" {
		t.Errorf("the removal listed with the selectors %q, want the whole scope before it and after it", got)
	}
	if s.allowed(t, a.Binding) {
		t.Error("access goes on after a removal of a binding without its labels")
	}
}
