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
	live := []jit.Grant{{ID: "x", Binding: jit.Binding{Target: "b", Scope: "1", Principal: "user:bob", Role: "viewer if x"}}}
	standing, notes := sweeper.FindStanding(map[jit.Place]jit.Snapshot{
		b: {Standing: []jit.Standing{{Principal: "user:bob", Role: "viewer", Covers: "viewer if "}, {Principal: "user:zoe", Role: "roles/owner"}}, Notes: []jit.Note{{Text: "nearly full"}}},
		a: {Standing: []jit.Standing{{Principal: "user:eve", Role: "viewer"}, {Principal: "user:bob", Role: "viewer", Covers: "viewer if "}}},
	}, live, jit.Records{Now: time.Now(), MaxTTL: 24 * time.Hour})
	var order []string
	for _, s := range standing {
		order = append(order, strings.Join([]string{string(s.Severity), s.Target, s.Principal, string(s.Shadows)}, " "))
	}
	if got := strings.Join(order, ", "); got != "critical b user:bob x, warning b user:zoe , info a user:bob , info a user:eve " {
		t.Errorf("the order is %s", got)
	}
	if len(notes) != 1 || notes[0].Text != "nearly full" || notes[0].Place != b {
		t.Errorf("the notes are %+v", notes)
	}
}
