package kubernetes

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// damages are what somebody may do to a binding of ours, and what Read says of each.
var damages = []struct {
	name string
	do   func(b *rbacv1.RoleBinding)
	says string
	// subjects is how many have the access; 0 stands for one.
	subjects int
}{
	{"another subject beside", func(b *rbacv1.RoleBinding) {
		b.Subjects = append(b.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "friends"})
	}, `"group:friends" has the access too`, 2},
	{"no subject", func(b *rbacv1.RoleBinding) { b.Subjects = nil }, "no subject", 0},
	{"the annotation gone", func(b *rbacv1.RoleBinding) { delete(b.Annotations, "jit.access/marker") },
		"annotation jit.access/marker is gone", 0},
	{"the annotation of another grant", func(b *rbacv1.RoleBinding) {
		b.Annotations["jit.access/marker"] = "jit:team:00000000-0000-8000-8000-000000000000:20260101T000000Z:20990101T000000Z"
	}, "annotation jit.access/marker was changed", 0},
	{"all labels gone", func(b *rbacv1.RoleBinding) { b.Labels = nil }, "label jit.access/owner is gone", 0},
	{"the end label moved", func(b *rbacv1.RoleBinding) { b.Labels["jit.access/end"] = "20990101T000000Z" },
		"label jit.access/end was changed", 0},
	{"a finalizer", func(b *rbacv1.RoleBinding) { b.Finalizers = []string{"example.com/keep"} }, "", 0},
	{"an owner reference", func(b *rbacv1.RoleBinding) {
		b.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "x"}}
	}, "owner reference", 0},
}

func TestDamageIsSeenAndRepairedAndNeverStopsARemove(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p := s.open(t)
		for _, scope := range []string{"cluster", "namespaces/" + s.namespace} {
			for _, d := range damages {
				a := s.access(scope, "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), d.name)
				apply(t, p, ensured(a))
				wantWhole(t, p, a)
				s.edit(t, scope, a.Marker, d.do)
				if found := observed(t, p, a); len(found) != max(1, d.subjects) ||
					!strings.Contains(found[0].Damage, d.says) {
					t.Errorf("%s on %s: observed %+v, want damage that says %q", d.name, scope, found, d.says)
				}
				s.edit(t, scope, a.Marker,
					func(b *rbacv1.RoleBinding) { metav1.SetMetaDataLabel(&b.ObjectMeta, "team", "sre") })
				apply(t, p, ensured(a))
				wantWhole(t, p, a)
				s.edit(t, scope, a.Marker, func(b *rbacv1.RoleBinding) {
					if b.Labels["team"] != "sre" {
						t.Errorf("%s: the repair lost somebody's label: %v", d.name, b.Labels)
					}
					d.do(b)
				})
				apply(t, p, removed(a))
				if s.allowed(t, a.Binding) {
					t.Errorf("%s on %s: access goes on after Remove", d.name, scope)
				}
			}
		}
	})
}

func TestABindingHeldBackByAFinalizerIsMadeAnew(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p, a := s.open(t), s.access("namespaces/"+s.namespace, "group:"+s.name, "ClusterRole/"+s.role(0), "held back")
		apply(t, p, ensured(a))
		s.edit(t, a.Binding.Scope, a.Marker,
			func(b *rbacv1.RoleBinding) { b.Finalizers = []string{"example.com/keep"} })
		s.take(t, a.Binding.Scope, a.Marker)
		if found := observed(t, p, a); len(found) != 1 || !strings.Contains(found[0].Damage, "being deleted") {
			t.Fatalf("observed %+v, want a binding that is being deleted", found)
		}
		apply(t, p, ensured(a))
		wantWhole(t, p, a)
		s.edit(t, a.Binding.Scope, a.Marker,
			func(b *rbacv1.RoleBinding) { b.Finalizers = []string{"example.com/keep"} })
		s.take(t, a.Binding.Scope, a.Marker)
		if !s.allowed(t, a.Binding) {
			t.Error("a binding that is being deleted gives no access; then nothing of this is needed")
		}
		apply(t, p, removed(a))
		if len(observed(t, p, a)) != 0 || s.allowed(t, a.Binding) {
			t.Error("access goes on")
		}
	})
}

func TestCopiesAreShownAndRemoved(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p := s.open(t)
		scope := "namespaces/" + s.namespace
		a := s.access(scope, "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), "copied")
		duplicate := func() {
			s.edit(t, scope, a.Marker, func(b *rbacv1.RoleBinding) {
				second := *b.DeepCopy()
				second.Name = s.name + "-copy"
				s.put(t, scope, second)
			})
		}
		apply(t, p, ensured(a))
		duplicate()
		if found := observed(t, p, a); len(found) != 2 ||
			!strings.Contains(found[0].Damage+found[1].Damage, "copy: RoleBinding/"+s.name+"-copy") {
			t.Errorf("observed %+v, want the copy with its name", found)
		}
		apply(t, p, ensured(a))
		wantWhole(t, p, a)
		duplicate()
		apply(t, p, removed(a))
		if s.allowed(t, a.Binding) {
			t.Error("the copy gives access after Remove")
		}
	})
}

func TestWhatHasOurNameAndNotOurMarkerIsLeftAlone(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p := s.open(t)
		scope := "namespaces/" + s.namespace
		a, neighbour := s.access(scope, "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), "squatted"), s.access(scope,
			"user:"+s.name+"-bob", "ClusterRole/"+s.role(0), "good")
		s.put(t, scope, rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "jit-" + string(a.Marker.ID) + "-team"},
			Subjects: []rbacv1.Subject{subject(t, a.Binding.Principal)}, RoleRef: reference(a.Binding.Role)})
		before := s.dump(t, scope)
		for _, change := range []jit.Change{ensured(a), removed(a)} {
			errs := p.Apply(t.Context(), scope, []jit.Change{change, ensured(neighbour)})
			var user *jit.Error
			if !errors.As(errs[0], &user) || !strings.Contains(user.Problem, "not its marker") || user.Hint == "" ||
				errs[1] != nil {
				t.Errorf("%s: %v, want an error about the marker, and the neighbour made", change.Op, errs)
			}
		}
		if after := s.dump(t, scope); after != before {
			t.Errorf("the foreign binding is\n%s\nwas\n%s", after, before)
		}
	})
}

func TestThirtyWritersAtOnce(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		scope := "namespaces/" + s.namespace
		s.put(t, scope, rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: s.name + "-foreign"},
			Subjects: []rbacv1.Subject{subject(t, "user:carol")}, RoleRef: reference("ClusterRole/" + s.role(0))})
		before := s.dump(t, scope)
		p := s.open(t)
		shared := s.access(scope, "group:"+s.name, "ClusterRole/"+s.role(0), "the same for all")
		var own [30]jit.Access
		var writers sync.WaitGroup
		for i := range own {
			own[i] = s.access(scope, fmt.Sprintf("user:%s-%d", s.name, i), "ClusterRole/"+s.role(0), "own")
			writers.Go(func() {
				a := shared
				a.Marker.Window.End = a.Marker.Window.End.Add(time.Duration(i%2) * time.Hour)
				for n, err := range p.Apply(t.Context(), scope, []jit.Change{ensured(own[i]), ensured(a)}) {
					// All fight for the shared one; whoever loses every time says so.
					if err != nil && (n == 0 || !errors.Is(err, errRace)) {
						t.Errorf("writer %d, change %d: %v", i, n, err)
					}
				}
			})
		}
		writers.Wait()
		for _, a := range own {
			wantWhole(t, p, a)
		}
		apply(t, p, ensured(shared))
		wantWhole(t, p, shared)
		if after := s.dump(t, scope); after != before {
			t.Errorf("the foreign binding is\n%s\nwas\n%s", after, before)
		}
	})
}

func TestALostRaceIsJudgedAgain(t *testing.T) {
	s := fakeSite(t)
	p, a := s.open(t), s.access("namespaces/"+s.namespace, "user:alice", "ClusterRole/"+s.role(0), "raced")
	apply(t, p, ensured(a))
	longer := a
	longer.Marker.Window.End = a.Marker.Window.End.Add(time.Hour)
	for _, step := range []struct {
		method string
		change jit.Change
		holds  int
	}{{http.MethodPut, ensured(longer), 1}, {http.MethodDelete, removed(longer), 0}} {
		var done atomic.Bool
		between := func(r *http.Request) {
			if r.Method == step.method && done.CompareAndSwap(false, true) {
				s.edit(t, a.Binding.Scope, a.Marker,
					func(b *rbacv1.RoleBinding) { b.Finalizers = []string{"example.com/keep"} })
			}
		}
		s.fake.before.Store(&between)
		apply(t, p, step.change)
		if found := observed(t, p, a); !done.Load() || len(found) != step.holds || step.holds == 1 &&
			found[0].Damage != "" {
			t.Errorf("after %s: observed %+v", step.change.Op, found)
		}
	}
}

func TestManyDamagedBindingsAreRemovedTogether(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p := s.open(t)
		scope := "namespaces/" + s.namespace
		var made, ended []jit.Change
		for i := range 2 * len(damages) {
			a := s.access(scope, "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), fmt.Sprint("together ", i))
			made, ended = append(made, ensured(a)), append(ended, removed(a))
		}
		stays := s.access(scope, "user:"+s.name+"-bob", "ClusterRole/"+s.role(0), "stays")
		apply(t, p, append(made, ensured(stays))...)
		for i, d := range damages { // the second half is as it was written
			s.edit(t, scope, made[i].Access.Marker, d.do)
		}
		apply(t, p, ended...)
		if s.allowed(t, made[0].Access.Binding) {
			t.Errorf("access goes on: %+v", s.bindings(t, scope))
		}
		wantWhole(t, p, stays)
		if left := s.bindings(t, scope); len(left) != 1 {
			t.Errorf("%d bindings are left, want the one that stays", len(left))
		}
	})
}
