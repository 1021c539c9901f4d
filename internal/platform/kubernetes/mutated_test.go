package kubernetes

import (
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A policy that sets a label which belongs to no one program disturbs nothing.
func TestASharedLabelMayChange(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p := s.open(t)
		a := s.access("namespaces/"+s.namespace, "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), "shared label")
		s.mutate(t, func(b *rbacv1.RoleBinding) { b.Labels[managedByLabel] = "platform" },
			`Object{metadata: Object.metadata{labels: {"`+managedByLabel+`": "platform"}}}`)
		apply(t, p, ensured(a))
		wantWhole(t, p, a)
		apply(t, p, removed(a))
	})
}

// A policy writes over a label of ours: a grant begins with a warning, and a repair is an error because it does not stay.
func TestARepairThatDoesNotStayIsTold(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		var warned []string
		p, err := New(s.cfg, jit.Services{Now: time.Now, Warn: func(text string) { warned = append(warned, text) }})
		if err != nil {
			t.Fatal(err)
		}
		scope := "namespaces/" + s.namespace
		a := s.access(scope, "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), "overwritten")
		b := s.access(scope, "user:"+s.name+"-bob", "ClusterRole/"+s.role(0), "overwritten")
		s.mutate(t, func(b *rbacv1.RoleBinding) { b.Labels[endLabel] = "x" },
			`Object{metadata: Object.metadata{labels: {"`+endLabel+`": "x"}}}`)
		apply(t, p, ensured(a), ensured(b))
		if len(warned) != 1 || !strings.Contains(warned[0], "does not stay") || !strings.Contains(warned[0], endLabel) {
			t.Errorf("warnings: %q", warned)
		}
		if found := observed(t, p, a); len(found) != 1 || found[0].Damage == "" {
			t.Fatalf("observed %+v", found)
		}
		wantTold(t, p.Apply(t.Context(), scope, []jit.Change{ensured(a)})[0], "", "does not stay")
		longer := a
		longer.Marker.Window.End = a.Marker.Window.End.Add(time.Hour)
		apply(t, p, ensured(longer))
		if found := observed(t, p, a); len(found) != 1 || !found[0].Marker.Window.Equal(longer.Marker.Window) {
			t.Errorf("after a change of its end: %+v", found)
		}
		apply(t, p, removed(a), removed(b))
		if s.allowed(t, a.Binding) {
			t.Error("access goes on")
		}
	})
}

// A policy gives the access of each binding to somebody else too: nothing is granted that way.
func TestABindingThatGivesMoreThanWasWrittenIsTakenAway(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p := s.open(t)
		scope := "namespaces/" + s.namespace
		a := s.access(scope, "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), "widened")
		auditors := a.Binding
		auditors.Principal = "group:" + s.name + "-auditors"
		add := func(b *rbacv1.RoleBinding) {
			if len(b.Subjects) == 1 {
				b.Subjects = append(b.Subjects, subject(t, auditors.Principal))
			}
		}
		s.mutate(t, add, `has(object.subjects) && object.subjects.size() == 1 ? [JSONPatch{op: "add", path: "/subjects/-", `+
			`value: Object.subjects{kind: "Group", apiGroup: "`+rbacv1.GroupName+`", name: "`+s.name+
			`-auditors"}}] : []`)
		wantTold(t, p.Apply(t.Context(), scope, []jit.Change{ensured(a)})[0], "", "the subjects are not those")
		if s.allowed(t, a.Binding) || s.allowed(t, auditors) {
			t.Error("access is given")
		}
		if d := driftOf(t, p, a); d.Kind != jit.DriftMissing {
			t.Errorf("drift is %+v", d)
		}
	})
}

// mutate has the cluster change each binding of the namespace that is written: the fake one by change, a real one by the
// same change as an expression.
func (s *site) mutate(t *testing.T, change func(b *rbacv1.RoleBinding), expression string) {
	t.Helper()
	if s.fake != nil {
		s.fake.admit(change)
		return
	}
	s.policy(t, expression)
	s.inForce(t, func(b *rbacv1.RoleBinding) bool {
		return b.Labels[managedByLabel] != "" || b.Labels[endLabel] != "" || len(b.Subjects) > 1
	})
}
