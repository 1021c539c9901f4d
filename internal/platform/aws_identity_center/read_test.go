package awsidentitycenter

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// standing lists the standing access that the platform reads, without where it was found.
func standing(t *testing.T, p *Platform) string {
	t.Helper()
	snap, err := p.Read(t.Context(), production)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, s := range snap.Standing {
		if s.Detail == "" {
			t.Errorf("%+v does not say where it was found", s)
		}
		all = append(all, s.Principal+" "+s.Role)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// Standing access is reported with the names or ids that grants use.
func TestStandingAccessUnderEveryName(t *testing.T) {
	s := newSite(t)
	s.foreign(t, alice())
	p := s.open(t)
	if got, want := standing(t, p), "user:alice@example.com ReadOnly"; got != want {
		t.Errorf("standing access is %q, want %q", got, want)
	}
	b := alice()
	b.Principal, b.Role = "user:"+aliceID, readOnly
	if _, _, err := p.Check(b); err != nil {
		t.Fatal(err)
	}
	snap, err := p.Read(t.Context(), production)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []jit.Binding{alice(), b} {
		if _, ok := snap.StandingOf(b); !ok {
			t.Errorf("%+v is not found among %+v", b, snap.Standing)
		}
	}
}

// Prior access stays standing access while a grant of it is live. Assignments of deleted users are standing access too.
func TestStandingAccessBesideGrants(t *testing.T) {
	s := newSite(t)
	s.foreign(t, alice())
	bob := alice()
	bob.Principal = "user:bob@example.com"
	s.foreign(t, bob)
	s.with(func(m *model) { delete(m.users, bobID) })
	p, a := s.open(t), access(alice(), "beside")
	apply(t, p, ensure(a)...)
	if got, want := standing(t, p), "user:"+bobID+" ReadOnly, user:alice@example.com ReadOnly"; got != want {
		t.Errorf("standing access is %q, want %q", got, want)
	}
	if got := ours(t, p); len(got) != 1 || got[0].Marker != a.Marker {
		t.Errorf("Read = %+v, want the grant", got)
	}
}

// Every list is read to its last page.
func TestPages(t *testing.T) {
	s := newSite(t)
	for n := range 7 {
		id := fmt.Sprintf("906700aaaa-33333333-2222-3333-4444-%012d", n)
		s.users[id] = fmt.Sprintf("user%d", n)
		s.sets[fmt.Sprintf("arn:aws:sso:::permissionSet/ssoins-0123456789abcdef/ps-%016d", n)] = set{fmt.Sprintf("Set%d", n), "PT1H"}
	}
	p := s.open(t)
	var all []jit.Access
	for n := range 7 {
		for _, role := range []string{"ReadOnly", fmt.Sprintf("Set%d", n)} {
			b := jit.Binding{Target: "directory", Principal: fmt.Sprintf("user:user%d", n), Role: role,
				Scope: production}
			all = append(all, access(b, "pages"))
		}
	}
	apply(t, p, ensure(all...)...)
	if got := ours(t, s.open(t)); len(got) != len(all) {
		t.Errorf("%d grants are read, want %d", len(got), len(all))
	}
	apply(t, s.open(t), remove(all...)...)
	if len(s.assignments) != 0 {
		t.Errorf("%d assignments are left", len(s.assignments))
	}
}

// Advice names users, groups and permission sets that do not exist.
func TestWhatDoesNotExistIsTold(t *testing.T) {
	p := newSite(t).open(t)
	for _, tt := range []struct{ principal, role, want string }{
		{"user:alice@example.com", "ReadOnly", ""},
		{"group:On call", "Admin", ""},
		{"user:alcie@example.com", "ReadOnly", "principal"},
		{"group:Off call", "ReadOnly", "principal"},
		{"user:alice@example.com", "ReadOlny", "role"},
	} {
		got := ""
		for _, a := range p.advise(t.Context(),
			jit.Binding{Principal: tt.principal, Role: tt.role, Scope: production}) {
			got += a.Attribute
		}
		if got != tt.want {
			t.Errorf("%s for %s: told of %q, want %q", tt.role, tt.principal, got, tt.want)
		}
	}
}
