package jit

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// View is a grant at one moment, in the words of every surface: data sources, --json, page and report. The resource
// uses the same words. Times are whole UTC seconds; a zero time has not happened.
type View struct {
	Grant
	// Summary says in one line who gets what, where, for how long and why.
	Summary string `json:"summary"`
	// RequestDigest is [Grant.RequestDigest].
	RequestDigest string `json:"request_digest,omitempty"`
	// ReasonLost: the ledger lost the reason, and Reason says so.
	ReasonLost bool  `json:"reason_lost,omitempty"`
	State      State `json:"state"`
	// RemainingSeconds is the time until the window ends; 0 unless the grant is live.
	RemainingSeconds int64 `json:"remaining_seconds"`
	// Outstanding: the grant is over, and its target has not confirmed that the access is gone.
	Outstanding bool   `json:"outstanding"`
	SessionTail string `json:"session_tail"`
	// Drift says how the access differs from the record, as far as a check recorded it and nothing repaired it since.
	Drift string `json:"drift,omitempty"`
}

// View returns the grant as it stands at now. ledger is the id of its ledger; empty if there is none.
func (g Grant) View(now time.Time, ledger string) View {
	v := View{
		Grant: g, Summary: g.Summary(), RequestDigest: g.RequestDigest(ledger),
		State: g.State(now), Outstanding: g.Outstanding(now), SessionTail: FormatTail(g.SessionTail),
		Drift: strings.ReplaceAll(string(g.OpenDrift), "_", " "),
	}
	if g.Live(now) {
		v.RemainingSeconds = int64(g.End.Sub(now) / time.Second)
	}
	v.Reason, v.ReasonLost = g.ReasonText(), g.ReasonLost()
	v.EndedAt = g.AccessEnd()
	for _, at := range []*time.Time{&v.RequestedAt, &v.GrantedAt, &v.FailedAt, &v.RevokedAt, &v.EndedAt, &v.SignedOffAt} {
		*at = Second(*at)
	}
	return v
}

// AccessEnd returns when the access really ended; zero until the platform has confirmed that. A platform that ends
// access itself did so with the window, however late the rest of the binding was removed.
func (g Grant) AccessEnd() time.Time {
	if g.Enforcement == Native && g.EndedAt.After(g.End) {
		return g.End
	}
	return g.EndedAt
}

// Summary says in one line what the grant asks for: who, what, where, how long and why.
func (g Grant) Summary() string {
	s := fmt.Sprintf("%s: %s on %s/%s", Abbreviate(g.Principal), g.Role, g.Target, g.Scope)
	if at := g.AskedStart(); !at.IsZero() {
		s += " from " + FormatTime(at)
	}
	if !g.TTL.IsZero() {
		s += " for " + FormatDuration(g.TTL.Length())
	} else {
		s += " until " + FormatTime(g.End)
	}
	s += ", " + g.ReasonText()
	if g.Renewal > 1 {
		s += ", renewal " + strconv.FormatInt(g.Renewal, 10)
	}
	return s
}

// Abbreviate cuts the middle out of a long name, such as a public key.
func Abbreviate(s string) string {
	const head, tail = 24, 24
	runes := []rune(s)
	if len(runes) <= head+tail+1 {
		return s
	}
	return string(runes[:head]) + "…" + string(runes[len(runes)-tail:])
}

// Field is a named value of a request.
type Field struct{ Name, Value string }

// RequestFields returns what is asked for, field by field, in the order in which approvers read it. Times are RFC 3339;
// an empty value was not asked for.
func (g Grant) RequestFields() []Field {
	ttl, end := "", FormatTime(g.End)
	if !g.TTL.IsZero() {
		ttl, end = FormatDuration(g.TTL.Length()), ""
	}
	return []Field{
		{"target", g.Target}, {"principal", g.Principal}, {"role", g.Role}, {"scope", g.Scope},
		{"reason", g.Reason}, {"renewal", strconv.FormatInt(g.Renewal, 10)},
		{"ttl", ttl}, {"expires_at", end}, {"starts_at", FormatTime(g.AskedStart())}, {"start_by", FormatTime(g.StartBy)},
		{"terminate_sessions", strconv.FormatBool(g.TerminateSessions)},
		{"break_glass", strconv.FormatBool(g.BreakGlass)}, {"requester", g.Requester},
	}
}

// RequestDigest identifies what is asked for, exactly as it is asked, in the ledger of that id: SHA-256, in hex, over
// the length-prefixed ledger, owner and [Grant.RequestFields]. Changing any of them is another request. It is empty if
// the ledger has no id, and for a record that has lost the request.
func (g Grant) RequestDigest(ledger string) string {
	if ledger == "" || g.ReasonLost() {
		return ""
	}
	parts := []string{"jit request v1", ledger, g.Owner}
	for _, f := range g.RequestFields() {
		parts = append(parts, f.Value)
	}
	return hex.EncodeToString(hashParts(parts...).Sum(nil))
}
