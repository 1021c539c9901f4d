package jit

import (
	"testing"
	"time"
)

func TestGrantOverTime(t *testing.T) {
	requested := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return requested.Add(time.Duration(minutes) * time.Minute) }
	now := Grant{Window: Window{at(0), at(60)}, RequestedAt: at(0)}
	with := func(g Grant, change func(*Grant)) Grant { change(&g); return g }
	granted := with(now, func(g *Grant) { g.GrantedAt = at(0) })
	later := with(now, func(g *Grant) { g.Start = at(30) })
	revoked := with(granted, func(g *Grant) { g.RevokedAt = at(20) })

	type want struct {
		minute      int
		state       State
		over        bool
		start       bool // due to start
		outstanding bool
	}
	for name, tc := range map[string]struct {
		g    Grant
		want []want
	}{
		"intended": {now, []want{{0, StatePending, false, false, false}, {59, StatePending, false, false, false}, {60, StateExpired, true, false, true}}},
		"granted": {granted, []want{{0, StateActive, false, false, false}, {59, StateActive, false, false, false},
			{60, StateExpired, true, false, true}, {6000, StateExpired, true, false, true}}},
		"granted and ended": {with(granted, func(g *Grant) { g.EndedAt = at(61) }), []want{{60, StateExpired, true, false, false}, {6000, StateExpired, true, false, false}}},
		"failed":            {with(now, func(g *Grant) { g.FailedAt = at(0) }), []want{{0, StateFailed, false, false, false}, {60, StateFailed, true, false, false}}},
		"failed, then asked for again and granted": {with(granted, func(g *Grant) { g.FailedAt = at(0) }), []want{{0, StateActive, false, false, false}, {60, StateExpired, true, false, true}}},
		"failed, revoked by an older program":      {with(revoked, func(g *Grant) { g.FailedAt, g.GrantedAt = at(0), time.Time{} }), []want{{20, StateRevoked, true, false, true}}},
		"later": {later, []want{{0, StateScheduled, false, false, false}, {29, StateScheduled, false, false, false},
			{30, StatePending, false, true, false}, {59, StatePending, false, true, false}, {60, StateExpired, true, false, true}}},
		"later, to begin by": {with(later, func(g *Grant) { g.StartBy = at(40) }), []want{{30, StatePending, false, true, false},
			{40, StatePending, false, true, false}, {41, StatePending, false, false, false}}},
		"later, begun": {with(later, func(g *Grant) { g.GrantedAt = at(30) }), []want{{30, StateActive, false, false, false}, {60, StateExpired, true, false, true}}},
		"later, on the platform before": {with(later, func(g *Grant) { g.GrantedAt = at(0) }), []want{{1, StateScheduled, false, false, false},
			{30, StateActive, false, false, false}}},
		"later, failed":  {with(later, func(g *Grant) { g.FailedAt = at(30) }), []want{{30, StateFailed, false, false, false}, {60, StateFailed, true, false, false}}},
		"later, revoked": {with(later, func(g *Grant) { g.RevokedAt = at(10) }), []want{{30, StateRevoked, true, false, true}}},
		"revoked":        {revoked, []want{{20, StateRevoked, true, false, true}, {60, StateRevoked, true, false, true}}},
		// A clock that went back must not bring access back.
		"revoked, the clock set back": {revoked, []want{{5, StateRevoked, true, false, true}}},
		"revoked and ended":           {with(revoked, func(g *Grant) { g.EndedAt = at(21) }), []want{{20, StateRevoked, true, false, false}}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, w := range tc.want {
				now := at(w.minute)
				got := want{w.minute, tc.g.State(now), tc.g.Over(now), tc.g.DueToStart(now), tc.g.Outstanding(now)}
				if got != w || tc.g.Live(now) != (!w.over && w.state != StateFailed) {
					t.Errorf("%+v (live %t), want %+v", got, tc.g.Live(now), w)
				}
			}
		})
	}
}

func TestActualEnd(t *testing.T) {
	end := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	for _, tc := range []struct{ revoked, want time.Time }{
		{time.Time{}, end},
		{end.Add(-time.Minute), end.Add(-time.Minute)},
		{end, end},
	} {
		g := Grant{Window: Window{end.Add(-time.Hour), end}, RevokedAt: tc.revoked}
		if got := g.ActualEnd(); !got.Equal(tc.want) {
			t.Errorf("revoked at %s: ActualEnd = %s, want %s", tc.revoked, got, tc.want)
		}
	}
}

// The digest stands for what is on the platform: it follows the access and the window and nothing else.
func TestDigest(t *testing.T) {
	start := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	base := Grant{ID: "3f2b8c1e-0000-8000-8000-00000000abcd", Owner: "payments", Binding: Binding{"t", "p", "r", "s"}, Window: Window{start, start.Add(time.Hour)}}
	seen := map[string]string{base.Digest(): "nothing"}
	for name, change := range map[string]func(*Grant){
		"id": func(g *Grant) { g.ID = "4" + g.ID[1:] }, "owner": func(g *Grant) { g.Owner = "x" }, "target": func(g *Grant) { g.Target = "x" },
		"principal": func(g *Grant) { g.Principal = "x" }, "role": func(g *Grant) { g.Role = "x" }, "scope": func(g *Grant) { g.Scope = "x" },
		"start": func(g *Grant) { g.Start = g.Start.Add(time.Second) }, "end": func(g *Grant) { g.End = g.End.Add(time.Second) },
		"text moved": func(g *Grant) { g.Principal, g.Role = "pr", "" },
	} {
		g := base
		change(&g)
		if other, ok := seen[g.Digest()]; ok {
			t.Errorf("changing %s and %s gives the same digest", name, other)
		}
		seen[g.Digest()] = name
	}
	for name, change := range map[string]func(*Grant){
		"reason": func(g *Grant) { g.Reason = "x" }, "ttl": func(g *Grant) { g.TTL = "60m" }, "policy": func(g *Grant) { g.Policy = "x" },
		"version": func(g *Grant) { g.Version++ }, "granted": func(g *Grant) { g.GrantedAt = start }, "zone": func(g *Grant) { g.Start = g.Start.In(time.FixedZone("", 3600)) },
	} {
		g := base
		change(&g)
		if g.Digest() != base.Digest() {
			t.Errorf("changing %s changes the digest", name)
		}
	}
}
