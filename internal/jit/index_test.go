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
