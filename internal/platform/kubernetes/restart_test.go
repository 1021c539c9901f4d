package kubernetes

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// behind returns the platform with a proxy in front of its cluster.
func (s *site) behind(t *testing.T) (*Platform, *testenv.Proxy) {
	t.Helper()
	var address string
	cfg := s.cfg
	if s.fake != nil {
		address = s.fake.URL
	} else {
		address = s.real.URL
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	proxy := testenv.NewProxy(t, u.Host)
	cfg.Host = strings.Replace(cfg.Host, u.Host, proxy.Addr, 1)
	if s.real != nil {
		text, err := os.ReadFile(cfg.Kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
		text = []byte(strings.Replace(string(text), u.Host, proxy.Addr, 1))
		if err := os.WriteFile(cfg.Kubeconfig, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s.openAs(t, cfg, time.Now), proxy
}

// The API server restarts: connections are refused, or cut after a request was carried out. A removal never succeeds
// while access lives, and afterwards the same change succeeds.
func TestTheServerRestarts(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p, proxy := s.behind(t)
		scope := "namespaces/" + s.namespace
		for fault, name := range map[testenv.Fault]string{testenv.Refusing: "refusing", testenv.Cutting: "cutting"} {
			var made, ended []jit.Change
			for i := range 3 {
				a := s.access(scope, fmt.Sprintf("user:%s-%d", s.name, i), "ClusterRole/"+s.role(0), name)
				made, ended = append(made, ensured(a)), append(ended, held(removed(a)))
			}
			for _, changes := range [][]jit.Change{made, ended} {
				proxy.Set(fault)
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				for i, err := range p.Apply(ctx, scope, changes) {
					if err == nil && changes[i].Op == jit.Remove && s.allowed(t, changes[i].Access.Binding) {
						t.Errorf("%s: a Remove succeeds, and the access goes on", name)
					}
				}
				cancel()
				proxy.Set(testenv.Sound)
				apply(t, p, changes...)
				given := s.allowed(t, changes[0].Access.Binding)
				if given != (changes[0].Op == jit.Ensure) {
					t.Errorf("%s: after %s the access is given: %t", name, changes[0].Op, given)
				}
			}
			if left := s.bindings(t, scope); len(left) != 0 {
				t.Errorf("%s: left are %+v", name, left)
			}
		}
	})
}

// The answer to each write is lost once, after the write was made.
func TestALostAnswerIsLookedUp(t *testing.T) {
	s := fakeSite(t)
	p := s.open(t)
	scope := "namespaces/" + s.namespace
	a, b := s.access(scope, "user:alice", "ClusterRole/"+s.role(0), "a"),
		s.access(scope, "user:bob", "ClusterRole/"+s.role(0), "b")
	longer := a
	longer.Marker.Window.End = a.Marker.Window.End.Add(time.Hour)
	lost := map[string]bool{}
	s.fake.mu.Lock()
	s.fake.loses = func(r *http.Request) bool {
		key := r.Method + " " + r.URL.Path
		if r.Method == http.MethodGet || lost[key] {
			return false
		}
		lost[key] = true
		return true
	}
	s.fake.mu.Unlock()
	apply(t, p, ensured(a), ensured(b))
	apply(t, p, ensured(longer))
	wantWhole(t, p, longer)
	wantWhole(t, p, b)
	apply(t, p, removed(a), removed(b))
	if left := s.bindings(t, scope); len(left) != 0 || len(lost) != 3 {
		t.Errorf("left are %+v after losing the answers to %v", left, lost)
	}
}

// The version of a list expires before its last page: it is read again as a whole.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
func TestAListThatExpiresIsReadAgain(t *testing.T) {
	s := fakeSite(t)
	p := s.open(t)
	scope := "namespaces/" + s.namespace
	var all, ended []jit.Change
	for i := range 3 * s.fake.pageSize {
		a := s.access(scope, fmt.Sprintf("user:u%d", i), "ClusterRole/"+s.role(0), "pages")
		all, ended = append(all, ensured(a)), append(ended, removed(a))
	}
	s.fake.expires = true
	apply(t, p, all...)
	for _, c := range all {
		wantWhole(t, p, c.Access)
	}
	apply(t, p, ended...)
	if left := s.bindings(t, scope); len(left) != 0 {
		t.Errorf("left are %+v", left)
	}
}

// The same on a real server, whose history is compacted between two pages of a list: the rest of the list is gone (410).
func TestARealListThatExpiresIsReadAgain(t *testing.T) {
	s := realSite(t)
	p := s.open(t)
	inParallel(t, pageSize, func(i int) error { // the first page is full of them
		_, err := s.rbac.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%03d", s.name, i)},
			Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: s.name + "-bob"}},
			RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", APIGroup: rbacv1.GroupName, Name: s.role(0)}},
			metav1.CreateOptions{})
		return err
	})
	a := s.access("cluster", "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), "pages")
	apply(t, p, ensured(a))
	calls, expires := 0, false
	p.OnCall = func(string) {
		if calls++; calls == 2 && expires {
			s.expireLists(t)
		}
	}
	read := func() int {
		calls = 0
		snapshot, err := p.Read(t.Context(), "cluster")
		if err != nil {
			t.Fatal(err)
		}
		if len(snapshot.Ours) != 1 || snapshot.Ours[0].Marker != a.Marker {
			t.Errorf("of ours the read found %+v", snapshot.Ours)
		}
		bobs := 0
		for _, standing := range snapshot.Standing {
			if standing.Principal == "user:"+s.name+"-bob" {
				bobs++
			}
		}
		if bobs != pageSize {
			t.Errorf("the read found %d bindings of others, want %d", bobs, pageSize)
		}
		return calls
	}
	read() // the first also looks up what does not change
	quiet := read()
	expires = true
	if n := read(); n != quiet+1 {
		t.Errorf("%d requests with a list that expired, want %d and one more for all at once", n, quiet)
	}
	expires = false
	apply(t, p, removed(a))
	if s.allowed(t, a.Binding) {
		t.Error("the access goes on after its removal")
	}
}

// expireLists compacts the history of the cluster, as its servers do every five minutes, and waits until the server
// answers 410 where a list that began before it asks for its next page.
func (s *site) expireLists(t *testing.T) {
	bindings := s.rbac.ClusterRoleBindings()
	page, err := bindings.List(t.Context(), metav1.ListOptions{Limit: 1})
	if err != nil {
		t.Error(err)
		return
	}
	if err := s.real.Compact(t.Context()); err != nil {
		t.Error(err)
		return
	}
	for {
		_, err := bindings.List(t.Context(), metav1.ListOptions{Limit: 1, Continue: page.Continue})
		if apierrors.IsResourceExpired(err) {
			return
		}
		select {
		case <-t.Context().Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}
