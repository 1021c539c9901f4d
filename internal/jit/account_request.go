package jit

import (
	"strconv"
	"time"
)

// Request returns what the grant asks for according to the events so far, with the facts that [Grant.RequestFields] and
// [Grant.RequestDigest] need, and when it began. ok is false if the events do not hold every fact.
func (a *Account) Request() (g Grant, ok bool) {
	f := a.facts
	g = Grant{
		Owner:   f["owner"],
		Binding: Binding{Target: f["target"], Principal: f["principal"], Role: f["role"], Scope: f["scope"]},
		Reason:  RecordedReason(f["reason"]), TTL: RecordedTTL(f["ttl"]), StartAsked: f["start_asked"],
		Terms: Terms{
			TerminateSessions: f["terminate_sessions"] == "true", BreakGlass: f["break_glass"] == "true",
			Requester: f["requester"],
		},
	}
	g.Renewal, _ = strconv.ParseInt(f["renewal"], 10, 64)
	for _, t := range []struct {
		name string
		into *time.Time
	}{{"starts_at", &g.Start}, {"expires_at", &g.End}, {"start_by", &g.StartBy}, {"requested_at", &g.RequestedAt},
		{"granted_at", &g.GrantedAt}} {
		*t.into, _ = time.Parse(time.RFC3339Nano, f[t.name])
	}
	return g, a.whole
}
