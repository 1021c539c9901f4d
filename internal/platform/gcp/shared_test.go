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

// guests are n grants of one role to n people that end at the same time.
func guests(s *gcptest.Server, n int) []jit.Access {
	all := make([]jit.Access, n)
	for i := range all {
		principal := fmt.Sprintf("user:guest%d@example.com", i)
		s.AddAccounts(principal)
		all[i] = access(project, principal, sqlRole, "a visit")
		all[i].Marker.Window = all[0].Marker.Window
	}
	return all
}

// bindingsOf counts our bindings, and checks the lengths of their titles and descriptions.
func bindingsOf(t *testing.T, s *gcptest.Server) int {
	t.Helper()
	n := 0
	for _, b := range s.Policy(project).Bindings {
		if !ours(b) {
			continue
		}
		n++
		if len(b.Condition.Title) > 100 || len(b.Condition.Description) > 256 {
			t.Errorf(
				"title of %d and description of %d bytes, want at most 100 and 256",
				len(b.Condition.Title),
				len(b.Condition.Description),
			)
		}
	}
	return n
}

// held reads the policy and fails unless it holds exactly these grants, each as asked for.
func held(t *testing.T, s *gcptest.Server, want ...jit.Access) {
	t.Helper()
	snapshot, err := open(t, s, Config{}).Read(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	if len(snapshot.Ours) != len(want) {
		t.Errorf("%d grants are read, want %d", len(snapshot.Ours), len(want))
	}
	for _, a := range want {
		g := jit.Grant{
			ID:          a.Marker.ID,
			Owner:       a.Marker.Owner,
			Binding:     a.Binding,
			Window:      a.Marker.Window,
			Enforcement: jit.Native,
		}
		if drift := g.Drift(snapshot); drift != "" {
			t.Errorf("%s: %s", a.Binding.Principal, drift)
		}
	}
}

// In a policy with many bindings, grants that end in the same minute share one, and each stays a grant of its own.
func TestGrantsShareABinding(t *testing.T) {
	s := newWorld(t)
	fill(s, project)
	before := foreign(t, s, project)
	p := open(t, s, Config{})
	all := guests(s, 40)
	apply(t, p, project, ensured(all...)...)
	if n := bindingsOf(t, s); n > 6 {
		t.Errorf("40 grants have %d bindings, want at most 6", n)
	}
	held(t, s, all...)
	minute := all[0].Marker.Window.End.Truncate(time.Minute)
	for _, a := range all {
		if !allowed(s, a.Binding, minute.Add(-time.Second)) || allowed(s, a.Binding, minute) ||
			minute.After(a.Marker.Window.End) {
			t.Fatalf(
				"%s does not have access until %s, not later than %s", a.Binding.Principal, minute, a.Marker.Window.End,
			)
		}
	}

	// One grant ends earlier and one later. The others do not change.
	apply(t, p, project, removed(jit.Access{Marker: jit.Marker{Owner: "test", ID: all[3].Marker.ID}})...)
	all[4].Marker.Window.End = all[4].Marker.Window.End.Add(time.Hour)
	apply(t, p, project, ensured(all[4])...)
	if allowed(s, all[3].Binding, time.Now()) || !allowed(s, all[4].Binding, minute) ||
		allowed(s, all[4].Binding, all[4].Marker.Window.End) {
		t.Error("what was removed is there, or what was prolonged is not")
	}
	rest := slices.Delete(slices.Clone(all), 3, 4)
	held(t, s, rest...)
	_, writes := s.Calls()
	apply(t, p, project, ensured(rest...)...)
	if _, now := s.Calls(); now != writes {
		t.Errorf("what was right was written %d times", now-writes)
	}
	apply(t, p, project, removed(rest...)...)
	held(t, s)
	if after := foreign(t, s, project); after != before {
		t.Errorf("what is not ours is\n%s\nwas\n%s", after, before)
	}
}

// A grant gets its own binding if owner, role, condition, minute or beginning differ, if it ends soon, or if the
// principal is the same.
func TestWhatDoesNotShare(t *testing.T) {
	s := newWorld(t)
	fill(s, project)
	p := open(t, s, Config{})
	base := guests(s, 1)[0]
	edits := map[string]func(a *jit.Access){
		"owner":       func(a *jit.Access) { a.Marker.Owner = "another" },
		"role":        func(a *jit.Access) { a.Binding.Role = viewer },
		"condition":   func(a *jit.Access) { a.Binding.Role = narrowed },
		"minute":      func(a *jit.Access) { a.Marker.Window.End = a.Marker.Window.End.Add(time.Minute) },
		"beginning":   func(a *jit.Access) { a.Marker.Window.Start = jit.Second(time.Now()).Add(10 * time.Minute) },
		"soon":        func(a *jit.Access) { a.Marker.Window.End = jit.Second(time.Now()).Add(10 * time.Minute) },
		"principal":   func(a *jit.Access) { a.Binding.Principal = base.Binding.Principal },
		"long window": func(a *jit.Access) { a.Marker.Window.Start = a.Marker.Window.End.Add(-maxLength) },
	}
	all := []jit.Access{base}
	for why, edit := range edits {
		a := access(project, bob, sqlRole, why)
		a.Marker.Window = base.Marker.Window
		edit(&a)
		all = append(all, a)
	}
	apply(t, p, project, ensured(all...)...)
	if n := bindingsOf(t, s); n != len(all) {
		t.Errorf("%d grants have %d bindings, want one for each", len(all), n)
	}
	held(t, s, all...)
	for _, a := range all {
		if !allowed(s, a.Binding, a.Marker.Window.Start.Add(time.Second)) {
			t.Errorf("%s: %s gives no access in its window", a.Binding.Principal, a.Binding.Role)
		}
	}
}

// An edit of a shared binding shows on each grant that it concerns, and is repaired for each.
func TestSharedBindingsAreRepaired(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(p *gcptest.Policy, b *gcptest.Binding)
		seen int // how many of the three grants are not as they should be
	}{
		{"a member more", func(_ *gcptest.Policy, b *gcptest.Binding) { b.Members = append(b.Members, bob) }, 3},
		{"a member less", func(_ *gcptest.Policy, b *gcptest.Binding) { b.Members = b.Members[1:] }, 1},
		{"another member", func(_ *gcptest.Policy, b *gcptest.Binding) { b.Members[1] = bob }, 1},
		{"a later end", func(_ *gcptest.Policy, b *gcptest.Binding) {
			b.Condition.Expression = expressionUntil(time.Now().Add(forever))
		}, 3},
		{"no end", func(_ *gcptest.Policy, b *gcptest.Binding) { b.Condition.Expression = "true" }, 3},
		{"another title", func(_ *gcptest.Policy, b *gcptest.Binding) { b.Condition.Title = "temporary" }, 3},
		{"another role", func(_ *gcptest.Policy, b *gcptest.Binding) { b.Role = admin }, 3},
		{"a copy", func(p *gcptest.Policy, b *gcptest.Binding) {
			c := *b.Condition
			c.Expression = "true"
			p.Bindings = append(p.Bindings, gcptest.Binding{Role: b.Role, Members: slices.Clone(b.Members), Condition: &c})
		}, 3},
	} {
		for _, op := range []jit.Op{jit.Ensure, jit.Remove} {
			t.Run(tt.name+", "+op.String(), func(t *testing.T) {
				s := newWorld(t)
				fill(s, project)
				p := open(t, s, Config{})
				all := guests(s, 3)
				apply(t, p, project, ensured(all...)...)
				if n := bindingsOf(t, s); n != 1 {
					t.Fatalf("three grants have %d bindings", n)
				}
				edit(t, s, project, all[0].Marker, tt.edit)
				snapshot, err := p.Read(t.Context(), project)
				if err != nil {
					t.Fatal(err)
				}
				seen := 0
				for _, a := range all {
					g := jit.Grant{
						ID:          a.Marker.ID,
						Owner:       a.Marker.Owner,
						Binding:     a.Binding,
						Window:      a.Marker.Window,
						Enforcement: jit.Native,
					}
					if g.Drift(snapshot) != "" {
						seen++
					}
				}
				if seen != tt.seen {
					t.Errorf("%d grants are seen to be not as they should, want %d", seen, tt.seen)
				}
				for _, a := range all { // one by one: on the way all others have to stay
					apply(t, p, project, jit.Change{Op: op, Access: a})
				}
				if op == jit.Remove {
					all = nil
				}
				held(t, s, all...)
				for _, who := range append(guests(s, 3), access(project, bob, sqlRole, ""), access(project, bob, admin, "")) {
					want := op == jit.Ensure && who.Binding.Principal != bob
					if got := allowed(s, who.Binding, time.Now()); got != want {
						t.Errorf("%s is allowed: %t, want %t", who.Binding.Principal, got, want)
					}
					if allowed(s, who.Binding, time.Now().Add(forever)) {
						t.Errorf("%s has access for ever", who.Binding.Principal)
					}
				}
			})
		}
	}
}

// Another write removes a shared binding when the last of its grants is over, and all are reported.
func TestSharedBindingsAreTidied(t *testing.T) {
	s := newWorld(t)
	fill(s, project)
	var offset time.Duration
	p := openAt(t, s, Config{}, func() time.Time { return time.Now().Add(offset) })
	var tidied []jit.Marker
	p.tidied = func(_ context.Context, gone []jit.Marker) { tidied = append(tidied, gone...) }
	all := guests(s, 5)
	apply(t, p, project, ensured(all...)...)
	offset = 2 * time.Hour
	s.SetClock(offset)
	later := access(project, alice, sqlRole, "later")
	later.Marker.Window = jit.Window{
		Start: jit.Second(time.Now().Add(offset)),
		End:   jit.Second(time.Now().Add(offset + time.Hour)),
	}
	apply(t, p, project, ensured(later)...)
	if snapshot, err := p.Read(t.Context(), project); err != nil || len(snapshot.Ours) != 1 ||
		snapshot.Ours[0].Marker != later.Marker {
		t.Errorf("read %+v, %v; want the last grant alone", snapshot.Ours, err)
	}
	if len(tidied) != 5 {
		t.Errorf("told of %d markers, want those of 5 grants", len(tidied))
	}
	for _, a := range all {
		if !slices.ContainsFunc(tidied,
			func(m jit.Marker) bool { return m.ID == a.Marker.ID && m.Window.Equal(a.Marker.Window) },
		) {
			t.Errorf("not told of %s", a.Marker)
		}
	}
}

// Stripped shared bindings are found and narrowed too.
func TestSharedBindingsStripped(t *testing.T) {
	d := newDesk(t)
	fill(d.server, project)
	a, b := d.grant(alice, sqlRole, "8h"), d.grant(bob, sqlRole, "8h")
	d.strip()
	d.may(a, forever, true, "stripped")
	for id, r := range d.sweep() {
		if !strings.HasPrefix(r.Reason, jit.Stripped) {
			t.Errorf("%s: %s %s", id, r.Kind, r.Reason)
		}
	}
	for _, g := range []jit.Grant{a, b} {
		d.may(g, time.Hour, true, "repaired")
		d.may(g, g.End.Sub(d.now()), false, "repaired")
	}
}

// Any description is either unreadable or written back unchanged.
func FuzzParseDescription(f *testing.F) {
	m := marked("payments")
	f.Add(
		describe("payments", m.Window.End.Truncate(time.Minute),
			[]mark{{Marker: m, of: digest(alice)}, {Marker: m, of: digest(bob)}},
		),
	)
	f.Add(m.String())
	f.Fuzz(func(t *testing.T, s string) {
		owner, minute, marks, ok := parseDescription(s)
		if ok && describe(owner, minute, marks) != s {
			t.Errorf("%q is read as %v, which is %q", s, marks, describe(owner, minute, marks))
		}
		for _, m := range marks {
			if _, ok := jit.ParseMarker(m.Marker.String()); !ok {
				t.Errorf("%q has the marker %s, which is none", s, m.Marker)
			}
		}
	})
}

// The guide says how many grants share a binding.
func TestHowManyGrantsShare(t *testing.T) {
	for owner, want := range map[string]int{"jit": 8, "payments": 7, strings.Repeat("o", 63): 6} {
		fixed := len(titlePrefix) + len(owner) + len(":") + minuteSize
		if got := (maxDescription - fixed) / entrySize; got != want {
			t.Errorf("owner %.10s: %d, want %d", owner, got, want)
		}
	}
}
