package reconcile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

var begin = time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC)

func at(minutes int) time.Time { return begin.Add(time.Duration(minutes) * time.Minute) }

// grant is a live, confirmed grant from 16:00 to 18:00 on a platform that ends access itself.
func grant(id jit.ID, change ...func(*jit.Grant)) jit.Grant {
	g := jit.Grant{
		ID: id, Owner: "jit", Binding: jit.Binding{Target: "bastion", Principal: "alice", Role: "login", Scope: "file"},
		Window: jit.Window{Start: at(0), End: at(120)}, Enforcement: jit.Native, RequestedAt: at(0), GrantedAt: at(0),
	}
	for _, c := range change {
		c(&g)
	}
	return g
}

// seen is the correct binding of g, with one thing changed.
func seen(g jit.Grant, change ...func(*jit.Observed)) jit.Observed {
	o := jit.Observed{Marker: g.Marker(), Principal: g.Principal, Role: g.Role, End: g.End}
	for _, c := range change {
		c(&o)
	}
	return o
}

const (
	a jit.ID = "aaaaaaaa-0000-8000-8000-000000000000"
	b jit.ID = "bbbbbbbb-0000-8000-8000-000000000000"
)

// Access that works before its beginning is ended, whether or not the target has confirmed it. Access that the platform
// itself begins later is left alone.
func TestAccessBeforeItsBeginning(t *testing.T) {
	file := jit.Place{Target: "bastion", Scope: "file"}
	later := func(g *jit.Grant) { g.Start, g.End = at(60), at(180) }
	misdated := func(g *jit.Grant) { later(g); g.RequestedAt, g.GrantedAt = at(60), at(60) }
	for name, c := range map[string]struct {
		grant  jit.Grant
		begins time.Time
		want   Kind
	}{
		"not confirmed":                    {grant: grant(a, later, func(g *jit.Grant) { g.GrantedAt = time.Time{} }), want: Remove},
		"confirmed":                        {grant: grant(a, later), want: Remove},
		"granted by a clock that is ahead": {grant: grant(a, misdated), want: Revoke},
		"begun by the platform":            {grant: grant(a, later), begins: at(60)},
	} {
		o := seen(c.grant, func(o *jit.Observed) { o.Start = c.begins })
		got := Plan(at(0), jits, []jit.Grant{c.grant}, map[jit.Place]jit.Snapshot{file: {Ours: []jit.Observed{o}}}, nil)
		if c.want == "" && len(got) > 0 ||
			c.want != "" && (len(got) != 1 || got[0].Kind != c.want || got[0].Severity != jit.Critical) {
			t.Errorf("%s: %+v, want %q", name, got, c.want)
		}
	}
}

func TestPlan(t *testing.T) {
	file := jit.Place{Target: "bastion", Scope: "file"}
	read := func(o ...jit.Observed) map[jit.Place]jit.Snapshot { return map[jit.Place]jit.Snapshot{file: {Ours: o}} }
	tests := map[string]struct {
		now      time.Time
		recorded []jit.Grant
		observed map[jit.Place]jit.Snapshot
		want     []string // kind, id, part of the reason
	}{
		"live and right":       {at(1), []jit.Grant{grant(a)}, read(seen(grant(a))), nil},
		"live, scope not read": {at(1), []jit.Grant{grant(a)}, nil, nil},
		"a second before the end": {at(120).Add(-time.Second), []jit.Grant{grant(a)}, read(seen(grant(a))),
			nil},
		"at its end": {at(120), []jit.Grant{grant(a)}, read(seen(grant(a))),
			[]string{"end a its window ended"}},
		"over, gone by itself, not confirmed": {at(120), []jit.Grant{grant(a)}, read(),
			[]string{"end a its window ended"}},
		"over and confirmed": {at(120),
			[]jit.Grant{grant(a, func(g *jit.Grant) { g.EndedAt = at(120) })}, read(), nil},
		"revoked inside its window": {at(5), []jit.Grant{grant(a,
			func(g *jit.Grant) { g.RevokedAt, g.RevokedBy, g.RevokeReason = at(4), "bob", "done early" })},
			read(seen(grant(a))),
			[]string{"end a revoked by bob: done early"}},
		"revoked on purpose is not repaired": {at(5),
			[]jit.Grant{grant(a, func(g *jit.Grant) { g.RevokedAt, g.EndedAt = at(4), at(4) })}, read(), nil},
		"not begun": {at(-5), []jit.Grant{grant(a, later)}, read(), nil},
		"being granted by a clock that is ahead": {at(0).Add(-jit.MaxSkew), []jit.Grant{grant(a, later)},
			read(seen(grant(a))), nil},
		"not begun, and there with its own beginning": {at(-5), []jit.Grant{grant(a, later)},
			read(seen(grant(a), waiting)), nil},
		"not begun, and there without a beginning": {at(-5), []jit.Grant{grant(a, later)},
			read(seen(grant(a))), []string{"remove a it has not begun"}},
		"not begun, and there with an earlier beginning": {at(-5), []jit.Grant{grant(a, later)},
			read(seen(grant(a), waiting, func(o *jit.Observed) { o.Start = at(-1) })),
			[]string{"remove a it has not begun"}},
		"not begun, and altered": {at(-5), []jit.Grant{grant(a, later)},
			read(seen(grant(a), waiting, func(o *jit.Observed) { o.End = at(500) })),
			[]string{"remove a it has not begun"}},
		"not begun, and one of two bindings has a beginning": {at(-5), []jit.Grant{grant(a, later)},
			read(seen(grant(a), waiting), seen(grant(a))), []string{"remove a it has not begun"}},
		"ended before it began, and there with its beginning": {at(-5),
			[]jit.Grant{grant(a, later, func(g *jit.Grant) { g.RevokedAt, g.EndedAt = at(-10), at(-10) })},
			read(seen(grant(a), waiting)), []string{"remove a it came back"}},
		"ended by a clock that was ahead": {at(5),
			[]jit.Grant{grant(a, func(g *jit.Grant) { g.EndedAt = at(130) })}, read(), nil},
		"due to start": {at(0), []jit.Grant{grant(a, later)}, read(),
			[]string{"start a its window began"}},
		"due to start, but too late by start_by": {at(30),
			[]jit.Grant{grant(a, later, func(g *jit.Grant) { g.StartBy = at(10) })}, read(), nil},
		"cut off between intent and outcome": {at(5),
			[]jit.Grant{grant(a, func(g *jit.Grant) { g.GrantedAt = time.Time{} })}, read(), nil},
		"cut off, there and altered": {at(5),
			[]jit.Grant{grant(a, func(g *jit.Grant) { g.GrantedAt = time.Time{} })},
			read(seen(grant(a), func(o *jit.Observed) { o.Principal = "eve" })),
			[]string{`repair a principal is "eve"`}},
		"a failed attempt": {at(120),
			[]jit.Grant{grant(a, func(g *jit.Grant) { g.GrantedAt, g.FailedAt = time.Time{}, at(0) })}, read(), nil},
		"a failed attempt that is there": {at(5),
			[]jit.Grant{grant(a, func(g *jit.Grant) { g.GrantedAt, g.FailedAt = time.Time{}, at(0) })},
			read(seen(grant(a))), []string{"remove a the attempt to grant it failed"}},
		"taken over by somebody": {at(5), []jit.Grant{grant(a)},
			map[jit.Place]jit.Snapshot{file: {Standing: []jit.Standing{
				{Principal: "alice", Role: "login", Detail: "approved again by bob", Marker: grant(a).Marker()}}}},
			[]string{"report a approved again by bob"}},
		"somebody else bears its marker": {at(5), []jit.Grant{grant(a)},
			map[jit.Place]jit.Snapshot{file: {Standing: []jit.Standing{
				{Principal: "eve", Role: "login", Detail: "approved again by bob", Marker: grant(a).Marker()}}}},
			[]string{"repair a missing"}},
		"missing": {at(5), []jit.Grant{grant(a)}, read(), []string{"repair a missing"}},
		"end moved": {at(5), []jit.Grant{grant(a)},
			read(seen(grant(a), func(o *jit.Observed) { o.End = at(500) })),
			[]string{"repair a the end was moved to 2026-11-24T00:20:00Z"}},
		"end stripped": {at(5), []jit.Grant{grant(a)},
			read(seen(grant(a), func(o *jit.Observed) { o.End = time.Time{} })), []string{"repair a the end is gone"}},
		"no native end to strip": {at(5), []jit.Grant{grant(a, func(g *jit.Grant) { g.Enforcement = jit.Sweeper })},
			read(seen(grant(a), func(o *jit.Observed) { o.End = time.Time{} })), nil},
		"role changed": {at(5), []jit.Grant{grant(a)},
			read(seen(grant(a), func(o *jit.Observed) { o.Role = "root" })), []string{`repair a role is "root"`}},
		"principal changed": {at(5), []jit.Grant{grant(a)},
			read(seen(grant(a), func(o *jit.Observed) { o.Principal = "eve" })),
			[]string{`repair a principal is "eve"`}},
		"marker changed": {at(5), []jit.Grant{grant(a)},
			read(seen(grant(a), func(o *jit.Observed) { o.Marker.Window.End = at(999) })),
			[]string{"repair a the marker says"}},
		"damaged": {at(5), []jit.Grant{grant(a)},
			read(seen(grant(a), func(o *jit.Observed) { o.Damage = "wrapper can log in" })),
			[]string{"repair a wrapper can log in"}},
		"copied": {at(5), []jit.Grant{grant(a)}, read(seen(grant(a)), seen(grant(a))),
			[]string{"repair a 2 copies"}},
		"copied to another scope": {at(5), []jit.Grant{grant(a)},
			map[jit.Place]jit.Snapshot{file: {Ours: []jit.Observed{seen(grant(a))}},
				{Target: "bastion", Scope: "other"}: {Ours: []jit.Observed{seen(grant(a))}}},
			[]string{"remove a a copy"}},
		"came back after its end": {at(130),
			[]jit.Grant{grant(a, func(g *jit.Grant) { g.EndedAt = at(121) })}, read(seen(grant(a))),
			[]string{"remove a it came back"}},
		"came back after revocation, inside its window": {at(30),
			[]jit.Grant{grant(a, func(g *jit.Grant) { g.RevokedAt, g.EndedAt = at(4), at(4) })}, read(seen(grant(a))),
			[]string{"remove a it came back"}},
		"ended, and its role is left without members": {at(130),
			[]jit.Grant{grant(a, func(g *jit.Grant) { g.EndedAt, g.Remains = at(121), "a role" })},
			read(seen(grant(a), func(o *jit.Observed) { o.Principal = "" })),
			[]string{"end a its access has ended; what remains: a role"}},
		"unknown and over": {at(121), nil, read(seen(grant(a))),
			[]string{"remove a the ledger does not know it"}},
		"unknown and live": {at(5), nil, read(seen(grant(a))),
			[]string{"report a the ledger does not know it"}},
		"another owner's, over and unknown": {at(121), nil,
			read(seen(grant(a), func(o *jit.Observed) { o.Marker.Owner = "payments" })), nil},
		"another owner's record": {at(121),
			[]jit.Grant{grant(a, func(g *jit.Grant) { g.Owner = "payments" })}, nil, nil},
		"overlapping grants of the same access": {at(121),
			[]jit.Grant{grant(a), grant(b, func(g *jit.Grant) { g.End = at(240) })},
			read(seen(grant(a)), seen(grant(b, func(g *jit.Grant) { g.End = at(240) }))),
			[]string{"end a its window ended"}},
		"ends come before repairs": {at(121), []jit.Grant{grant(b, func(g *jit.Grant) { g.End = at(240) }), grant(a)},
			read(), []string{"end a its window ended", "repair b missing"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := Plan(tt.now, jits, tt.recorded, tt.observed, nil)
			if len(got) != len(tt.want) {
				t.Fatalf("got %d steps %+v, want %d: %q", len(got), got, len(tt.want), tt.want)
			}
			for i, s := range got {
				line := fmt.Sprintf("%s %s %s", s.Kind, s.Grant.ID[:1], s.Reason)
				if !strings.HasPrefix(line, tt.want[i]) {
					t.Errorf("step %d is %q, want %q", i, line, tt.want[i])
				}
			}
		})
	}
}

// jits accepts the owner of the grants in these tests.
func jits(owner string) bool { return owner == "jit" }

// A marker that names another owner beside the id of a live grant is not explained by that grant.
func TestAMarkerWithTheIDOfAnotherOwnersGrant(t *testing.T) {
	file := jit.Place{Target: "bastion", Scope: "file"}
	g := grant(a)
	copied := seen(g)
	copied.Marker.Owner = "payments"
	all := func(string) bool { return true }
	got := Plan(at(5), all, []jit.Grant{g}, map[jit.Place]jit.Snapshot{file: {Ours: []jit.Observed{copied, seen(g)}}},
		nil)
	if len(got) != 1 || got[0].Drift != jit.DriftOrphanLive || got[0].Grant.Owner != "payments" {
		t.Errorf("got %+v, want one report of a binding that the ledger does not know", got)
	}
}

// waiting is a binding with its own beginning.
func waiting(o *jit.Observed) { o.Start = o.Marker.Window.Start }

func later(g *jit.Grant) { g.RequestedAt, g.GrantedAt = at(-60), time.Time{} }

// Every kind of drift, with its severity and its step in each mode.
func TestOnDrift(t *testing.T) {
	file, other := jit.Place{Target: "bastion", Scope: "file"}, jit.Place{Target: "bastion", Scope: "other"}
	alter := func(change func(*jit.Observed)) map[jit.Place]jit.Snapshot {
		return map[jit.Place]jit.Snapshot{file: {Ours: []jit.Observed{seen(grant(a), change)}}}
	}
	live, ended := []jit.Grant{grant(a)}, []jit.Grant{grant(a, func(g *jit.Grant) { g.EndedAt = at(121) })}
	there := func() map[jit.Place]jit.Snapshot { return alter(func(*jit.Observed) {}) }
	stripped := func(g *jit.Grant) { g.NoStandingBefore = true }
	for kind, c := range map[jit.DriftKind]struct {
		now      time.Time
		recorded []jit.Grant
		observed map[jit.Place]jit.Snapshot
		severity jit.Severity
		// What is done by default, with "revoke" and with "report".
		repair, revoke, report Kind
	}{
		jit.DriftMissing: {at(5), live, map[jit.Place]jit.Snapshot{file: {}}, jit.Info, Repair, Revoke, Report},
		jit.DriftEndSooner: {at(5), live, alter(func(o *jit.Observed) { o.End = at(50) }), jit.Info, Repair, Revoke,
			Report},
		jit.DriftEndLater: {at(5), live, alter(func(o *jit.Observed) { o.End = at(500) }), jit.Critical, Repair,
			Revoke, Report},
		jit.DriftEndGone: {at(5), live, alter(func(o *jit.Observed) { o.End = time.Time{} }), jit.Critical, Repair,
			Revoke, Report},
		jit.DriftPrincipal: {at(5), live, alter(func(o *jit.Observed) { o.Principal = "eve" }), jit.Critical, Repair,
			Revoke, Report},
		jit.DriftGone: {at(5), live, alter(func(o *jit.Observed) { o.Gone, o.Principal = true, "deleted" }), jit.Info,
			Revoke, Revoke, Report},
		jit.DriftRole: {at(5), live, alter(func(o *jit.Observed) { o.Role, o.End = "root", at(500) }),
			jit.Critical, Repair, Revoke, Report},
		jit.DriftDamaged: {at(5), live, alter(func(o *jit.Observed) { o.Damage = "no command" }), jit.Warning, Repair,
			Revoke, Report},
		jit.DriftStripped: {at(5), []jit.Grant{grant(a, stripped)},
			map[jit.Place]jit.Snapshot{file: {Standing: []jit.Standing{{Principal: grant(a).Principal,
				Role: grant(a).Role}}}},
			jit.Critical, Repair, Revoke, Report},
		jit.DriftCopied: {at(5), live, map[jit.Place]jit.Snapshot{file: {Ours: []jit.Observed{seen(grant(a))}},
			other: {Ours: []jit.Observed{seen(grant(a))}}}, jit.Warning, Remove, Remove, Report},
		jit.DriftCameBack:   {at(130), ended, there(), jit.Critical, Remove, Remove, Report},
		jit.DriftTooEarly:   {at(-5), []jit.Grant{grant(a, later)}, there(), jit.Critical, Remove, Remove, Report},
		jit.DriftOrphanOver: {at(130), nil, there(), jit.Critical, Remove, Remove, Report},
		jit.DriftOrphanLive: {at(5), nil, there(), jit.Warning, Report, Remove, Report},
	} {
		for on, want := range map[jit.OnDrift]Kind{"": c.repair, jit.RepairDrift: c.repair, jit.RevokeDrift: c.revoke,
			jit.ReportDrift: c.report} {
			got := Plan(c.now, jits, c.recorded, c.observed, map[string]jit.OnDrift{"bastion": on})
			if len(got) != 1 || got[0].Kind != want || got[0].Drift != kind || got[0].Severity != c.severity {
				t.Errorf("%s with on_drift = %q: %+v, want one %s, %s", kind, on, got, want, c.severity)
			}
		}
		// Whatever is to be done: nothing of another owner's is touched.
		for at, s := range c.observed {
			for i := range s.Ours {
				c.observed[at].Ours[i].Marker.Owner = "payments"
			}
		}
		for _, s := range Plan(c.now, jits, nil, c.observed, map[string]jit.OnDrift{"bastion": jit.RevokeDrift}) {
			t.Errorf("%s of another owner: %+v", kind, s)
		}
	}
}

// A stray binding of several members names all of them, and a marker without an end is said to have none.
func TestAStrayBindingNamesEverybody(t *testing.T) {
	g := grant("stray")
	for name, c := range map[string]struct {
		bindings []jit.Observed
		want     []string
	}{
		"two members": {[]jit.Observed{
			seen(g, func(o *jit.Observed) { o.Principal, o.Marker.Window.End = "alice", at(-60) }),
			seen(g, func(o *jit.Observed) { o.Principal, o.Marker.Window.End = "mallory", at(-60) }),
		}, []string{"alice: ", "mallory: "}},
		"no end": {[]jit.Observed{seen(g, func(o *jit.Observed) { o.Marker.Window = jit.Window{} })},
			[]string{"names no end"}},
	} {
		step, ok := stray(at(0), g.Place(), c.bindings, jit.Grant{}, false, "")
		for _, want := range c.want {
			if !ok || !strings.Contains(step.Reason, want) {
				t.Errorf("%s: %q does not have %q", name, step.Reason, want)
			}
		}
	}
}
