package jit

import (
	"os"
	"regexp"
	"slices"
	"testing"
	"time"
)

func TestDriftKindsAreAll(t *testing.T) {
	source, err := os.ReadFile("drift.go")
	if err != nil {
		t.Fatal(err)
	}
	var want []DriftKind
	for _, m := range regexp.MustCompile(`\bDriftKind += "(\w+)"`).FindAllSubmatch(source, -1) {
		want = append(want, DriftKind(m[1]))
	}
	got := DriftKinds()
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("DriftKinds() = %q, the constants are %q", got, want)
	}
}

// A binding that was taken off by hand is missing, whatever is left of it; one that somebody was added to is somebody
// else's too.
func TestDiffers(t *testing.T) {
	now := time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)
	g := Grant{ID: "aaaaaaaa-0000-8000-8000-000000000000", Owner: "jit", Binding: Binding{"db", "alice", "read",
		"cluster"},
		Window: Window{now.Add(-time.Hour), now.Add(time.Hour)}, Enforcement: Sweeper, GrantedAt: now}
	right := Observed{Marker: g.Marker(), Principal: "alice", Role: "read"}
	with := func(change func(*Observed)) Observed { o := right; change(&o); return o }
	nobody := func(o *Observed) { o.Principal, o.Damage = "", "no principal is a member of it" }
	for name, tt := range map[string]struct {
		found []Observed
		kind  DriftKind
		words string
	}{
		"right":                        {[]Observed{right}, "", ""},
		"nothing":                      {nil, DriftMissing, Missing},
		"postgresql: an empty wrapper": {[]Observed{with(nobody)}, DriftMissing, Missing},
		"kubernetes: no subject":       {[]Observed{with(nobody)}, DriftMissing, Missing},
		"aws_iam: attached to nobody": {[]Observed{with(func(o *Observed) { nobody(o); o.Role = "" })},
			DriftMissing, Missing},
		"what is left beside the right": {[]Observed{right, with(nobody)}, "", ""},
		"two lines": {[]Observed{with(func(o *Observed) { o.Detail = "line 1" }),
			with(func(o *Observed) { o.Detail = "line 2" })}, DriftCopied, "2 copies"},
		"two bindings without a place": {[]Observed{right, right}, DriftCopied, "2 copies"},
		"somebody was added to it": {[]Observed{with(func(o *Observed) { o.Detail = "b" }),
			with(func(o *Observed) { o.Detail, o.Principal = "b", "mallory" })}, DriftPrincipal,
			`principal is "mallory"`},
		"somebody else's, and a copy": {[]Observed{right, with(func(o *Observed) { o.Principal = "mallory" })},
			DriftPrincipal, `2 copies; principal is "mallory"`},
		"aws_iam: cannot be told": {[]Observed{with(func(o *Observed) { o.Role = "" })}, DriftRole,
			`role is ""`},
		"said once of what is there twice": {[]Observed{with(func(o *Observed) { o.Detail, o.Damage = "b", "x" }),
			with(func(o *Observed) { o.Detail, o.Damage = "b", "x" })}, DriftDamaged, "x"},
	} {
		if d := g.Differs(Snapshot{Ours: tt.found}); d.Kind != tt.kind || d.Words != tt.words {
			t.Errorf("%s: %s (%s), want %s (%s)", name, d.Kind, d.Words, tt.kind, tt.words)
		}
	}
	if s := DriftMissing.Severity(); s != Info {
		t.Errorf("missing is %s", s)
	}
}
