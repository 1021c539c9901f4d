package gcp

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

// With 1,600 grants on a project that has room for fewer than 1,500, as many as fit are made. The others are refused
// with the numbers before anything is written.
func TestAFullPolicyRefusesWhatDoesNotFit(t *testing.T) {
	s := newWorld(t)
	p := open(t, s, Config{})
	before, room := foreign(t, s, project), maxPrincipals-2
	all := make([]jit.Access, 1600)
	for i := range all {
		principal := fmt.Sprintf("user:guest%d@example.com", i)
		s.AddAccounts(principal)
		all[i] = access(project, principal, sqlRole, "a visit")
	}
	errs := p.Apply(t.Context(), project, ensured(all...))
	for i, err := range errs {
		if i < room != (err == nil) {
			t.Fatalf("grant %d: %v; there is room for %d", i, err, room)
		}
		if allowed(s, all[i].Binding, time.Now()) != (err == nil) {
			t.Fatalf("grant %d is not what its error %v says", i, err)
		}
	}
	wantTold(t, errs[room], "scope", "would name 1501 principals, repeats included; the limit is 1500")
	if _, writes := s.Calls(); writes != 1 {
		t.Errorf("%d writes, want one", writes)
	}
	if after := foreign(t, s, project); after != before {
		t.Error("what is not ours was changed")
	}
	// A removal makes room for a grant in the same write.
	apply(t, p, project, append(removed(all[0]), ensured(all[room])...)...)
	// A grant can be changed while there is no room.
	all[1].Marker.Window.End = all[1].Marker.Window.End.Add(time.Hour)
	apply(t, p, project, ensured(all[1])...)
}

func TestGroupsAndDomainsAreCounted(t *testing.T) {
	s := newWorld(t)
	p := open(t, s, Config{})
	s.Edit(project, func(p *gcptest.Policy) {
		var groups []string
		for i := range maxGroups - 1 {
			groups = append(groups, fmt.Sprintf("group:team%d@example.com", i))
		}
		p.Bindings = append(p.Bindings, gcptest.Binding{Role: sqlRole, Members: groups})
	})
	for i := range maxGroups {
		s.AddGroup(fmt.Sprintf("group:team%d@example.com", i))
	}
	apply(t, p, project, ensured(access(project, oncall, sqlRole, "fits"))...)
	errs := p.Apply(t.Context(), project,
		ensured(
			access(project, "domain:example.com", sqlRole, "too many"), access(project, alice, sqlRole, "no group"),
		),
	)
	wantTold(t, errs[0], "principal", "251 groups and domains; the limit is 250")
	if errs[1] != nil {
		t.Errorf("a user beside it: %v", errs[1])
	}
}

// A principal can have a role in 20 bindings with different conditions.
func TestTheSameRoleForTheSamePrincipal(t *testing.T) {
	s := newWorld(t)
	p := open(t, s, Config{})
	var all []jit.Access
	for i := range maxSame + 1 {
		all = append(all, access(project, alice, sqlRole, fmt.Sprint(i)))
	}
	errs := p.Apply(t.Context(), project, ensured(append(all, access(project, bob, sqlRole, "another"))...))
	for i, err := range errs {
		if i == maxSame {
			wantTold(t, err, "role",
				"21 bindings of "+sqlRole+" for "+alice+" with different conditions; the limit is 20",
			)
		} else if err != nil {
			t.Errorf("grant %d: %v", i, err)
		}
	}
}

// A read reports when little room is left, and for which principal.
func TestHeadRoomIsNoted(t *testing.T) {
	notes := func(edit func(p *gcptest.Policy)) string {
		s := newWorld(t)
		s.Edit(project, edit)
		snapshot, err := open(t, s, Config{}).Read(t.Context(), project)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, n := range snapshot.Notes {
			all = append(all, strings.TrimSpace(n.Principal+" "+n.Text))
		}
		return strings.Join(all, "\n")
	}
	members := func(prefix string, n int) []string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf("%s%d@example.com", prefix, i)
		}
		return all
	}
	conditional := func(n int, principal string) func(p *gcptest.Policy) {
		return func(p *gcptest.Policy) {
			for i := range n {
				p.Bindings = append(p.Bindings,
					gcptest.Binding{Role: sqlRole, Members: []string{strings.ReplaceAll(principal, "#", fmt.Sprint(i))},
						Condition: &gcptest.Condition{Title: fmt.Sprint(i), Expression: "true"}},
				)
			}
		}
	}
	for _, tt := range []struct {
		name string
		edit func(p *gcptest.Policy)
		want string
	}{
		{"nothing", func(*gcptest.Policy) {}, ""},
		{"principals", func(p *gcptest.Policy) {
			p.Bindings = []gcptest.Binding{{Role: sqlRole, Members: members("user:a", 1200)}}
		},
			"The policy of projects/payments-prod names 1200 principals, repeats included; the limit is 1500."},
		{"fewer principals", func(p *gcptest.Policy) {
			p.Bindings = []gcptest.Binding{{Role: sqlRole, Members: members("user:a", 1199)}}
		}, ""},
		{"groups", func(p *gcptest.Policy) {
			p.Bindings = []gcptest.Binding{{Role: sqlRole, Members: members("group:a", 201)}}
		},
			"The policy of projects/payments-prod names 201 groups and domains; the limit is 250."},
		{"conditions", conditional(79, "user:guest#@example.com"), "The policy of projects/payments-prod has 80 bindings with a condition, and Google advises 100 at most."},
		{"one principal", conditional(17, alice), alice + " The policy of projects/payments-prod has 17 bindings of " + sqlRole + " for " + alice + "; the limit is 20."},
	} {
		if got := notes(tt.edit); got != tt.want {
			t.Errorf("%s: noted %q, want %q", tt.name, got, tt.want)
		}
	}
}

// In 25 renewals without a sweep, each write removes the ended binding before it, and the platform reports that.
func TestRenewalsMakeRoomForThemselves(t *testing.T) {
	s := newWorld(t)
	var offset time.Duration
	p := openAt(t, s, Config{}, func() time.Time { return time.Now().Add(offset) })
	var tidied []jit.Marker
	p.tidied = func(_ context.Context, gone []jit.Marker) { tidied = append(tidied, gone...) }
	other := access(project, bob, sqlRole, "another team's")
	other.Marker.Owner = "another"
	other.Marker.Window.End = other.Marker.Window.Start.Add(5 * time.Minute)
	apply(t, p, project, ensured(other)...)
	var made []jit.Marker
	for renewal := range 25 {
		a := access(project, alice, sqlRole, fmt.Sprint(renewal))
		a.Marker.Window.Start = jit.Second(time.Now().Add(offset))
		a.Marker.Window.End = a.Marker.Window.Start.Add(time.Minute)
		apply(t, p, project, ensured(a)...)
		made = append(made, a.Marker)
		if !allowed(s, a.Binding, time.Now().Add(offset)) {
			t.Fatalf("renewal %d gives no access", renewal)
		}
		offset += 2 * time.Minute
		s.SetClock(offset)
		if allowed(s, a.Binding, time.Now().Add(offset)) {
			t.Fatalf("renewal %d has not ended", renewal)
		}
	}
	n := 0
	for _, b := range s.Policy(project).Bindings {
		if ours(b) {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d bindings are left, want that of the last renewal and the other team's, which has ended too", n)
	}
	if !slices.Equal(tidied, made[:24]) {
		t.Errorf("told of %d that went with another write, want the first 24 renewals:\n%v", len(tidied), tidied)
	}
}

// A write removes a binding whose accounts were all deleted, but keeps one with an existing account.
func TestDeletedAccounts(t *testing.T) {
	s := newWorld(t)
	s.AddAccounts("user:leaver@example.com", "user:colleague@example.com")
	s.Edit(project, func(p *gcptest.Policy) {
		p.Bindings = append(p.Bindings,
			gcptest.Binding{Role: viewer, Members: []string{"user:leaver@example.com", "user:colleague@example.com"}},
		)
	})
	p := open(t, s, Config{})
	leaver := access(project, "user:leaver@example.com", sqlRole, "leaving")
	apply(t, p, project, ensured(leaver)...)
	s.DeleteAccount("user:leaver@example.com")
	before := foreign(t, s, project)
	if !strings.Contains(before, "deleted:user:leaver@example.com?uid=") {
		t.Fatalf("the policy does not name who was deleted:\n%s", before)
	}
	snapshot, err := p.Read(t.Context(), project)
	if err != nil || len(snapshot.Ours) != 1 || !strings.HasPrefix(snapshot.Ours[0].Principal, deletedPrefix) {
		t.Fatalf("read %+v, %v; want the binding of who was deleted", snapshot.Ours, err)
	}
	apply(t, p, project, ensured(access(project, alice, sqlRole, "somebody else"))...)
	if snapshot, err = p.Read(t.Context(), project); err != nil || len(snapshot.Ours) != 1 ||
		snapshot.Ours[0].Principal != alice {
		t.Errorf("read %+v, %v; want the new grant alone", snapshot.Ours, err)
	}
	if after := foreign(t, s, project); after != before {
		t.Errorf("what is not ours is\n%s\nwas\n%s", after, before)
	}
	wantTold(t, p.Apply(t.Context(), project, ensured(leaver))[0], "principal", "does not exist")
	apply(t, p, project, removed(leaver)...)
}
