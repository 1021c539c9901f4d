package kubernetes

import (
	"errors"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func strip(b *rbacv1.RoleBinding) { b.Labels, b.Annotations = nil, nil }

// recorded is the grant of an access that the cluster holds.
func recorded(a jit.Access) jit.Grant {
	return jit.Grant{ID: a.Marker.ID, Owner: a.Marker.Owner, Binding: a.Binding, Window: a.Marker.Window,
		Enforcement: jit.Sweeper, GrantedAt: a.Marker.Window.Start}
}

// held says that the record has the access of a change on the cluster.
func held(c jit.Change) jit.Change {
	c.Held = true
	return c
}

// driftOf compares the record of an access with the cluster.
func driftOf(t *testing.T, p *Platform, a jit.Access) jit.Difference {
	t.Helper()
	snap, err := p.Read(t.Context(), a.Binding.Scope)
	if err != nil {
		t.Fatal(err)
	}
	return recorded(a).Differs(snap)
}

// An administrator of a namespace takes the labels and the annotation off a binding: its name, its role and its
// principal are those of the record, so it is repaired, and it ends.
func TestABindingWithoutItsMarkerEnds(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p := s.open(t)
		for _, scope := range []string{"cluster", "namespaces/" + s.namespace} {
			a := s.access(scope, "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), "stripped")
			apply(t, p, ensured(a))
			s.edit(t, scope, a.Marker, func(b *rbacv1.RoleBinding) {
				strip(b)
				b.Subjects = append(b.Subjects, subject(t, "user:mallory"))
			})
			if d := driftOf(t, p, a); d.Kind != jit.DriftStripped || d.Kind.Severity() != jit.Critical {
				t.Errorf("%s: drift is %+v", scope, d)
			}
			apply(t, p, held(ensured(a)))
			wantWhole(t, p, a)
			s.edit(t, scope, a.Marker, strip)
			apply(t, p, held(removed(a)))
			if s.allowed(t, a.Binding) || len(observed(t, p, a)) != 0 {
				t.Errorf("%s: access goes on", scope)
			}
			if d := driftOf(t, p, a); d.Kind != jit.DriftMissing {
				t.Errorf("%s: drift is %+v", scope, d)
			}
		}
	})
}

// A name alone does not make a binding ours.
func TestANameAloneProvesNothing(t *testing.T) {
	s := fakeSite(t)
	p := s.open(t)
	scope := "namespaces/" + s.namespace
	a := s.access(scope, "user:alice", "ClusterRole/"+s.role(0), "named")
	for name, tt := range map[string]struct {
		do     func(b *rbacv1.RoleBinding)
		change jit.Change
		drift  jit.DriftKind
	}{
		"another principal": {func(b *rbacv1.RoleBinding) {
			b.Subjects = []rbacv1.Subject{subject(t, "user:mallory")}
		}, held(removed(a)), jit.DriftTaken},
		"another role":      {func(b *rbacv1.RoleBinding) { b.RoleRef.Name = s.role(1) }, held(removed(a)), jit.DriftTaken},
		"a repair":          {func(b *rbacv1.RoleBinding) { b.RoleRef.Name = s.role(1) }, held(ensured(a)), jit.DriftTaken},
		"nothing recorded":  {func(*rbacv1.RoleBinding) {}, removed(a), jit.DriftStripped},
		"a grant that came": {func(*rbacv1.RoleBinding) {}, ensured(a), jit.DriftStripped},
	} {
		b := newBinding(a.Marker, subject(t, a.Binding.Principal), reference(a.Binding.Role), s.namespace)
		strip(b)
		tt.do(b)
		s.put(t, scope, *b)
		before := s.dump(t, scope)
		var user *jit.Error
		if err := p.Apply(t.Context(), scope, []jit.Change{tt.change})[0]; !errors.As(err, &user) ||
			!strings.Contains(user.Problem, "not its marker") {
			t.Errorf("%s: %v", name, err)
		}
		if d := driftOf(t, p, a); d.Kind != tt.drift || d.Kind.Severity() != jit.Critical {
			t.Errorf("%s: drift is %+v", name, d)
		}
		if after := s.dump(t, scope); after != before {
			t.Errorf("%s: the binding is\n%s\nwas\n%s", name, after, before)
		}
		s.drop(t, scope, b.Name)
	}
}

// The name of a binding that came back without its marker makes a critical finding of it, also in a scan.
func TestAnUnmarkedBindingOfAnEndedGrantIsFound(t *testing.T) {
	s := fakeSite(t)
	p := s.open(t)
	a := s.access("namespaces/"+s.namespace, "user:alice", "ClusterRole/"+s.role(0), "back")
	b := newBinding(a.Marker, subject(t, a.Binding.Principal), reference(a.Binding.Role), s.namespace)
	strip(b)
	s.put(t, a.Binding.Scope, *b)
	snap, err := p.Read(t.Context(), a.Binding.Scope)
	if err != nil {
		t.Fatal(err)
	}
	g := recorded(a)
	g.EndedAt = g.End
	records := jit.Records{Now: time.Now(), MaxTTL: time.Hour, Grants: map[jit.ID]jit.Grant{g.ID: g}}
	found := records.Standing(snap, a.Binding.Scope)
	if len(found) != 1 || !found[0].Claims() || found[0].Marker.Key() != a.Marker.Key() {
		t.Errorf("standing access is %+v", found)
	}
}
