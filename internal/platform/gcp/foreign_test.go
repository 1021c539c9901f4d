package gcp

import (
	"fmt"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// endOf returns the certain end of somebody else's condition, and what else narrows the access.
func TestForeignConditions(t *testing.T) {
	const soon, never = "2026-11-23T18:00:00Z", "2099-01-01T00:00:00Z"
	for expression, want := range map[string]string{
		`true`: " ",
		`request.time < timestamp("` + soon + `")`:  " " + soon,
		`request.time <= timestamp("` + soon + `")`: " " + soon,
		`timestamp("` + soon + `") > request.time`:  " " + soon,
		`request.time < timestamp("` + never + `")`: " " + never,
		`request.time > timestamp("` + soon + `")`:  " ",
		`(request.time >= timestamp("2020-01-01T00:00:00Z") && request.time < timestamp("` + soon + `")) && request.time < timestamp("` + never + `")`: " " + soon,
		`resource.name.startsWith("a")`:                                             `resource.name.startsWith("a") `,
		`resource.name.startsWith("a") && request.time < timestamp("` + soon + `")`: `resource.name.startsWith("a") ` + soon,
		`request.time < timestamp("` + soon + `") || true`:                          `request.time < timestamp("` + soon + `") || true `,
		`!(request.time > timestamp("` + soon + `"))`:                               `!(request.time > timestamp("` + soon + `")) `,
		`request.time.getFullYear() < 2027`:                                         `request.time.getFullYear() < 2027 `,
		`request.time < timestamp(resource.name)`:                                   `request.time < timestamp(resource.name) `,
		`resource.time < timestamp("` + soon + `")`:                                 `resource.time < timestamp("` + soon + `") `,
		`request.time < timestamp("` + soon + ``:                                    `request.time < timestamp("` + soon + ` `,
	} {
		narrows, end := endOf(expression)
		if got := narrows + " " + jit.FormatTime(end); got != want {
			t.Errorf("%s: %q, want %q", expression, got, want)
		}
	}
}

// A condition hides no standing access, with our title or without, unless it ends the access soon. Nor does a member
// added to the binding of a grant.
func TestAConditionHidesNothing(t *testing.T) {
	now := time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)
	const id jit.ID = "3f2b8c1e-0000-8000-8000-000000000000"
	m := jit.Marker{Owner: "ghost", ID: id, Window: jit.Window{Start: now, End: now.Add(time.Hour)}}
	until := func(s string) string { return fmt.Sprintf("request.time < timestamp(%q)", s) }
	for name, tt := range map[string]struct {
		condition *condition
		members   []string
		want      int
	}{
		"no condition":              {nil, []string{"user:eve@example.com"}, 1},
		"true":                      {&condition{Title: "t", Expression: "true"}, []string{"user:eve@example.com", "user:bob@example.com"}, 2},
		"a date in 2099":            {&condition{Title: "t", Expression: until("2099-01-01T00:00:00Z")}, []string{"user:eve@example.com"}, 1},
		"a date in an hour":         {&condition{Title: "t", Expression: until("2026-11-23T18:00:00Z")}, []string{"user:eve@example.com"}, 0},
		"our title, true":           {&condition{Title: titleOf(m), Expression: "true"}, []string{"user:eve@example.com"}, 1},
		"our marker, true":          {&condition{Title: titleOf(m), Description: m.String(), Expression: "true"}, []string{"user:eve@example.com", "user:bob@example.com"}, 2},
		"our marker, 2099":          {&condition{Title: titleOf(m), Description: m.String(), Expression: until("2099-01-01T00:00:00Z")}, []string{"user:eve@example.com"}, 1},
		"our marker, in an hour":    {&condition{Title: titleOf(m), Description: m.String(), Expression: until("2026-11-23T18:00:00Z")}, []string{"user:eve@example.com"}, 0},
		"out of the parentheses":    {&condition{Title: titleOf(m), Description: m.String(), Expression: until("2026-11-23T18:00:00Z") + ` && (a) || (true)`}, []string{"user:eve@example.com"}, 1},
		"our marker, nobody has it": {&condition{Title: titleOf(m), Description: m.String(), Expression: "true"}, nil, 0},
	} {
		b := binding{Role: "roles/viewer", Members: tt.members, Condition: tt.condition}
		b.readMarks()
		p := policy{bindings: []binding{b}}
		all := jit.Records{Now: now, MaxTTL: 24 * time.Hour}.Standing(p.snapshot(now), "projects/p")
		if len(all) != tt.want {
			t.Errorf("%s: standing access is %+v, want %d", name, all, tt.want)
		}
		for _, s := range all {
			if _, shadows := jit.Shadow(all, jit.Binding{Principal: s.Principal, Role: "roles/viewer if a"}, now.Add(time.Hour)); !shadows &&
				name != "out of the parentheses" {
				t.Errorf("%s: %+v does not stand for the role with a condition", name, s)
			}
		}
	}
	// A member added beside the principal of a recorded grant is reported.
	g := jit.Grant{
		ID:    id,
		Owner: "ghost",
		Binding: jit.Binding{
			Target:    "t",
			Principal: "user:alice@example.com",
			Role:      "roles/viewer",
			Scope:     "projects/p",
		},
		Window:      m.Window,
		Enforcement: jit.Native,
		GrantedAt:   now,
	}
	b := newBinding(g.Access(), role{name: "roles/viewer"}, now)
	b.Members = append(b.Members, "user:mallory@example.com")
	b.readMarks()
	p := policy{bindings: []binding{b}}
	if d := g.Differs(p.snapshot(now)); d.Kind != jit.DriftPrincipal {
		t.Errorf("drift is %s: %s", d.Kind, d.Words)
	}
}
