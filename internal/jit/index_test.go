package jit

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

// many returns grants, and their bindings on one scope. Every tenth grant has two, and every hundredth none.
func many(n int) (grants []Grant, s Snapshot) {
	start := time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)
	for i := range n {
		b := Binding{"db", fmt.Sprint("user-", i), "read", "cluster"}
		g := Grant{ID: NewID("jit", b, "INC-1", 1), Owner: "jit", Binding: b,
			Window: Window{start, start.Add(time.Hour)}, Enforcement: Sweeper, GrantedAt: start}
		grants = append(grants, g)
		o := Observed{Marker: g.Marker(), Principal: b.Principal, Role: b.Role}
		if i%100 > 0 {
			s.Ours = append(s.Ours, o)
		}
		if i%10 == 0 {
			o.Marker.Owner = "another"
			s.Ours = append(s.Ours, o)
		}
	}
	return grants, s
}

func TestAnIndexFindsTheSame(t *testing.T) {
	grants, plain := many(1000)
	indexed := plain.Indexed()
	other := indexed
	other.Ours = append([]Observed{}, plain.Ours[:500]...) // the index is of another slice
	for _, g := range append(grants, Grant{ID: grants[0].ID, Owner: "another"}) {
		if got, want := indexed.Of(g), plain.Of(g); !reflect.DeepEqual(got, want) {
			t.Fatalf("of %s: %v, want %v", g.ID, got, want)
		}
		if got, want := other.Of(g), (Snapshot{Ours: other.Ours}).Of(g); !reflect.DeepEqual(got, want) {
			t.Fatalf("with another slice, of %s: %v, want %v", g.ID, got, want)
		}
	}
	if got := (Snapshot{}).Indexed().Of(grants[0]); got != nil {
		t.Errorf("an empty snapshot has %v", got)
	}
}

func TestAnIndexFindsWhatAPrincipalHas(t *testing.T) {
	_, plain := many(200)
	for i := range 50 {
		plain.Standing = append(plain.Standing,
			Standing{Principal: fmt.Sprint("user-", i%7), Role: "read", Detail: fmt.Sprint("line ", i), Anybody: i%10 == 0})
	}
	indexed := plain.Indexed()
	for _, principal := range []string{"user-0", "user-3", "user-199", "nobody", ""} {
		got, want := indexed.To(principal), plain.To(principal)
		if !reflect.DeepEqual(got.Ours, want.Ours) || !reflect.DeepEqual(got.Standing, want.Standing) {
			t.Errorf("%s has %v, want %v", principal, got, want)
		}
		if len(want.Standing) < 5 {
			t.Errorf("%s has %d standing accesses, want at least those of everybody", principal, len(want.Standing))
		}
	}
	other := plain.Indexed()
	if !indexed.Shares(indexed) || indexed.Shares(other) || plain.Shares(plain) || other.Shares(plain) {
		t.Error("two snapshots share a reading exactly if they have one index")
	}
	cut := indexed
	cut.Standing = cut.Standing[1:]
	if got := cut.To("user-0").Standing; len(got) != len(indexed.To("user-0").Standing)-1 || cut.Shares(indexed) {
		t.Errorf("without the first access, user-0 has %v", got)
	}
}

// The sessions of a role have its standing access, with an index as without, and sessions of other roles do not.
func TestStandingAccessOfSessions(t *testing.T) {
	const role, sessions = "arn:aws:iam::123456789012:role/teams/developer",
		"arn:aws:sts::123456789012:assumed-role/developer/"
	s := Snapshot{Standing: []Standing{{Principal: "other", Role: "r"}, {Principal: role, Role: "r", Members: sessions}}}
	for principal, want := range map[string]bool{role: true, sessions + "alice": true,
		"arn:aws:sts::123456789012:assumed-role/developers/alice": false, "alice": false} {
		for name, s := range map[string]Snapshot{"plain": s, "indexed": s.Indexed()} {
			_, has := s.To(principal).StandingOf(Binding{Principal: principal, Role: "r if mfa"})
			if has != want {
				t.Errorf("%s: %q has the access: %t, want %t", name, principal, has, want)
			}
		}
	}
}

// A binding of a role that no record explains is standing access of its sessions too, with an index as without.
func TestUnexplainedAccessOfSessions(t *testing.T) {
	const role, sessions = "arn:aws:iam::123456789012:role/teams/developer",
		"arn:aws:sts::123456789012:assumed-role/developer/"
	s := Snapshot{Ours: []Observed{{Principal: "other", Role: "r"},
		{Principal: role, Role: "r", Members: sessions, Marker: Marker{ID: "forged"}}}}
	for principal, want := range map[string]bool{role: true, sessions + "alice": true,
		"arn:aws:sts::123456789012:assumed-role/developers/alice": false} {
		for name, s := range map[string]Snapshot{"plain": s, "indexed": s.Indexed()} {
			b := Binding{Principal: principal, Role: "r if mfa"}
			if _, has := Shadow(Records{}.Standing(s.To(principal), ""), b, time.Time{}); has != want {
				t.Errorf("%s: %q has the access: %t, want %t", name, principal, has, want)
			}
		}
	}
}
