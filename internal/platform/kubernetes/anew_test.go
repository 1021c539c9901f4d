package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func (s *site) makeAccount(t *testing.T, name string) {
	t.Helper()
	if _, err := s.core.ServiceAccounts(s.namespace).Create(t.Context(),
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// remakeAccount deletes a service account and makes another one of its name.
func (s *site) remakeAccount(t *testing.T, name string) {
	t.Helper()
	s.dropAccount(t, name)
	s.makeAccount(t, name)
}

func (s *site) dropAccount(t *testing.T, name string) {
	t.Helper()
	was, err := s.core.ServiceAccounts(s.namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &was.UID,
		ResourceVersion: &was.ResourceVersion}}
	if err := s.core.ServiceAccounts(s.namespace).Delete(t.Context(), name, options); err != nil {
		t.Fatal(err)
	}
}

// A service account that is made anew during a grant is another one: that is critical, and it loses the access.
func TestAServiceAccountMadeAnewHasNoAccess(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p := s.open(t)
		s.makeAccount(t, "deployer")
		for _, scope := range []string{"cluster", "namespaces/" + s.namespace} {
			a := s.access(scope, "serviceaccount:"+s.namespace+"/deployer", "ClusterRole/"+s.role(0), "anew "+scope)
			a.Marker.Window.Start = a.Marker.Window.Start.Add(-time.Hour) // the repair of one that began long ago
			apply(t, p, ensured(a))
			wantWhole(t, p, a)
			s.remakeAccount(t, "deployer")
			if d := driftOf(t, p, a); d.Kind != jit.DriftPrincipal || !strings.Contains(d.Words, "made anew") {
				t.Errorf("%s: drift is %+v", scope, d)
			}
			for _, says := range []string{"made anew", "was made after the grant began"} { // it is there, and is gone
				err := p.Apply(t.Context(), scope, []jit.Change{held(ensured(a))})[0]
				if wantTold(t, err, "principal", says); !errors.Is(err, jit.ErrAnother) {
					t.Errorf("%s: %v, want jit.ErrAnother", scope, err)
				}
				if s.allowed(t, a.Binding) {
					t.Errorf("%s: the new service account has the access", scope)
				}
			}
			apply(t, p, held(removed(a)))
			renewed := s.access(scope, a.Binding.Principal, a.Binding.Role, "renewed "+scope)
			apply(t, p, ensured(renewed))
			wantWhole(t, p, renewed)
			apply(t, p, removed(renewed))
		}
	})
}

// A grant of a service account that was deleted is over: the next one of that name must not get the access.
func TestAGrantOfADeletedServiceAccountIsOver(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p := s.open(t)
		s.makeAccount(t, "deployer")
		a := s.access("namespaces/"+s.namespace, "serviceaccount:"+s.namespace+"/deployer", "ClusterRole/"+s.role(0),
			"gone")
		apply(t, p, ensured(a))
		s.dropAccount(t, "deployer")
		if d := driftOf(t, p, a); d.Kind != jit.DriftGone {
			t.Errorf("drift is %+v", d)
		}
		apply(t, p, held(removed(a)))
		s.makeAccount(t, "deployer")
		if s.allowed(t, a.Binding) {
			t.Error("the next service account of that name has the access")
		}
	})
}

// A list may lack what the operator may not see: a proxy leaves it out. Only the answer to a read of the account itself
// says that it is gone.
func TestAListThatLacksAnAccountIsNoProof(t *testing.T) {
	for _, status := range []metav1.Status{apierrors.NewForbidden(schema.GroupResource{}, "a0", nil).ErrStatus,
		apierrors.NewNotFound(schema.GroupResource{}, "a0").ErrStatus} {
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if strings.HasSuffix(r.URL.Path, "/serviceaccounts") {
				_, _ = fmt.Fprint(w, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","items":[]}`)
				return
			}
			w.WriteHeader(int(status.Code))
			_ = json.NewEncoder(w).Encode(status)
		}))
		defer api.Close()
		p, err := New(Config{Host: api.URL, Token: "none"}, jit.Services{Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		at, err := p.place("namespaces/x")
		if err != nil {
			t.Fatal(err)
		}
		paths := map[string]bool{}
		for i := range fewObjects + 1 {
			paths[fmt.Sprintf("/api/v1/namespaces/x/serviceaccounts/a%d", i)] = true
		}
		for path, f := range at.facts(t.Context(), paths) {
			if f.gone != (status.Code == http.StatusNotFound) || f.unread != nil {
				t.Errorf("%s: %+v after the status %d", path, f, status.Code)
			}
		}
	}
}

// The service accounts of many grants are listed, or read one by one where the operator may not list them.
func TestManyServiceAccountsAreListed(t *testing.T) {
	const many = 3 * fewObjects
	var bindings []jit.Access
	fill := func(t *testing.T, s *site, p *Platform) {
		var changes []jit.Change
		bindings = nil
		for i := range many {
			name := fmt.Sprint("deployer", i)
			s.makeAccount(t, name)
			a := s.access("namespaces/"+s.namespace, "serviceaccount:"+s.namespace+"/"+name, "ClusterRole/"+s.role(0),
				"many")
			bindings, changes = append(bindings, a), append(changes, ensured(a))
		}
		apply(t, p, changes...)
		s.remakeAccount(t, "deployer1")
		s.dropAccount(t, "deployer2")
	}
	wantFound := func(t *testing.T, p *Platform) {
		snap, err := p.Read(t.Context(), bindings[0].Binding.Scope)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range bindings {
			want := map[int]jit.DriftKind{1: jit.DriftPrincipal, 2: jit.DriftGone}[i]
			if d := recorded(a).Differs(snap); d.Kind != want {
				t.Errorf("%s: drift is %+v, want %q", a.Binding.Principal, d, want)
			}
		}
	}
	eachSite(t, func(t *testing.T, s *site) {
		p := s.open(t)
		if s.fake != nil {
			s.fake.pageSize = pageSize
		}
		fill(t, s, p)
		wantFound(t, p)
		before := s.reads.Load()
		wantFound(t, p)
		if n := s.reads.Load() - before; n > 4 {
			t.Errorf("%d requests, want 3 lists and one of the account that is gone", n)
		}
	})
	t.Run("forbidden", func(t *testing.T) {
		s := fakeSite(t)
		p := s.open(t)
		fill(t, s, p)
		s.fake.forbid(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/serviceaccounts") })
		wantFound(t, p)
	})
}

// A namespace that is made anew during a grant is another one, and the grant is not put into it. The real cluster of the
// tests never deletes a namespace, so there the grant began before it.
func TestAGrantIsNotPutIntoANewNamespace(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		p := s.open(t)
		a := s.access("namespaces/"+s.namespace, "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), "anew")
		a.Marker.Window.Start = a.Marker.Window.Start.Add(-time.Hour)
		err := p.Apply(t.Context(), a.Binding.Scope, []jit.Change{held(ensured(a))})[0]
		if wantTold(t, err, "scope", "made anew"); !errors.Is(err, jit.ErrAnother) {
			t.Errorf("%v, want jit.ErrAnother", err)
		}
		if s.allowed(t, a.Binding) {
			t.Error("the access is given in the new namespace")
		}
		apply(t, p, held(removed(a)))
		recent := s.access(a.Binding.Scope, a.Binding.Principal, a.Binding.Role, "recent")
		apply(t, p, held(ensured(recent)))
		wantWhole(t, p, recent)
	})
}

// What cannot be looked at keeps nothing from being given or ended.
func TestAccountsThatMayNotBeReadStopNothing(t *testing.T) {
	s := fakeSite(t)
	p := s.open(t)
	s.makeAccount(t, "deployer")
	s.fake.forbid(func(r *http.Request) bool {
		return strings.HasPrefix(r.URL.Path, "/api/v1/") && r.Method == http.MethodGet
	})
	a := s.access("namespaces/"+s.namespace, "serviceaccount:"+s.namespace+"/deployer", "ClusterRole/"+s.role(0), "x")
	apply(t, p, ensured(a))
	wantWhole(t, p, a)
	apply(t, p, held(ensured(a)))
	apply(t, p, held(removed(a)))
}

// A role that is widened or made anew during a grant gives what it says, as with every binding, and the grant ends.
func TestARoleThatChangesEndsWithTheGrant(t *testing.T) {
	s := realSite(t)
	p := s.open(t)
	scope := "namespaces/" + s.namespace
	more := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get"},
		ResourceNames: []string{s.role(0), s.role(1)}}}
	aggregated := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: s.name + "-part",
		Labels: map[string]string{s.name: "yes"}}, Rules: more}
	for name, tt := range map[string]struct {
		role   string
		change func(ctx context.Context) error
	}{
		"widened": {"Role/" + s.role(0), func(ctx context.Context) error {
			role, err := s.rbac.Roles(s.namespace).Get(ctx, s.role(0), metav1.GetOptions{})
			if err == nil {
				role.Rules = more
				_, err = s.rbac.Roles(s.namespace).Update(ctx, role, metav1.UpdateOptions{})
			}
			return err
		}},
		"made anew": {"Role/" + s.role(0), func(ctx context.Context) error {
			if err := s.rbac.Roles(s.namespace).Delete(ctx, s.role(0), metav1.DeleteOptions{}); err != nil {
				return err
			}
			_, err := s.rbac.Roles(s.namespace).Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{
				Name: s.role(0)}, Rules: more}, metav1.CreateOptions{})
			return err
		}},
		"aggregated": {"ClusterRole/" + s.role(0), func(ctx context.Context) error {
			role, err := s.rbac.ClusterRoles().Get(ctx, s.role(0), metav1.GetOptions{})
			if err != nil {
				return err
			}
			role.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
				{MatchLabels: map[string]string{s.name: "yes"}}}}
			if _, err = s.rbac.ClusterRoles().Create(ctx, aggregated, metav1.CreateOptions{}); err == nil {
				_, err = s.rbac.ClusterRoles().Update(ctx, role, metav1.UpdateOptions{})
			}
			return err
		}},
	} {
		a := s.access(scope, "user:"+s.name+"-"+strings.ReplaceAll(name, " ", ""), tt.role, name)
		apply(t, p, ensured(a))
		if err := tt.change(t.Context()); err != nil {
			t.Fatal(name, err)
		}
		wider := a.Binding
		wider.Role = strings.ReplaceAll(tt.role, s.role(0), s.role(1)) // the ConfigMap that the wider role reads
		eventually(t, name, func() bool { return s.allowed(t, wider) })
		wantWhole(t, p, a)
		apply(t, p, ensured(a))
		apply(t, p, removed(a))
		if s.allowed(t, a.Binding) || s.allowed(t, wider) {
			t.Errorf("%s: access goes on", name)
		}
	}
}
