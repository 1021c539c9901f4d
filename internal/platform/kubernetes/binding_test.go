package kubernetes

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func wantInvalid(t *testing.T, what, attribute string, err error) {
	t.Helper()
	var user *jit.Error
	if !errors.As(err, &user) || !errors.Is(err, jit.ErrInvalid) || user.Attribute != attribute ||
		user.Problem == "" || user.Hint == "" {
		t.Errorf("%s: %v, want an ErrInvalid about %s with a hint", what, err, attribute)
	}
}

func TestCheck(t *testing.T) {
	p, err := New(Config{}, jit.Services{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	good := jit.Binding{Target: "t", Principal: "user:alice@example.com", Role: "ClusterRole/view",
		Scope: "namespaces/payments"}
	for _, b := range []jit.Binding{
		good,
		{Principal: "group:on call: ü/x", Role: "ClusterRole/system:controller:x", Scope: "cluster"},
		{Principal: "serviceaccount:payments/deploy.er", Role: "Role/a:b.c_D", Scope: "namespaces/p"},
		{Principal: "group:system:authenticated", Role: "ClusterRole/view", Scope: "cluster"},
	} {
		canonical, traits, err := p.Check(b)
		if err != nil || canonical != b ||
			traits != (jit.Traits{Enforcement: jit.Sweeper, SessionTail: jit.Unlimited}) {
			t.Errorf("Check(%+v) = %+v, %+v, %v", b, canonical, traits, err)
		}
	}
	for _, c := range []struct{ attribute, value string }{
		{"principal", ""}, {"principal", "user:"}, {"principal", "user: alice"}, {"principal", "alice"}, {"principal",
			"User:alice"}, {"principal", "user:a\nb"},
		{"principal", "user:system:anonymous"}, {"principal", "group:system:unauthenticated"},
		{"principal", "serviceaccount:deployer"}, {"principal", "serviceaccount:/deployer"}, {"principal",
			"serviceaccount:p/"}, {"principal", "serviceaccount:P/d"},
		{"principal", "serviceaccount:p/d/e"}, {"principal", "user:system:serviceaccount:p"}, {"principal",
			"user:system:serviceaccount:p:D"},
		{"role", ""}, {"role", "view"}, {"role", "ClusterRole/"}, {"role", "clusterrole/view"}, {"role",
			"Role/.."}, {"role", "Role/."}, {"role", "Role/a/b"}, {"role", "Role/50%"},
		{"scope", ""}, {"scope", "payments"}, {"scope", "namespaces/"}, {"scope", "namespaces/a/b"}, {"scope",
			"namespaces/A"}, {"scope", "namespaces/" + strings.Repeat("a", 64)}, {"scope", "Cluster"},
	} {
		b := good
		switch c.attribute {
		case "principal":
			b.Principal = c.value
		case "role":
			b.Role = c.value
		case "scope":
			b.Scope = c.value
		}
		_, _, err := p.Check(b)
		wantInvalid(t, c.attribute+" "+c.value, c.attribute, err)
	}
	b := good
	b.Role, b.Scope = "Role/deployer", "cluster"
	_, _, err = p.Check(b)
	wantInvalid(t, "a Role on the cluster", "role", err)
}

func FuzzPrincipal(f *testing.F) {
	for _, s := range []string{"user:alice", "group:a b", "serviceaccount:p/d", "user:system:serviceaccount:p:d",
		"user:system:serviceaccount:", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		subject, err := parsePrincipal(s)
		if err != nil {
			wantInvalid(t, s, "principal", err)
			return
		}
		canonical := principalOf(subject)
		if again, err := parsePrincipal(canonical); err != nil || again != subject {
			t.Errorf("%q is %+v, written %q, read again %+v, %v", s, subject, canonical, again, err)
		}
	})
}

func TestMarkerOfNeedsTwoOfThree(t *testing.T) {
	start := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	marker := func(why string) jit.Marker {
		return jit.Marker{Owner: "team", ID: jit.NewID("team", jit.Binding{}, why, 1),
			Window: jit.Window{Start: start, End: start.Add(time.Hour)}}
	}
	a, b := marker("a"), marker("b")
	object := func(name, annotation, labels jit.Marker) *rbacv1.RoleBinding {
		o := newBinding(name, rbacv1.Subject{}, rbacv1.RoleRef{}, "")
		mark(o, labels)
		o.Annotations[markerAnnotation] = annotation.String()
		return o
	}
	for _, c := range []struct {
		what string
		of   *rbacv1.RoleBinding
		want jit.Marker
	}{
		{"all agree", object(a, a, a), a},
		{"another name", object(b, a, a), a},
		{"another annotation", object(a, b, a), a},
		{"other labels", object(a, a, b), a},
		{"nothing but the annotation", &rbacv1.RoleBinding{ObjectMeta: object(a, a, a).ObjectMeta}, a},
	} {
		if got, ok := markerOf(c.of); !ok || got != c.want {
			t.Errorf("%s: %v, %t, want %v", c.what, got, ok, c.want)
		}
	}
	foreign := object(a, a, a)
	foreign.Annotations, foreign.Labels = nil, map[string]string{managedByLabel: "jit", ownerLabel: "team",
		idLabel: "x"}
	if m, ok := markerOf(foreign); ok {
		t.Errorf("a binding with our name and half a marker is %v", m)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		attribute string
		cfg       Config
	}{
		{"kubeconfig", Config{Kubeconfig: "a\nb"}},
		{"kubeconfig", Config{Kubeconfig: "/etc/kubernetes/"}},
		{"kubeconfig", Config{Kubeconfig: "c", Host: "https://h", Token: "s3cret"}},
		{"context", Config{Context: "c", Host: "https://h", Token: "s3cret"}},
		{"token", Config{Token: "s3cret"}},
		{"token", Config{Host: "https://h"}},
		{"token", Config{Host: "https://h", Token: "s3cret\n"}},
		{"cluster_ca_certificate", Config{ClusterCACertificate: "x", Kubeconfig: "c"}},
		{"cluster_ca_certificate", Config{ClusterCACertificate: "bm8=", Host: "https://h", Token: "s3cret"}},
		{"host", Config{Host: "k8s.example.com:6443", Token: "s3cret"}},
		{"host", Config{Host: "https://u:s3cret@h", Token: "s3cret"}},
		{"host", Config{Host: "http://k8s.example.com", Token: "s3cret"}},
		{"host", Config{Host: "https://h?x=s3cret", Token: "s3cret"}},
	} {
		_, err := New(c.cfg, jit.Services{Now: time.Now})
		wantInvalid(t, c.attribute, c.attribute, err)
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
}

func TestAFileThatIsNotThereIsAnErrorAtTheFirstCall(t *testing.T) {
	p, err := New(Config{Kubeconfig: filepath.Join(t.TempDir(), "none"), Context: "prod"}, jit.Services{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	var user *jit.Error
	if _, err := p.Read(t.Context(), "cluster"); !errors.As(err, &user) || user.Attribute != "kubeconfig" ||
		user.Hint == "" {
		t.Errorf("Read: %v, want an error about kubeconfig", err)
	}
}
