package kubernetes

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	admissionclient "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// keeper is a finalizer that its controller never removes.
const keeper = "example.com/keep"

// A cluster manager, or a policy, puts a finalizer on each binding. The answer to a deletion then says success, and the
// binding stays and would give access.
func TestAFinalizerOnEachBindingKeepsNoAccess(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p := s.open(t)
		scope := "namespaces/" + s.namespace
		var ended []jit.Change
		for _, why := range []string{"alone", "together", "as well"} {
			ended = append(ended, removed(s.access(scope, "user:"+s.name+"-"+why, "ClusterRole/"+s.role(0), why)))
		}
		s.finalize(t)
		for _, batch := range [][]jit.Change{ended[:1], ended[1:]} {
			for _, c := range batch {
				apply(t, p, ensured(c.Access))
				wantWhole(t, p, c.Access)
				if !s.allowed(t, c.Access.Binding) {
					t.Fatal("a binding with a finalizer gives no access")
				}
			}
			for range 2 {
				for i, err := range p.Apply(t.Context(), scope, batch) {
					if !errors.Is(err, jit.ErrRemains) || !strings.Contains(err.Error(), keeper) {
						t.Errorf("Remove: %v, want that the finalizer keeps a binding that gives nothing", err)
					}
					if s.allowed(t, batch[i].Access.Binding) {
						t.Error("access goes on after Remove")
					}
				}
			}
			for _, o := range observed(t, p, batch[0].Access) {
				if o.Principal != "" {
					t.Errorf("it is observed with access: %+v", o)
				}
			}
		}
		err := p.Apply(t.Context(), scope, []jit.Change{ensured(ended[0].Access)})[0]
		if err == nil || errors.Is(err, jit.ErrRemains) || !strings.Contains(err.Error(), keeper) {
			t.Errorf("Ensure where the name is held up: %v", err)
		}
	})
}

// A binding whose role changed cannot be made anew while a finalizer holds it, and gives nothing meanwhile.
func TestAHeldBindingOfAnotherRoleGivesNothing(t *testing.T) {
	s := fakeSite(t)
	p := s.open(t)
	a := s.access("namespaces/"+s.namespace, "user:alice", "ClusterRole/"+s.role(0), "held")
	other := a.Binding
	other.Role = "ClusterRole/" + s.role(1)
	s.fake.admit(finalized)
	b := newBinding(a.Marker, subject(t, a.Binding.Principal), reference(other.Role), s.namespace)
	s.put(t, a.Binding.Scope, *b)
	err := p.Apply(t.Context(), a.Binding.Scope, []jit.Change{ensured(a)})[0]
	if err == nil || !strings.Contains(err.Error(), keeper) || s.allowed(t, other) {
		t.Errorf("%v; the other role is given: %t", err, s.allowed(t, other))
	}
}

// Something between us and the cluster answers a deletion with success and makes none.
func TestAnAnswerToADeletionEndsNothing(t *testing.T) {
	s := fakeSite(t)
	p := s.open(t)
	scope := "namespaces/" + s.namespace
	all := []jit.Access{s.access(scope, "user:alice", "ClusterRole/"+s.role(0), "a"),
		s.access(scope, "user:bob", "ClusterRole/"+s.role(0), "b")}
	apply(t, p, ensured(all[0]), ensured(all[1]))
	s.fake.deaf = true
	for _, n := range []int{1, 2} {
		for i, a := range all[:n] {
			err := p.Apply(t.Context(), scope, []jit.Change{removed(all[0]), removed(all[1])}[:n])[i]
			if !errors.Is(err, jit.ErrRemains) || s.allowed(t, a.Binding) {
				t.Errorf("%v; access goes on: %t", err, s.allowed(t, a.Binding))
			}
		}
	}
	// Nor does an update take the subjects away.
	s.fake.deaf = false
	apply(t, p, removed(all[0]), removed(all[1]), ensured(all[0]))
	s.fake.deaf = true
	s.fake.admit(func(b *rbacv1.RoleBinding) { b.Subjects = []rbacv1.Subject{subject(t, "user:alice")} })
	err := p.Apply(t.Context(), scope, []jit.Change{removed(all[0])})[0]
	if err == nil || errors.Is(err, jit.ErrRemains) || !strings.Contains(err.Error(), "still gives access") {
		t.Errorf("Remove of what cannot be removed: %v", err)
	}
}

// A cluster that refuses the deletion of a binding does not keep its access alive.
func TestARefusedDeletionEndsTheAccess(t *testing.T) {
	s := fakeSite(t)
	p := s.open(t)
	a := s.access("namespaces/"+s.namespace, "user:alice", "ClusterRole/"+s.role(0), "kept")
	apply(t, p, ensured(a))
	s.fake.forbid(func(r *http.Request) bool { return r.Method == http.MethodDelete })
	for range 2 {
		err := p.Apply(t.Context(), a.Binding.Scope, []jit.Change{removed(a)})[0]
		if !errors.Is(err, jit.ErrRemains) || s.allowed(t, a.Binding) {
			t.Errorf("%v; access goes on: %t", err, s.allowed(t, a.Binding))
		}
	}
	s.fake.forbid(nil)
	apply(t, p, removed(a))
}

// A cluster that lets nobody take the subjects away, such as one where the operator has lost the verb bind, still deletes.
func TestSubjectsThatMayNotBeTakenAwayStopNoDeletion(t *testing.T) {
	s := fakeSite(t)
	p := s.open(t)
	a := s.access("namespaces/"+s.namespace, "user:alice", "ClusterRole/"+s.role(0), "kept")
	apply(t, p, ensured(a))
	s.edit(t, a.Binding.Scope, a.Marker, finalized)
	puts := 0
	s.fake.forbid(func(r *http.Request) bool {
		if r.Method == http.MethodPut {
			puts++
		}
		return r.Method == http.MethodPut && puts == 1 // the second one changes the finalizers alone
	})
	apply(t, p, removed(a))
	if left := s.bindings(t, a.Binding.Scope); len(left) != 0 || puts != 2 {
		t.Errorf("after %d updates there is left %+v", puts, left)
	}
}

// The finalizer is put on between the read and the deletion of several together.
func TestAFinalizerThatIsFasterKeepsNoAccess(t *testing.T) {
	s := fakeSite(t)
	p := s.open(t)
	scope := "namespaces/" + s.namespace
	a, b := s.access(scope, "user:alice", "ClusterRole/"+s.role(0), "a"),
		s.access(scope, "user:bob", "ClusterRole/"+s.role(0), "b")
	apply(t, p, ensured(a), ensured(b))
	var done atomic.Bool
	between := func(r *http.Request) {
		if r.Method == http.MethodDelete && done.CompareAndSwap(false, true) {
			s.edit(t, scope, a.Marker, finalized)
		}
	}
	s.fake.before.Store(&between)
	apply(t, p, removed(a), removed(b))
	if s.allowed(t, a.Binding) || len(s.bindings(t, scope)) != 0 {
		t.Errorf("left are %+v", s.bindings(t, scope))
	}
}

func finalized(b *rbacv1.RoleBinding) {
	if !slices.Contains(b.Finalizers, keeper) {
		b.Finalizers = append(b.Finalizers, keeper)
	}
}

// finalize puts the finalizer on each binding of the namespace that is written from now on.
func (s *site) finalize(t *testing.T) {
	t.Helper()
	if s.fake != nil {
		s.fake.admit(finalized)
		return
	}
	s.policy(t, `Object{metadata: Object.metadata{finalizers: ["`+keeper+`"]}}`)
	s.inForce(t, func(b *rbacv1.RoleBinding) bool { return slices.Contains(b.Finalizers, keeper) })
}

// policy has a real cluster change each binding of the namespace that is written.
func (s *site) policy(t *testing.T, expression string) {
	t.Helper()
	c, err := admissionclient.NewForConfig(s.real.Admin())
	if err != nil {
		t.Fatal(err)
	}
	here := &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": s.namespace}}
	bindings := admissionv1.NamedRuleWithOperations{RuleWithOperations: admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
		Rule: admissionv1.Rule{APIGroups: []string{rbacv1.GroupName}, APIVersions: []string{"*"},
			Resources: []string{roleBindings}}}}
	mutation := admissionv1.Mutation{PatchType: admissionv1.PatchTypeJSONPatch,
		JSONPatch: &admissionv1.JSONPatch{Expression: expression}}
	if strings.HasPrefix(expression, "Object{") {
		mutation = admissionv1.Mutation{PatchType: admissionv1.PatchTypeApplyConfiguration,
			ApplyConfiguration: &admissionv1.ApplyConfiguration{Expression: expression}}
	}
	policy := &admissionv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: s.name},
		Spec: admissionv1.MutatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{NamespaceSelector: here,
				ResourceRules: []admissionv1.NamedRuleWithOperations{bindings}},
			Mutations:          []admissionv1.Mutation{mutation},
			FailurePolicy:      new(admissionv1.Fail),
			ReinvocationPolicy: admissionv1.NeverReinvocationPolicy,
		}}
	if _, err := c.MutatingAdmissionPolicies().Create(t.Context(), policy, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bound := &admissionv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: s.name},
		Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: s.name}}
	if _, err := c.MutatingAdmissionPolicyBindings().Create(t.Context(), bound, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(
			c.MutatingAdmissionPolicyBindings().Delete(context.Background(), s.name, metav1.DeleteOptions{}),
			c.MutatingAdmissionPolicies().Delete(context.Background(), s.name, metav1.DeleteOptions{}),
		); err != nil {
			t.Error(err)
		}
	})
}

// inForce waits until a policy changes what is written.
func (s *site) inForce(t *testing.T, is func(b *rbacv1.RoleBinding) bool) {
	t.Helper()
	probe := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: s.name + "-probe"},
		RoleRef: reference("ClusterRole/" + s.role(0)), Subjects: []rbacv1.Subject{subject(t, "user:probe")}}
	eventually(t, "the policy", func() bool {
		b, err := s.rbac.RoleBindings(s.namespace).Create(t.Context(), probe,
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && is(b)
	})
}
