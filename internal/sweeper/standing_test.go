package sweeper_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

func TestStandingWorstFirst(t *testing.T) {
	a, b := jit.Place{Target: "a", Scope: "1"}, jit.Place{Target: "b", Scope: "1"}
	live := []jit.Grant{
		{ID: "x", Binding: jit.Binding{Target: "b", Scope: "1", Principal: "user:bob", Role: "viewer if x"}}}
	standing, notes := sweeper.FindStanding(map[jit.Place]jit.Snapshot{
		b: {
			Standing: []jit.Standing{{Principal: "user:bob", Role: "viewer", Covers: "viewer if "},
				{Principal: "user:zoe", Role: "roles/owner"}},
			Notes: []jit.Note{{Text: "nearly full"}},
		},
		a: {
			Standing: []jit.Standing{{Principal: "user:eve", Role: "viewer"},
				{Principal: "user:bob", Role: "viewer", Covers: "viewer if "}},
		},
	}, live, jit.Records{Now: time.Now(), MaxTTL: 24 * time.Hour})
	var order []string
	for _, s := range standing {
		order = append(order, strings.Join([]string{string(s.Severity), s.Target, s.Principal, string(s.Shadows)}, " "))
	}
	const want = "critical b user:bob x, warning b user:zoe , info a user:bob , info a user:eve "
	if got := strings.Join(order, ", "); got != want {
		t.Errorf("the order is %s", got)
	}
	if len(notes) != 1 || notes[0].Text != "nearly full" || notes[0].Place != b {
		t.Errorf("the notes are %+v", notes)
	}
}

// Access from a wider scope is listed only there, unless it shadows a grant or the wider scope was not read.
func TestStandingIsListedWhereItIsGiven(t *testing.T) {
	cluster, prod, dev := jit.Place{Target: "k", Scope: "cluster"}, jit.Place{Target: "k",
		Scope: "namespaces/prod"}, jit.Place{Target: "k", Scope: "namespaces/dev"}
	ops := jit.Standing{Principal: "user:ops", Role: "ClusterRole/view"}
	inherited := ops
	inherited.From = "cluster"
	records := jit.Records{Now: time.Now(), MaxTTL: time.Hour}
	list := func(observed map[jit.Place]jit.Snapshot, live ...jit.Grant) string {
		var all []string
		found, _ := sweeper.FindStanding(observed, live, records)
		for _, s := range found {
			all = append(all, s.Scope+" "+string(s.Severity))
		}
		return strings.Join(all, ", ")
	}
	seen := map[jit.Place]jit.Snapshot{cluster: {Standing: []jit.Standing{ops}},
		prod: {Standing: []jit.Standing{inherited}}, dev: {Standing: []jit.Standing{inherited}}}
	if got := list(seen); got != "cluster info" {
		t.Errorf("listed: %s", got)
	}
	g := jit.Grant{ID: "x",
		Binding: jit.Binding{Target: "k", Scope: "namespaces/prod", Principal: "user:ops", Role: "ClusterRole/view"}}
	if got := list(seen, g); got != "namespaces/prod critical, cluster info" {
		t.Errorf("listed beside a grant: %s", got)
	}
	delete(seen, cluster)
	if got := list(seen); got != "namespaces/dev info, namespaces/prod info" {
		t.Errorf("listed without the cluster: %s", got)
	}
}
