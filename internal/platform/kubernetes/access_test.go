package kubernetes

import (
	"fmt"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// subject reads a principal in canonical form.
func subject(t testing.TB, principal string) rbacv1.Subject {
	t.Helper()
	kind, name, _ := strings.Cut(principal, ":")
	switch kind {
	case "user":
		return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}
	case "group":
		return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "Group", Name: name}
	}
	namespace, account, ok := strings.Cut(name, "/")
	if !ok {
		t.Fatalf("%q is not a principal", principal)
	}
	return rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace, Name: account}
}

func reference(role string) rbacv1.RoleRef {
	kind, name, _ := strings.Cut(role, "/")
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
}

// access is a grant on the scope that has begun.
func (s *site) access(scope, principal, role, why string) jit.Access {
	b := jit.Binding{Target: "cluster", Principal: principal, Role: role, Scope: scope}
	start := jit.Second(time.Now())
	return jit.Access{Binding: b, Marker: jit.Marker{Owner: "team", ID: jit.NewID("team", b, why, 1),
		Window: jit.Window{Start: start, End: start.Add(time.Hour)}}}
}

func ensured(a jit.Access) jit.Change { return jit.Change{Op: jit.Ensure, Access: a} }
func removed(a jit.Access) jit.Change { return jit.Change{Op: jit.Remove, Access: a} }

// apply makes changes of one scope that have to succeed.
func apply(t testing.TB, p *Platform, changes ...jit.Change) {
	t.Helper()
	for i, err := range p.Apply(t.Context(), changes[0].Access.Binding.Scope, changes) {
		if err != nil {
			t.Fatalf("change %d (%s): %v", i, changes[i].Op, err)
		}
	}
}

// observed returns what the platform reads of one grant.
func observed(t testing.TB, p *Platform, a jit.Access) []jit.Observed {
	t.Helper()
	snap, err := p.Read(t.Context(), a.Binding.Scope)
	if err != nil {
		t.Fatal(err)
	}
	var found []jit.Observed
	for _, o := range snap.Ours {
		if o.Marker.Owner == a.Marker.Owner && o.Marker.ID == a.Marker.ID {
			if o.Detail == "" {
				t.Errorf("%+v does not say where it was found", o)
			}
			o.Detail = ""
			found = append(found, o)
		}
	}
	return found
}

// wantWhole fails unless the grant is there once and exactly as asked for.
func wantWhole(t testing.TB, p *Platform, a jit.Access) {
	t.Helper()
	want := []jit.Observed{{Marker: a.Marker, Principal: a.Binding.Principal, Role: a.Binding.Role}}
	if got := observed(t, p, a); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("observed %+v, want %+v", got, want)
	}
}
