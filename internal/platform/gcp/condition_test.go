package gcp

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

// A condition reads back as it was written. No other condition counts as a window of ours.
func TestExpressions(t *testing.T) {
	end := time.Date(2026, 11, 24, 0, 12, 25, 0, time.UTC)
	start := end.Add(-2 * time.Hour)
	for _, tt := range []struct {
		limits limits
		text   string
	}{
		{limits{end: end}, `request.time < timestamp("2026-11-24T00:12:25Z")`},
		{limits{start: start, end: end}, `request.time >= timestamp("2026-11-23T22:12:25Z") && request.time < timestamp("2026-11-24T00:12:25Z")`},
		{limits{end: end, when: `resource.name == "x" || true`}, `request.time < timestamp("2026-11-24T00:12:25Z") && (resource.name == "x" || true)`},
	} {
		if got := tt.limits.expression(); got != tt.text {
			t.Errorf("expression %s, want %s", got, tt.text)
		}
		if got, ok := parseExpression(tt.text); !ok || got != tt.limits {
			t.Errorf("%s is read as %+v, %t", tt.text, got, ok)
		}
	}
	const until = `request.time < timestamp("2026-11-24T00:12:25Z")`
	for _, other := range []string{
		"", "true", until + " || true", until + ` && (true) || (true)`, until + ` && (true) || (true || false)`, "true || " + until,
		until + " && true", until + " && ()", until + ` && (true // )`, " " + until, strings.Replace(until, "<", "<=", 1),
		`request.time < timestamp("2026-11-24T01:12:25+01:00")`, `request.time < timestamp("never")`, `!(` + until + `)`,
	} {
		if got, ok := parseExpression(other); ok {
			t.Errorf("%s is taken for %+v", other, got)
		}
	}
}

// A user's condition cannot remove the end, and does not outlast it.
func TestTheUsersConditionIsBoundToTheWindow(t *testing.T) {
	s := newWorld(t)
	p := open(t, s, Config{})
	always, never := access(bucket, alice,
		viewer+" if true || true",
		"always",
	), access(bucket, bob, viewer+" if false && true", "never")
	apply(t, p, bucket, ensured(always, never)...)
	ask := func(member string, at time.Time) bool {
		return s.Allowed(
			gcptest.Ask{Member: member, Permission: "storage.objects.get", Scope: bucket, Name: object, At: at},
		)
	}
	end := always.Marker.Window.End
	if !ask(alice, end.Add(-time.Second)) || ask(alice, end) {
		t.Error("a condition that always holds has to end with the window, and not before")
	}
	if ask(bob, time.Now()) {
		t.Error("a condition that never holds gives access")
	}
}

// The operators of the whole condition, with the beginning, stay within the limit of the service.
func TestAsManyOperatorsAsAreAllowedAreAccepted(t *testing.T) {
	s := newWorld(t)
	p := open(t, s, Config{})
	when := "true" + strings.Repeat(" && true", maxOperators-ownOperators)
	a := access(bucket, alice, viewer+" if "+when, "long")
	a.Marker.Window.Start = time.Now().Add(10 * time.Minute).Truncate(time.Second).UTC()
	if _, _, err := p.Check(a.Binding); err != nil {
		t.Fatal(err)
	}
	apply(t, p, bucket, ensured(a)...)
	a.Binding.Role += " && true"
	if _, _, err := p.Check(a.Binding); err == nil || !strings.Contains(err.Error(), "11 logical operators") {
		t.Errorf("one more: %v", err)
	}
}

func marked(owner string) jit.Marker {
	start := time.Date(2026, 11, 23, 22, 12, 25, 0, time.UTC)
	return jit.Marker{
		Owner:  owner,
		ID:     jit.NewID(owner, jit.Binding{}, "why", 1),
		Window: jit.Window{Start: start, End: start.Add(time.Hour)},
	}
}

// The marker of the longest owner fits within the accepted lengths.
func TestMarkersFit(t *testing.T) {
	m := marked(strings.Repeat("o", 32))
	c := newCondition(m, role{name: sqlRole}, m.Window.Start)
	if len(c.Title) > 100 || len(c.Description) > 256 {
		t.Errorf("title of %d and description of %d bytes, want at most 100 and 256", len(c.Title), len(c.Description))
	}
}

// Title and description each identify the grant, so an edit of one does not hide the binding.
func TestMarkersSurviveEdits(t *testing.T) {
	m := marked("payments")
	whole := newCondition(m, role{name: sqlRole}, m.Window.Start)
	for _, tt := range []struct {
		name string
		edit func(c *condition)
		ours bool
		end  time.Time
	}{
		{"nothing", func(*condition) {}, true, m.Window.End},
		{"title", func(c *condition) { c.Title = "temporary" }, true, m.Window.End},
		{"description", func(c *condition) { c.Description = "" }, true, m.Window.End},
		{"expression", func(c *condition) { c.Expression = "true" }, true, m.Window.End},
		{"description and expression", func(c *condition) { c.Description, c.Expression = "", "true" }, true, time.Unix(0, 0)},
		{"title and description", func(c *condition) { c.Title, c.Description = "temporary", "" }, false, time.Time{}},
		{"another's title", func(c *condition) { c.Title, c.Description = "jit:payments:INC-1", "" }, false, time.Time{}},
	} {
		c := *whole
		tt.edit(&c)
		got, ok := markerOf(&c)
		if ok != tt.ours || ok && (got.Owner != m.Owner || got.ID != m.ID || !got.Window.End.Equal(tt.end)) {
			t.Errorf("%s edited: %v, %t; want ours %t until %s", tt.name, got, ok, tt.ours, tt.end)
		}
		if damage := damageOf(binding{Condition: &c, marks: []mark{{Marker: m}}}, m.Window.Start); tt.ours &&
			(len(damage) == 0) != (tt.name == "nothing") {
			t.Errorf("%s edited: the damage is %q", tt.name, damage)
		}
	}
	if _, ok := markerOf(nil); ok {
		t.Error("a binding without a condition is taken for ours")
	}
}

// Any condition is either unreadable or written back unchanged.
func FuzzParseExpression(f *testing.F) {
	f.Add(
		`request.time >= timestamp("2026-11-23T22:12:25Z") && request.time < timestamp("2026-11-24T00:12:25Z") && (true)`,
	)
	f.Add(`request.time < timestamp("2026-11-24T00:12:25Z") && (a) || (b)`)
	f.Fuzz(func(t *testing.T, s string) {
		l, ok := parseExpression(s)
		if ok && l.expression() != s {
			t.Errorf("%q is read as %+v, which is %q", s, l, l.expression())
		}
	})
}

// An accepted role is canonical, and its condition is one expression, also in parentheses.
func FuzzParseRole(f *testing.F) {
	f.Add(narrowed)
	f.Add(sqlRole + " if true) || (true")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseRole(s)
		if err != nil {
			return
		}
		again, err := parseRole(r.String())
		if err != nil || again != r {
			t.Errorf("%q is %+v, and that is %+v, %v", s, r, again, err)
		}
		l := limits{end: time.Unix(1, 0).UTC(), when: r.when}
		if got, ok := parseExpression(l.expression()); !ok || got != l {
			t.Errorf("%q: its expression is read as %+v, %t", s, got, ok)
		}
	})
}
