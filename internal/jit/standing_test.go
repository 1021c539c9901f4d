package jit

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// A marked binding is explained by its record or by an end that its platform enforces within max_ttl, and by nothing
// else. The shapes are those of the platforms.
func TestMarkersExplainNothing(t *testing.T) {
	now := time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)
	const id, other ID = "aaaaaaaa-0000-8000-8000-000000000000", "bbbbbbbb-0000-8000-8000-000000000000"
	window := Window{now.Add(-time.Hour), now.Add(time.Hour)}
	never := time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	native := Grant{ID: id, Owner: "jit", Binding: Binding{"prod", "user:alice", "viewer", "s"}, Window: window,
		Enforcement: Native, GrantedAt: window.Start}
	swept := native
	swept.Enforcement = Sweeper
	swept.Target = "cluster"
	with := func(g Grant, change func(*Grant)) []Grant { change(&g); return []Grant{g} }
	right := Observed{Marker: native.Marker(), Principal: "user:alice", Role: "viewer", End: window.End}
	seen := func(change func(*Observed)) Observed { o := right; change(&o); return o }
	endless := func(o *Observed) { o.End = time.Time{} }
	for name, tt := range map[string]struct {
		records []Grant
		found   Observed
		want    string // part of the reason; empty: explained
	}{
		"native, as recorded": {[]Grant{native}, right, ""},
		"swept, as recorded":  {[]Grant{swept}, seen(endless), ""},
		"under another name of the target": {with(swept,
			func(g *Grant) { g.Target = "same server" }), seen(endless), ""},
		"unknown, and ends soon by itself": {nil, right, ""},
		"unknown, has ended by itself": {nil,
			seen(func(o *Observed) { o.End = window.Start }), ""},
		"gives nobody anything (a wrapper without a member)": {nil,
			seen(func(o *Observed) { endless(o); o.Principal = "" }), ""},
		"over a moment ago, not ended yet": {with(swept,
			func(g *Grant) { g.End = now.Add(-time.Second) }), seen(endless), ""},
		"longer than max_ttl is today, as recorded": {with(native,
			func(g *Grant) { g.End = never }), seen(func(o *Observed) { o.End = never }), ""},
		"begins later, and its platform begins it": {with(native,
			func(g *Grant) { g.Start = now.Add(time.Hour / 2) }),
			seen(func(o *Observed) { o.Start = now.Add(time.Hour / 2) }), ""},
		"ssh: a comment on a line without expiry-time, marked till 9999": {nil,
			seen(func(o *Observed) { endless(o); o.Marker.Window.End = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC) }),
			"no such grant, and the target enforces no end"},
		"postgresql: a wrapper of an owner that nobody sweeps": {nil,
			seen(func(o *Observed) {
				endless(o)
				o.Marker.Owner = "ghost"
				o.Marker.Window.End = now.AddDate(-1, 0,
					0)
			}), "no such grant"},
		"azure: a description, or a request without an end": {nil,
			seen(func(o *Observed) { endless(o); o.Marker.Owner = "zzz" }), "no such grant"},
		"aws_iam: the name of a policy that cannot be read": {nil,
			seen(func(o *Observed) { endless(o); o.Role = "" }), "no such grant"},
		"gcp: a title on the condition true": {nil, seen(endless), "no such grant"},
		"one's own marker with an end in 2099": {nil,
			seen(func(o *Observed) { o.End = never }), "2099-01-01T00:00:00Z, is further ahead than max_ttl"},
		"kubernetes: a marker copied from a live grant to somebody else": {[]Grant{swept},
			seen(func(o *Observed) { endless(o); o.Principal = "user:mallory" }), "that grant is of user:alice"},
		"kubernetes: a marker copied from a live grant to another role": {[]Grant{swept},
			seen(func(o *Observed) { endless(o); o.Role = "admin" }), "that grant is of viewer"},
		"a marker copied from another scope": {with(swept,
			func(g *Grant) { g.Scope = "elsewhere" }), seen(endless), "that grant is on elsewhere"},
		"the id is that of another owner's grant": {with(swept,
			func(g *Grant) { g.Owner = "payments" }), seen(endless), "no such grant"},
		"the marker of a grant that is over": {with(swept,
			func(g *Grant) { g.End = now.Add(-time.Hour) }), seen(endless), "that grant ended at"},
		"the marker of a grant that was revoked": {with(swept,
			func(g *Grant) { g.RevokedAt = now.Add(-time.Hour) }), seen(endless), "that grant ended at"},
		"the marker of a grant that failed": {with(swept,
			func(g *Grant) { g.GrantedAt, g.FailedAt = time.Time{}, now }), seen(endless), "that grant failed"},
		"works before its beginning": {with(swept,
			func(g *Grant) { g.Start = now.Add(time.Hour / 2) }), seen(endless), "that grant begins at"},
		"gcp: the end of a recorded grant was taken off": {[]Grant{native}, seen(endless),
			"its end is gone"},
		"gcp: the end of a recorded grant was moved beyond all": {[]Grant{native},
			seen(func(o *Observed) { o.End = never }), "its end was moved"},
		"hoop: an attribute of a group, named after somebody else's grant": {with(swept,
			func(g *Grant) { g.ID = other }), seen(endless), "no such grant"},
	} {
		r := Records{Now: now, MaxTTL: 24 * time.Hour, Grants: map[ID]Grant{}}
		for _, g := range tt.records {
			r.Grants[g.ID] = g
		}
		all := r.Standing(Snapshot{Ours: []Observed{tt.found}}, "s")
		switch {
		case tt.want == "" && len(all) != 0:
			t.Errorf("%s: standing access: %+v", name, all)
		case tt.want != "" && (len(all) != 1 || !strings.Contains(all[0].Detail, tt.want) || !all[0].Claims() ||
			all[0].Role == ""):
			t.Errorf("%s: %+v, want one with %q", name, all, tt.want)
		}
	}
	unread := Records{Now: now, MaxTTL: 24 * time.Hour, Unread: errors.New("disk I/O error")}
	if all := unread.Standing(Snapshot{Ours: []Observed{right, seen(endless)}}, "s"); len(all) != 1 ||
		!strings.Contains(all[0].Detail, "could not be read") {
		t.Errorf("without a ledger: %+v, want what the platform does not end", all)
	}
}

// What bears no marker is excused by an end of the platform's alone.
func TestStandingWithAnEnd(t *testing.T) {
	now := time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)
	r := Records{Now: now, MaxTTL: 24 * time.Hour}
	never, soon, late := Standing{Principal: "a", Role: "r"}, Standing{Principal: "b", Role: "r",
		End: now.Add(time.Hour)}, Standing{Principal: "c", Role: "r", End: now.AddDate(1, 0, 0)}
	all := r.Standing(Snapshot{Standing: []Standing{never, soon, late}}, "s")
	if _, shadows := Shadow([]Standing{{Principal: "allUsers", Role: "r", Anybody: true}}, Binding{Principal: "d",
		Role: "r"}, now); !shadows {
		t.Error("what anybody has, the principal of a grant has too")
	}
	if len(all) != 2 || all[0] != never || all[1] != late {
		t.Errorf("standing are %+v", all)
	}
	for _, c := range []struct {
		principal string
		end       time.Time
		want      bool
	}{{"a", now.Add(time.Hour), true}, {"c", now.Add(time.Hour), true}, {"c", now.AddDate(2, 0, 0), false},
		{"d", now, false}} {
		if _, shadows := Shadow(all, Binding{Principal: c.principal, Role: "r"}, c.end); shadows != c.want {
			t.Errorf("the access of %s shadows a grant until %s: %t", c.principal, FormatTime(c.end), shadows)
		}
	}
}
