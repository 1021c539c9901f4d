package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	rbacclient "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// site is a cluster, strict and in this process or a real one, with names of its own.
type site struct {
	fake *apiServer          // nil for a real cluster
	real *testenv.KubeServer // nil for a fake one
	rbac *rbacclient.RbacV1Client
	core *coreclient.CoreV1Client
	cfg  Config // of the platform; on a real cluster that of a user with exactly the operator's role

	loses         bool   // answers to the platform are lost
	name          string // begins every name
	namespace     string
	reads, writes atomic.Int64
}

var sites atomic.Int64

// eachSite runs the test on the fake cluster, and on a real one where those are on.
func eachSite(t *testing.T, test func(t *testing.T, s *site)) {
	t.Run("fake", func(t *testing.T) { test(t, fakeSite(t)) })
	t.Run("real", func(t *testing.T) { test(t, realSite(t)) })
}

func fakeSite(t testing.TB) *site {
	t.Helper()
	fake := newAPIServer(t)
	s := newSite(t, fake.config())
	s.fake = fake
	s.cfg = Config{Host: fake.URL, Token: "token-of-the-admin"}
	s.furnish(t)
	return s
}

func realSite(t testing.TB) *site {
	t.Helper()
	server := testenv.Kubernetes(t)
	s := newSite(t, server.Admin())
	s.real = server
	operator := s.name + "-operator"
	s.cfg = Config{Kubeconfig: server.UserKubeconfig(t, operator), Context: server.Context}
	s.furnish(t)
	s.operator(t, operator, s.role(0), s.role(1))
	t.Cleanup(func() { // the next test shares the cluster
		list, err := s.rbac.ClusterRoleBindings().List(context.Background(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range list.Items {
			if b.Annotations["jit.access/marker"] != "" || strings.HasPrefix(b.Name, s.name+"-") {
				if err := s.rbac.ClusterRoleBindings().Delete(context.Background(), b.Name,
					metav1.DeleteOptions{}); err != nil {
					t.Error(err)
				}
			}
		}
	})
	return s
}

func newSite(t testing.TB, admin *rest.Config) *site {
	t.Helper()
	s := &site{name: fmt.Sprintf("t%d", sites.Add(1))}
	s.namespace = s.name + "-ns"
	var err error
	if s.rbac, err = rbacclient.NewForConfig(admin); err != nil {
		t.Fatal(err)
	}
	if s.core, err = coreclient.NewForConfig(admin); err != nil {
		t.Fatal(err)
	}
	return s
}

// furnish makes the namespace and the two ClusterRoles and Roles; each lets one read a ConfigMap of its name.
func (s *site) furnish(t testing.TB) {
	t.Helper()
	s.makeNamespace(t, s.namespace)
	for i := range 2 {
		rules := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"},
			Verbs: []string{"get"}, ResourceNames: []string{s.role(i)}}}
		if _, err := s.rbac.ClusterRoles().Create(t.Context(),
			&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: s.role(i)},
				Rules: rules}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.rbac.Roles(s.namespace).Create(t.Context(),
			&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: s.role(i)},
				Rules: rules}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if s.real != nil {
			if _, err := s.core.ConfigMaps(s.namespace).Create(t.Context(),
				&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: s.role(i)}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (s *site) makeNamespace(t testing.TB, name string) {
	t.Helper()
	if _, err := s.core.Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}},
		metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// role names the i-th role, and the ConfigMap that it lets one read.
func (s *site) role(i int) string { return fmt.Sprintf("%s-role%d", s.name, i) }

// operator gives the user the role of the manifest, for granting these roles instead of those in it.
func (s *site) operator(t testing.TB, user string, roles ...string) {
	t.Helper()
	var manifest rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict([]byte(OperatorRole), &manifest); err != nil {
		t.Fatal(err)
	}
	manifest.Name = user
	for i, rule := range manifest.Rules {
		if len(rule.ResourceNames) > 0 {
			manifest.Rules[i].ResourceNames = roles
			manifest.Rules[i].Resources = []string{"clusterroles", "roles"}
		}
	}
	if _, err := s.rbac.ClusterRoles().Create(t.Context(), &manifest, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.employ(t, user)
}

// employ binds the operator's role of the user to it.
func (s *site) employ(t testing.TB, user string) {
	t.Helper()
	b := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}}}
	if _, err := s.rbac.ClusterRoleBindings().Create(t.Context(), b, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.settle(t)
}

// settle waits until a real cluster judges requests by all bindings written so far. Its
// authorizer follows the two kinds of bindings in the order of their writes, so a probe
// of each kind, written last, takes effect last.
func (s *site) settle(t testing.TB) {
	t.Helper()
	if s.fake != nil {
		return
	}
	probe := fmt.Sprintf("probe-%d", sites.Add(1))
	subjects := func(kind string) []rbacv1.Subject {
		return []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: probe + kind}}
	}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}
	if _, err := s.rbac.ClusterRoleBindings().Create(t.Context(),
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: probe}, RoleRef: ref,
			Subjects: subjects("c")}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.rbac.RoleBindings("default").Create(t.Context(),
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: probe}, RoleRef: ref,
			Subjects: subjects("n")}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(s.rbac.ClusterRoleBindings().Delete(context.Background(), probe, metav1.DeleteOptions{}),
			s.rbac.RoleBindings("default").Delete(context.Background(), probe, metav1.DeleteOptions{})); err != nil {
			t.Error(err)
		}
	}()
	for _, kind := range []string{"c", "n"} {
		for tries := 0; !s.get(t, rest.ImpersonationConfig{UserName: probe + kind}, "default", "none"); tries++ {
			if tries == 500 {
				t.Fatal("the authorizer does not follow")
			}
			time.Sleep(10 * time.Millisecond) // a real server's caches cannot be waited for otherwise
		}
	}
}

// get sends a request as somebody else and reports whether it is let through.
func (s *site) get(t testing.TB, as rest.ImpersonationConfig, namespace, configMap string) bool {
	t.Helper()
	config := s.real.Admin()
	config.Impersonate = as
	c, err := coreclient.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.ConfigMaps(namespace).Get(t.Context(), configMap, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return false
	case err != nil && !apierrors.IsNotFound(err):
		t.Fatal(err)
	}
	return true
}

// allowed tries the access: a real request as the principal, or the fake authorizer.
func (s *site) allowed(t testing.TB, b jit.Binding) bool {
	t.Helper()
	who, ref := subject(t, b.Principal), reference(b.Role)
	namespace := strings.TrimPrefix(b.Scope, "namespaces/")
	if b.Scope == "cluster" {
		namespace = s.namespace
	}
	if s.fake != nil {
		return s.fake.allowed(namespace, who, ref)
	}
	s.settle(t)
	as := rest.ImpersonationConfig{UserName: who.Name}
	switch who.Kind {
	case "Group":
		as = rest.ImpersonationConfig{UserName: s.name + "-member", Groups: []string{who.Name}}
	case "ServiceAccount":
		as.UserName = "system:serviceaccount:" + who.Namespace + ":" + who.Name
	}
	return s.get(t, as, namespace, ref.Name)
}

// open returns the platform on the site, counting its requests.
func (s *site) open(t testing.TB) *Platform { return s.openAs(t, s.cfg, time.Now) }

func (s *site) openAs(t testing.TB, cfg Config, now func() time.Time) *Platform {
	t.Helper()
	p, err := New(cfg, jit.Services{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	p.OnCall = func(op string) {
		if op == "write" {
			s.writes.Add(1)
		} else {
			s.reads.Add(1)
		}
	}
	return p
}

// bindings lists what is on the scope.
func (s *site) bindings(t testing.TB, scope string) []rbacv1.RoleBinding {
	t.Helper()
	if scope != "cluster" {
		list, err := s.rbac.RoleBindings(strings.TrimPrefix(scope, "namespaces/")).List(t.Context(),
			metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return list.Items
	}
	list, err := s.rbac.ClusterRoleBindings().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all := make([]rbacv1.RoleBinding, len(list.Items))
	for i, b := range list.Items {
		all[i] = rbacv1.RoleBinding(b)
	}
	return all
}

// put creates a binding on the scope as somebody else would.
func (s *site) put(t testing.TB, scope string, b rbacv1.RoleBinding) {
	t.Helper()
	b.ResourceVersion, b.UID, b.ManagedFields = "", "", nil
	var err error
	if scope == "cluster" {
		_, err = s.rbac.ClusterRoleBindings().Create(t.Context(), (*rbacv1.ClusterRoleBinding)(&b),
			metav1.CreateOptions{})
	} else {
		b.Namespace = strings.TrimPrefix(scope, "namespaces/")
		_, err = s.rbac.RoleBindings(b.Namespace).Create(t.Context(), &b, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatalf("create %s: %v", b.Name, err)
	}
}

// drop deletes a binding by its name.
func (s *site) drop(t testing.TB, scope, name string) {
	t.Helper()
	for _, b := range s.bindings(t, scope) {
		if b.Name != name {
			continue
		}
		options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &b.UID,
			ResourceVersion: &b.ResourceVersion}}
		var err error
		if scope == "cluster" {
			err = s.rbac.ClusterRoleBindings().Delete(t.Context(), name, options)
		} else {
			err = s.rbac.RoleBindings(b.Namespace).Delete(t.Context(), name, options)
		}
		if err != nil {
			t.Fatalf("delete %s: %v", name, err)
		}
	}
}

// edit changes the binding of the marker; its name says which it is.
func (s *site) edit(t testing.TB, scope string, m jit.Marker, change func(b *rbacv1.RoleBinding)) {
	t.Helper()
	for _, b := range s.bindings(t, scope) {
		if !strings.Contains(b.Name, string(m.ID)) || !strings.Contains(b.Name, m.Owner) {
			continue
		}
		change(&b)
		var err error
		if scope == "cluster" {
			_, err = s.rbac.ClusterRoleBindings().Update(t.Context(), (*rbacv1.ClusterRoleBinding)(&b),
				metav1.UpdateOptions{})
		} else {
			_, err = s.rbac.RoleBindings(b.Namespace).Update(t.Context(), &b, metav1.UpdateOptions{})
		}
		if err != nil {
			t.Fatalf("change %s: %v", b.Name, err)
		}
		return
	}
	t.Fatalf("no binding of %s on %s", m, scope)
}

// take deletes the binding of the marker and returns what it was.
func (s *site) take(t testing.TB, scope string, m jit.Marker) (was rbacv1.RoleBinding) {
	t.Helper()
	s.edit(t, scope, m, func(b *rbacv1.RoleBinding) { was = *b.DeepCopy() })
	options := metav1.DeleteOptions{}
	if s.fake != nil { // it insists on knowing what is deleted
		for _, b := range s.bindings(t, scope) {
			if b.Name == was.Name {
				options.Preconditions = &metav1.Preconditions{UID: &b.UID, ResourceVersion: &b.ResourceVersion}
			}
		}
	}
	var err error
	if scope == "cluster" {
		err = s.rbac.ClusterRoleBindings().Delete(t.Context(), was.Name, options)
	} else {
		err = s.rbac.RoleBindings(was.Namespace).Delete(t.Context(), was.Name, options)
	}
	if err != nil {
		t.Fatal(err)
	}
	return was
}

// dump is every binding of the scope without our marks, byte for byte, versions included.
func (s *site) dump(t testing.TB, scope string) string {
	t.Helper()
	var all strings.Builder
	for _, b := range s.bindings(t, scope) {
		if b.Annotations["jit.access/marker"] == "" && !strings.HasPrefix(b.Name, s.name+"-operator") {
			text, err := json.Marshal(b)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(append(text, '\n'))
		}
	}
	return all.String()
}
