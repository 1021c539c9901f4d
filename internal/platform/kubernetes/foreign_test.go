package kubernetes

import (
	"net/http"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// standingOf returns what Read lists of a principal as standing access.
func standingOf(t testing.TB, p *Platform, scope, principal string) []jit.Standing {
	t.Helper()
	snap, err := p.Read(t.Context(), scope)
	if err != nil {
		t.Fatal(err)
	}
	var found []jit.Standing
	for _, s := range snap.Standing {
		if s.Principal == principal {
			found = append(found, s)
		}
	}
	return found
}

// Part of a marker on somebody else's binding hides nothing, and has nothing removed: a policy that labels all bindings
// could write it.
func TestAForeignBindingWithPartOfAMarkerIsNobodysGrant(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p := s.open(t)
		for _, scope := range []string{"cluster", "namespaces/" + s.namespace} {
			a := s.access(scope, "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), "marked")
			theirs := s.access(scope, "user:"+s.name+"-ops", "ClusterRole/"+s.role(1), "theirs")
			for name, mark := range map[string]func(b *rbacv1.RoleBinding){
				"the labels": func(b *rbacv1.RoleBinding) {
					b.Labels = map[string]string{}
					for _, l := range labelsOf(a.Marker) {
						b.Labels[l[0]] = l[1]
					}
				},
				"the annotation": func(b *rbacv1.RoleBinding) { b.Annotations = map[string]string{"jit.access/marker": a.Marker.String()} },
				"the annotation and labels of another grant": func(b *rbacv1.RoleBinding) {
					for _, l := range labelsOf(theirs.Marker) {
						metav1.SetMetaDataLabel(&b.ObjectMeta, l[0], l[1])
					}
					b.Annotations = map[string]string{"jit.access/marker": a.Marker.String()}
				},
			} {
				t.Run(scope+" "+name, func(t *testing.T) {
					apply(t, p, ensured(a))
					b := rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: s.name + "-ops"},
						Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: s.name + "-ops"}},
						RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: s.role(1)}}
					mark(&b)
					s.put(t, scope, b)
					wantWhole(t, p, a)
					if found := standingOf(t, p, scope, theirs.Binding.Principal); len(found) != 1 ||
						found[0].Marker.ID != a.Marker.ID || !strings.HasSuffix(found[0].Detail, "/"+b.Name) {
						t.Errorf("standing access is %+v, want the binding with the marker that it bears", found)
					}
					apply(t, p, removed(a))
					if s.allowed(t, a.Binding) || !s.allowed(t, theirs.Binding) {
						t.Errorf("after Remove the grant gives access: %t; somebody else's binding does: %t",
							s.allowed(t, a.Binding), s.allowed(t, theirs.Binding))
					}
					s.drop(t, scope, b.Name)
				})
			}
		}
	})
}

// A ClusterRoleBinding holds in every namespace, so a namespace shows it, whatever marker it bears, and names the scope
// on which it is given: the ledger decides whether it is that of a grant.
func TestAMarkedClusterRoleBindingIsSeenInANamespace(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p := s.open(t)
		a := s.access("cluster", "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), "above")
		apply(t, p, ensured(a))
		forged := s.access("cluster", "user:"+s.name+"-mallory", "ClusterRole/"+s.role(1), "forged")
		subject := rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: s.name + "-mallory"}
		b := newBinding(forged.Marker, subject,
			rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: s.role(1)}, "")
		s.put(t, "cluster", *b)
		snap, err := p.Read(t.Context(), "namespaces/"+s.namespace)
		if err != nil {
			t.Fatal(err)
		}
		for _, access := range []jit.Access{a, forged} {
			found := standingOf(t, p, "namespaces/"+s.namespace, access.Binding.Principal)
			if len(found) != 1 || found[0].From != "cluster" || found[0].Marker.String() != access.Marker.String() ||
				found[0].Role != access.Binding.Role {
				t.Errorf("of %s the namespace shows %+v", access.Binding.Principal, found)
			}
		}
		g := jit.Grant{ID: a.Marker.ID, Owner: a.Marker.Owner, Binding: a.Binding, Window: a.Marker.Window,
			Enforcement: jit.Sweeper, GrantedAt: a.Marker.Window.Start}
		records := jit.Records{Now: time.Now(), MaxTTL: time.Hour, Grants: map[jit.ID]jit.Grant{g.ID: g}}
		var who []string
		for _, found := range records.Standing(snap, "namespaces/"+s.namespace) {
			if strings.HasPrefix(found.Principal, "user:"+s.name+"-") {
				who = append(who, found.Principal)
			}
		}
		if len(who) != 1 || who[0] != forged.Binding.Principal {
			t.Errorf("standing access in the namespace have %q, want %s alone", who, forged.Binding.Principal)
		}
		s.drop(t, "cluster", b.Name)
		apply(t, p, removed(a))
	})
}

// Whoever is put beside the principal of a grant is seen to have it too.
func TestASubjectThatWasAddedIsAnotherPrincipal(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p := s.open(t)
		a := s.access("namespaces/"+s.namespace, "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), "shared")
		apply(t, p, ensured(a))
		s.edit(t, a.Binding.Scope, a.Marker, func(b *rbacv1.RoleBinding) {
			b.Subjects = append(b.Subjects,
				rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: s.name + "-mallory"})
		})
		g := jit.Grant{ID: a.Marker.ID, Owner: a.Marker.Owner, Binding: a.Binding, Window: a.Marker.Window,
			Enforcement: jit.Sweeper}
		snap, err := p.Read(t.Context(), a.Binding.Scope)
		if err != nil {
			t.Fatal(err)
		}
		if d := g.Differs(snap); d.Kind != jit.DriftPrincipal || strings.Contains(d.Words, "copies") {
			t.Errorf("drift is %s: %s", d.Kind, d.Words)
		}
		s.edit(t, a.Binding.Scope, a.Marker, func(b *rbacv1.RoleBinding) { b.Subjects = nil })
		if snap, err = p.Read(t.Context(), a.Binding.Scope); err != nil {
			t.Fatal(err)
		}
		if d := g.Differs(snap); d.Kind != jit.DriftMissing {
			t.Errorf("without a subject drift is %s: %s", d.Kind, d.Words)
		}
	})
}

// What the cluster makes for itself is left out, and a label that says so hides nothing else.
func TestWhatTheClusterMakesIsNoStandingAccess(t *testing.T) {
	s := fakeSite(t)
	p := s.open(t)
	put := func(scope, name, kind, role string, labelled bool, subjects ...rbacv1.Subject) {
		b := rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role}}
		if labelled {
			b.Labels = map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"}
		}
		s.put(t, scope, b)
	}
	user := func(name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}
	}
	group := func(name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: name}
	}
	account := func(name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: "ServiceAccount", Namespace: "kube-system", Name: name}
	}
	put("cluster", "cluster-admin", "ClusterRole", "cluster-admin", true, group("system:masters"))
	put("cluster", "system:kube-scheduler", "ClusterRole", "system:kube-scheduler", true, user("system:kube-scheduler"))
	put("cluster", "system:controller:job-controller", "ClusterRole", "system:controller:job-controller", true,
		account("job-controller"))
	put("cluster", "jit-operator", "ClusterRole", "jit-operator", false, user("the-admin"))
	if snap, err := p.Read(t.Context(), "cluster"); err != nil || len(snap.Standing) != 0 {
		t.Errorf("standing access is %+v, %v", snap.Standing, err)
	}
	put("cluster", "system:monitoring", "ClusterRole", "system:monitoring", true, user("mallory"))
	put("cluster", "system:basic-user", "ClusterRole", "cluster-admin", true, group("system:authenticated"))
	put("cluster", "system:controller:evil", "ClusterRole", "system:controller:evil", true, account("evil"))
	put("cluster", "system:discovery", "ClusterRole", "system:discovery", false, group("system:authenticated"))
	put("cluster", "ops", "ClusterRole", "cluster-admin", true, user("mallory"))
	put("namespaces/"+s.namespace, "system:controller:token-cleaner", "Role", "system:controller:token-cleaner", true,
		account("token-cleaner"))
	snap, err := p.Read(t.Context(), "cluster")
	if err != nil || len(snap.Standing) != 5 {
		t.Errorf("standing access is %+v, %v; want the five that are not the cluster's", snap.Standing, err)
	}
	snap, err = p.Read(t.Context(), "namespaces/"+s.namespace)
	if err != nil || len(snap.Standing) != 6 {
		t.Errorf("standing access in the namespace is %+v, %v", snap.Standing, err)
	}
	for _, found := range snap.Standing {
		if (found.From == "cluster") != strings.HasPrefix(found.Detail, "ClusterRoleBinding/") {
			t.Errorf("%+v does not say where it is given", found)
		}
	}
}

// On a real cluster nothing is found of a fresh one but what this test has made, and the operator's own binding is not
// found.
func TestAFreshClusterHasNoStandingAccess(t *testing.T) {
	s := realSite(t)
	p := s.open(t)
	for _, scope := range []string{"cluster", "namespaces/kube-system", "namespaces/kube-public",
		"namespaces/default"} {
		snap, err := p.Read(t.Context(), scope)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range snap.Standing {
			if strings.HasPrefix(found.Role, "ClusterRole/system:") || strings.HasPrefix(found.Role, "Role/") ||
				found.Role == "ClusterRole/cluster-admin" || found.Principal == "user:"+s.name+"-operator" {
				t.Errorf("%s: %+v", scope, found)
			}
		}
	}
}

// An operator that may not see all bindings is told so, and not that there are none.
func TestWhatMayNotBeListedIsSaid(t *testing.T) {
	s := fakeSite(t)
	p := s.open(t)
	s.fake.forbid(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/clusterrolebindings") })
	snap, err := p.Read(t.Context(), "namespaces/"+s.namespace)
	if err != nil || len(snap.Unseen) != 1 || !strings.Contains(snap.Unseen[0], "ClusterRoleBindings") {
		t.Errorf("unseen is %q, %v", snap.Unseen, err)
	}
}
