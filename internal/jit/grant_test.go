package jit

import (
	"strings"
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
		"intended": {now, []want{{0, StatePending, false, false, false}, {59, StatePending, false, false, false},
			{60, StateExpired, true, false, true}}},
		"granted": {granted, []want{{0, StateActive, false, false, false}, {59, StateActive, false, false, false},
			{60, StateExpired, true, false, true}, {6000, StateExpired, true, false, true}}},
		"granted and ended": {with(granted, func(g *Grant) { g.EndedAt = at(61) }),
			[]want{{60, StateExpired, true, false, false}, {6000, StateExpired, true, false, false}}},
		"ended early by a wrong clock": {with(granted, func(g *Grant) { g.EndedAt = at(6000) }),
			[]want{{20, StateExpired, true, false, false}, {60, StateExpired, true, false, false}}},
		"failed": {with(now, func(g *Grant) { g.FailedAt = at(0) }),
			[]want{{0, StateFailed, false, false, false}, {60, StateFailed, true, false, false}}},
		"failed, then asked for again and granted": {with(granted, func(g *Grant) { g.FailedAt = at(0) }),
			[]want{{0, StateActive, false, false, false}, {60, StateExpired, true, false, true}}},
		"failed, revoked by an older program": {with(revoked,
			func(g *Grant) { g.FailedAt, g.GrantedAt = at(0), time.Time{} }),
			[]want{{20, StateRevoked, true, false, true}}},
		"later": {later, []want{{0, StateScheduled, false, false, false}, {29, StateScheduled, false, false, false},
			{30, StatePending, false, true, false}, {59, StatePending, false, true, false}, {60, StateExpired, true,
				false, true}}},
		"later, to begin by": {with(later, func(g *Grant) { g.StartBy = at(40) }),
			[]want{{30, StatePending, false, true, false},
				{40, StatePending, false, true, false}, {41, StatePending, false, false, false}}},
		"later, begun": {with(later, func(g *Grant) { g.GrantedAt = at(30) }),
			[]want{{30, StateActive, false, false, false}, {60, StateExpired, true, false, true}}},
		"later, on the platform before": {with(later, func(g *Grant) { g.GrantedAt = at(0) }),
			[]want{{1, StateScheduled, false, false, false},
				{30, StateActive, false, false, false}}},
		"later, failed": {with(later, func(g *Grant) { g.FailedAt = at(30) }),
			[]want{{30, StateFailed, false, false, false}, {60, StateFailed, true, false, false}}},
		"later, revoked": {with(later, func(g *Grant) { g.RevokedAt = at(10) }),
			[]want{{30, StateRevoked, true, false, true}}},
		"revoked": {revoked, []want{{20, StateRevoked, true, false, true}, {60, StateRevoked, true, false,
			true}}},
		// A clock that went back must not bring access back.
		"revoked, the clock set back": {revoked, []want{{5, StateRevoked, true, false, true}}},
		"revoked and ended": {with(revoked, func(g *Grant) { g.EndedAt = at(21) }),
			[]want{{20, StateRevoked, true, false, false}}},
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

// A ledger of an older version holds words in the place of a lost reason; neither the record nor its events differ for
// that.
func TestLostReason(t *testing.T) {
	const old = "unknown: the record was lost and made again from the marker on the target"
	g := Grant{ID: "x", Owner: "jit", Binding: Binding{Target: "db"}, Reason: old, Window: Window{noonUTC,
		noonUTC.Add(time.Hour)}}
	var events Account
	events.Add(Rewrite(Grant{}, g, Event{Kind: EventAdopted, Grant: g.ID}).Events[0])
	g.Reason = RecordedReason(g.Reason)
	if !g.ReasonLost() || !strings.HasPrefix(g.ReasonText(), "unknown") {
		t.Errorf("the reason is %q, want a lost one", g.Reason)
	}
	if found := events.Contradictions(g); len(found) != 0 {
		t.Errorf("the record differs from its events: %v", found)
	}
	if g.Reason = RecordedReason("INC-1"); g.ReasonLost() || g.ReasonText() != "INC-1" {
		t.Errorf("the reason is %q, want INC-1", g.Reason)
	}
}
