package lifetest_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// cluster is a namespace of a cluster with a colleague who may read it.
type cluster struct {
	server    *testenv.KubeServer
	admin     *kubernetes.Clientset
	namespace string
}

func newCluster(t *testing.T) place {
	t.Helper()
	c := &cluster{server: testenv.Kubernetes(t), namespace: "life-" + strings.ToLower(rand.Text()[:10])}
	var err error
	if c.admin, err = kubernetes.NewForConfig(c.server.Admin()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.admin.CoreV1().
		Namespaces().
		Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.admin.RbacV1().RoleBindings(c.namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "jit-is-a-colleague",
			Labels: map[string]string{"app.kubernetes.io/managed-by": "jit"}},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "colleague"}},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) target() string {
	return fmt.Sprintf("{ kubernetes = { kubeconfig = %q } }", c.server.Kubeconfig)
}
func (c *cluster) role() string  { return "ClusterRole/view" }
func (c *cluster) scope() string { return "namespaces/" + c.namespace }
func (c *cluster) native() bool  { return false }
func (c *cluster) begins() bool  { return false }

// settles allows for the authorizer, which watches the bindings.
func (c *cluster) settles() time.Duration { return 5 * time.Second }

func (c *cluster) people(_ *testing.T, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = "user:" + strings.ToLower(rand.Text()[:8]) + "@example.com"
	}
	return all
}

func (c *cluster) tries(t *testing.T, principal string) bool {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.server.User(t, strings.TrimPrefix(principal, "user:")))
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.CoreV1().ConfigMaps(c.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil && !apierrors.IsForbidden(err) {
		t.Fatalf("ask as %s: %v", principal, err)
	}
	return err == nil
}

// bindings returns the bindings of the namespace, either ours or the others.
func (c *cluster) bindings(t *testing.T, mine bool) []rbacv1.RoleBinding {
	t.Helper()
	found, err := c.admin.RbacV1().RoleBindings(c.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var all []rbacv1.RoleBinding
	for _, b := range found.Items {
		if (b.Annotations["jit.access/marker"] != "") == mine {
			all = append(all, b)
		}
	}
	return all
}

// describeBindings returns the bindings with their versions as text.
func describeBindings(t *testing.T, bindings []rbacv1.RoleBinding) string {
	t.Helper()
	text, err := json.MarshalIndent(bindings, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (c *cluster) foreign(t *testing.T) string { return describeBindings(t, c.bindings(t, false)) }

func (c *cluster) dump(t *testing.T) string {
	return describeBindings(t, append(c.bindings(t, false), c.bindings(t, true)...))
}

func (c *cluster) marked(t *testing.T) int { return len(c.bindings(t, true)) }

func (c *cluster) tamper(t *testing.T) {
	t.Helper()
	for _, b := range c.bindings(t, true) {
		b.Subjects = []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "nobody"}}
		if _, err := c.admin.RbacV1().
			RoleBindings(c.namespace).
			Update(t.Context(), &b, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
