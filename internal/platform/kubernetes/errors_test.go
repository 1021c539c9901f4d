package kubernetes

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// wantTold fails unless the error is for a person, blames the attribute and says the text.
func wantTold(t *testing.T, err error, attribute, text string) {
	t.Helper()
	var user *jit.Error
	if !errors.As(err, &user) || user.Attribute != attribute || !strings.Contains(user.Error(), text) ||
		user.Hint == "" || strings.Contains(user.Error(), "\n") {
		t.Errorf("got %v, want an error on one line, with a hint, that blames %q and says %q", err, attribute, text)
	}
}

func TestWhatIsNotThereIsSaid(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p := s.open(t)
		scope, alice := "namespaces/"+s.namespace, "user:"+s.name+"-alice"
		errs := p.Apply(t.Context(), scope, []jit.Change{
			ensured(s.access(scope, alice, "ClusterRole/none-such", "a")),
			ensured(s.access(scope, alice, "Role/none-such", "b")),
			ensured(s.access(scope, alice, "Role/"+s.role(0), "c")),
		})
		wantTold(t, errs[0], "role", "kubectl get clusterroles")
		wantTold(t, errs[1], "role", "kubectl get roles --namespace "+s.namespace)
		if errs[2] != nil {
			t.Errorf("the good neighbour: %v", errs[2])
		}
		nowhere := "namespaces/" + s.name + "-gone"
		wantTold(t, p.Apply(t.Context(), nowhere,
			[]jit.Change{ensured(s.access(nowhere, alice, "ClusterRole/"+s.role(0), "d"))})[0], "scope", "no namespace")
	})
}

func TestCredentialsAndAddressesAreSaid(t *testing.T) {
	s := fakeSite(t)
	wrong := s.cfg
	wrong.Token = "expired-s3cret"
	closed := Config{Host: "http://127.0.0.1:1", Token: "expired-s3cret"}
	for _, c := range []struct {
		cfg  Config
		says string
	}{{wrong, "have expired"}, {closed, "127.0.0.1:1"}} {
		p := s.openAs(t, c.cfg, time.Now)
		_, err := p.Read(t.Context(), "cluster")
		_, listed := p.Scopes(t.Context())
		applied := p.Apply(t.Context(), "cluster",
			[]jit.Change{removed(s.access("cluster", "user:a", "ClusterRole/view", "x"))})[0]
		for _, err := range []error{err, listed, applied} {
			wantTold(t, err, "", c.says)
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error tells the token: %v", err)
			}
		}
	}
}

func TestMissingRightsAreSaid(t *testing.T) {
	testenv.Acceptance(t)
	s := realSite(t)
	scope := "namespaces/" + s.namespace
	admin := s.open(t)

	// The operator may bind the two roles of the site and no other.
	wantTold(t, admin.Apply(t.Context(), scope,
		[]jit.Change{ensured(s.access(scope, "user:alice", "ClusterRole/cluster-admin", "escalate"))})[0],
		"role", `{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], resourceNames: ["cluster-admin"], verbs: [bind]}`)
	if len(s.bindings(t, scope)) != 0 {
		t.Error("something was bound")
	}

	there := s.access(scope, "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), "there")
	apply(t, admin, ensured(there))
	nobody := s.openAs(t, Config{Kubeconfig: s.real.UserKubeconfig(t, s.name+"-nobody")}, time.Now)
	_, err := nobody.Read(t.Context(), scope)
	wantTold(t, err, "", "jit-operator")
	wantTold(t, nobody.Apply(t.Context(), scope, []jit.Change{removed(there)})[0], "", "jit-operator")
	_, err = nobody.Scopes(t.Context())
	wantTold(t, err, "", "jit-operator")
	if !s.allowed(t, there.Binding) {
		t.Error("a Remove that was refused took the access away")
	}
}

func TestANamespaceThatIsBeingDeletedIsSaid(t *testing.T) {
	testenv.Acceptance(t)
	s := realSite(t)
	scope := "namespaces/" + s.namespace
	p := s.open(t)
	a := s.access(scope, "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), "there")
	apply(t, p, ensured(a))
	if err := s.core.Namespaces().Delete(t.Context(), s.namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wantTold(t, p.Apply(t.Context(), scope, []jit.Change{ensured(s.access(scope, "user:alice",
		"ClusterRole/"+s.role(0), "late"))})[0], "scope", "being deleted")
	apply(t, p, removed(a))
	if s.allowed(t, a.Binding) {
		t.Error("access goes on")
	}
}

// TestEveryRuleOfTheOperatorIsNeeded takes each verb away; that the whole suffices is shown by the conformance suite.
func TestEveryRuleOfTheOperatorIsNeeded(t *testing.T) {
	testenv.Acceptance(t)
	s := realSite(t)
	s.makeAccount(t, "there")
	operator := s.name + "-operator"
	whole, err := s.rbac.ClusterRoles().Get(t.Context(), operator, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for rule := range whole.Rules {
		for verb, name := range whole.Rules[rule].Verbs {
			write := func(role *rbacv1.ClusterRole) {
				role.ResourceVersion = ""
				if _, err := s.rbac.ClusterRoles().Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			write(whole.DeepCopy())
			eventually(t, "the whole role", func() bool { return !s.lacks(t) })
			less := whole.DeepCopy()
			less.Rules[rule].Verbs = append(append([]string{}, whole.Rules[rule].Verbs[:verb]...),
				whole.Rules[rule].Verbs[verb+1:]...)
			if len(less.Rules[rule].Verbs) == 0 {
				less.Rules = append(less.Rules[:rule], less.Rules[rule+1:]...)
			}
			write(less)
			eventually(t, "the loss of "+name, func() bool { return s.lacks(t) })
		}
	}
}

// lacks reports whether something of what the operator does goes wrong, or costs more than it has to.
func (s *site) lacks(t *testing.T) bool {
	scope, gone := "namespaces/"+s.namespace, "namespaces/"+s.name+"-gone"
	p := s.open(t)
	a, b := s.access(scope, "user:alice", "ClusterRole/"+s.role(0), "a"), s.access(scope, "user:alice",
		"ClusterRole/"+s.role(1), "b")
	none := s.access(scope, "user:alice", "ClusterRole/"+s.name+"-none", "c")
	longer := a
	longer.Marker.Window.End = a.Marker.Window.End.Add(time.Hour)
	var user *jit.Error
	lacking := false
	for _, batch := range [][]jit.Change{{ensured(a), ensured(b)}, {ensured(longer)}, {removed(a)}, {ensured(a)}} {
		for _, err := range p.Apply(t.Context(), scope, batch) {
			lacking = lacking || err != nil
		}
	}
	if err := p.Apply(t.Context(), scope, []jit.Change{ensured(none)})[0]; !errors.As(err, &user) ||
		!strings.Contains(user.Problem, "there is no ClusterRole") {
		lacking = true
	}
	before := s.writes.Load()
	for _, err := range p.Apply(t.Context(), scope, []jit.Change{removed(a), removed(b), removed(none)}) {
		lacking = lacking || err != nil
	}
	lacking = lacking || s.writes.Load()-before > 1
	advises := func(b jit.Binding) bool { return len(p.advise(t.Context(), b)) > 0 }
	nowhere, nobody := a.Binding, a.Binding
	nowhere.Scope, nobody.Principal = gone, "serviceaccount:"+s.namespace+"/none"
	lacking = lacking || !advises(nowhere) || !advises(nobody)
	at, err := p.place(scope)
	if err != nil {
		t.Fatal(err)
	}
	accounts := map[string]bool{fmt.Sprintf("/api/v1/namespaces/%s/serviceaccounts/there", s.namespace): true}
	for i := range fewObjects {
		accounts[fmt.Sprintf("/api/v1/namespaces/%s/serviceaccounts/none%d", s.namespace, i)] = true
	}
	reads := s.reads.Load()
	at.facts(t.Context(), accounts)
	lacking = lacking || s.reads.Load()-reads > 1+fewObjects // a list, and what it lacks
	snap, err := p.Read(t.Context(), gone)
	return lacking || err != nil || len(snap.Standing) > 0
}

// eventually waits for the caches of a real server.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 100 {
		if is() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%s is not noticed within 2 seconds of tries", what)
}
