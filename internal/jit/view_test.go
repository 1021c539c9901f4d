package jit

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func viewed() Grant {
	start := time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC)
	return Grant{
		ID: "3f2b8c1e-0000-8000-8000-00000000abcd", Owner: "payments",
		Binding: Binding{"payments-db", "alice", "payments_read", "cluster"}, Reason: "INC-4211: fail over", Renewal: 1,
		TTL: RecordedTTL("2h"), Window: Window{start, start.Add(2 * time.Hour)}, RequestedAt: start,
		GrantedAt: start.Add(1234567 * time.Microsecond),
	}
}

func TestSummary(t *testing.T) {
	key := "ssh-ed25519 " + strings.Repeat("A", 68) + " alice@laptop"
	for want, change := range map[string]func(*Grant){
		"alice: payments_read on payments-db/cluster for 2h, INC-4211: fail over":            func(*Grant) {},
		"alice: payments_read on payments-db/cluster for 2h, INC-4211: fail over, renewal 2": func(g *Grant) { g.Renewal = 2 },
		"alice: payments_read on payments-db/cluster for 1h30m, INC-4211: fail over":         func(g *Grant) { g.TTL = RecordedTTL("90m") },
		"alice: payments_read on payments-db/cluster until 2026-11-23T18:00:00Z, INC-4211: fail over": func(g *Grant) {
			g.TTL = TTL{}
		},
		"alice: payments_read on payments-db/cluster from 2026-11-23T16:00:00Z for 2h, INC-4211: fail over": func(g *Grant) {
			g.RequestedAt = g.Start.Add(-time.Hour) // as older programs recorded it
		},
		"alice: payments_read on payments-db/cluster from 2026-11-23T15:00:00Z for 2h, INC-4211: fail over": func(g *Grant) {
			g.StartAsked = StartAsked(g.Start.Add(-time.Hour)) // it had passed when the request was recorded
		},
		"alice: payments_read on payments-db/cluster for 2h, INC-4211: at once after all": func(g *Grant) {
			g.RequestedAt, g.StartAsked, g.Reason = g.Start.Add(-time.Hour), StartAsked(time.Time{}),
				"INC-4211: at once after all"
		},
		"ssh-ed25519 AAAAAAAAAAAA…AAAAAAAAAAA alice@laptop: payments_read on payments-db/cluster for 2h, INC-4211: fail over": func(g *Grant) {
			g.Principal = key
		},
	} {
		g := viewed()
		change(&g)
		if got := g.Summary(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// The request digest follows everything that is asked for and nothing that happens later.
func TestRequestDigest(t *testing.T) {
	const ledger = "0b7f3c52-0000-4000-8000-00000000abcd"
	base := viewed()
	if got := base.RequestDigest(""); got != "" {
		t.Errorf("without a ledger the digest is %q, want none", got)
	}
	lost := base
	lost.Reason = ""
	if got := lost.RequestDigest(ledger); got != "" {
		t.Errorf("a record that lost its request has the digest %q, want none", got)
	}
	seen := map[string]string{base.RequestDigest(ledger): "nothing", base.RequestDigest(ledger + "0"): "the ledger"}
	for name, change := range map[string]func(*Grant){
		"owner": func(g *Grant) { g.Owner = "x" }, "target": func(g *Grant) { g.Target = "x" },
		"principal": func(g *Grant) { g.Principal = "x" }, "role": func(g *Grant) { g.Role = "x" },
		"scope": func(g *Grant) { g.Scope = "x" }, "reason": func(g *Grant) { g.Reason = "x" },
		"renewal": func(g *Grant) { g.Renewal = 2 }, "ttl": func(g *Grant) { g.TTL = RecordedTTL("3h") },
		"expires_at":         func(g *Grant) { g.TTL = TTL{} },
		"starts_at":          func(g *Grant) { g.RequestedAt = g.Start.Add(-time.Hour) },
		"start_by":           func(g *Grant) { g.StartBy = g.End },
		"terminate_sessions": func(g *Grant) { g.TerminateSessions = true },
		"requester":          func(g *Grant) { g.Requester = "Alice" },
		"text moved":         func(g *Grant) { g.Principal, g.Role = "alicepayments_read", "" },
	} {
		g := base
		change(&g)
		if other, ok := seen[g.RequestDigest(ledger)]; ok {
			t.Errorf("changing %s and %s gives the same digest", name, other)
		}
		seen[g.RequestDigest(ledger)] = name
	}
	for name, change := range map[string]func(*Grant){
		"spelling of ttl": func(g *Grant) { g.TTL = RecordedTTL("120m") },
		"window":          func(g *Grant) { g.End = g.End.Add(time.Hour) },
		"policy":          func(g *Grant) { g.Policy = "x" }, "granted": func(g *Grant) { g.GrantedAt = g.End },
		"revoked": func(g *Grant) { g.RevokedAt = g.End },
		"at once": func(g *Grant) { g.StartAsked = StartAsked(time.Time{}) },
		"version": func(g *Grant) { g.Version++ },
	} {
		g := base
		change(&g)
		if g.RequestDigest(ledger) != base.RequestDigest(ledger) {
			t.Errorf("changing %s changes the digest", name)
		}
	}
}

func TestAccessEnd(t *testing.T) {
	g := viewed()
	for _, tc := range []struct {
		enforcement Enforcement
		confirmed   time.Duration
		want        time.Duration
	}{
		{Native, time.Hour, time.Hour}, {Native, 3 * time.Hour, 2 * time.Hour}, {Sweeper, 3 * time.Hour, 3 * time.Hour},
	} {
		g.Enforcement, g.EndedAt = tc.enforcement, g.Start.Add(tc.confirmed)
		if got := g.AccessEnd(); !got.Equal(g.Start.Add(tc.want)) {
			t.Errorf("%s, confirmed after %s: the access ended at %s, want after %s", tc.enforcement, tc.confirmed, got,
				tc.want)
		}
	}
	g.EndedAt = time.Time{}
	if got := g.AccessEnd(); !got.IsZero() {
		t.Errorf("nothing is confirmed: the access ended at %s, want no time", got)
	}
}

func TestViewJSON(t *testing.T) {
	g := viewed()
	g.OpenDrift, g.SessionTail = DriftEndLater, Unlimited
	text, err := json.Marshal(g.View(g.Start.Add(time.Hour), "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"id": string(g.ID), "state": "active", "owner": "payments", "target": "payments-db", "principal": "alice",
		"role": "payments_read", "scope": "cluster", "reason": "INC-4211: fail over", "renewal": 1.0, "ttl": "2h",
		"starts_at": "2026-11-23T16:00:00Z", "granted_at": "2026-11-23T16:00:01Z", "expires_at": "2026-11-23T18:00:00Z",
		"remaining_seconds": 3600.0, "outstanding": false, "session_tail": "unlimited", "drift": "end later",
		"summary": g.Summary(), "request_digest": g.RequestDigest("ledger"),
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	for _, name := range []string{"ended_at", "revoked_at", "failed_at", "start_by", "alone"} {
		if v, ok := got[name]; ok {
			t.Errorf("%s is %v, want it left out", name, v)
		}
	}
}
