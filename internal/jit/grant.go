package jit

import (
	"cmp"
	"strings"
	"time"
)

// Enforcement says who ends the access at the end of the window.
type Enforcement string

// The two kinds of enforcement.
const (
	// Native: the platform itself ends access, with every process of ours dead.
	Native Enforcement = "native"
	// Sweeper: something of ours must remove the binding.
	Sweeper Enforcement = "sweeper"
)

// Unlimited is the session tail if a session opened inside the window may last for ever.
const Unlimited = time.Duration(-1)

// FormatTail writes a session tail: a duration, or "unlimited".
func FormatTail(d time.Duration) string {
	if d == Unlimited {
		return "unlimited"
	}
	return FormatDuration(d)
}

// Traits describe the life of a binding on its platform, as known without a call.
type Traits struct {
	Enforcement Enforcement
	// NativeStart: the platform itself begins access at the start of the window.
	NativeStart bool
	// SessionTail is the longest time a session can outlive the window, or [Unlimited].
	SessionTail time.Duration
	// CanTerminate: open sessions can be ended on revoke.
	CanTerminate bool
	// Remembered: only the ledger distinguishes the binding from those of others.
	Remembered bool
	// StrippedTo is the role that is left if somebody takes marker and end, which are one, off the binding; empty if a
	// binding cannot lose both together.
	StrippedTo string
	// MinTTL and MaxTTL bound the length of a window on the platform; zero if the platform has no bound.
	MinTTL, MaxTTL time.Duration
	// MaxAhead is the longest time from now to the end of a window, on platforms that forget the marker of a grant;
	// zero if the platform has no bound.
	MaxAhead time.Duration
	// Caution tells a reviewer why the grant may give nothing; it may be empty.
	Caution string
	// PrincipalName is another name of the principal for display, such as the comment of a public key; it may be empty.
	// Anyone can choose it, so nothing may depend on it.
	PrincipalName string
}

// State is the state of a grant at one moment; it is computed, never stored.
type State string

// The states of a grant.
const (
	// StatePending: intended, but no platform has confirmed it: an attempt is under way, or its outcome is unknown.
	StatePending State = "pending"
	// StateScheduled: its window has not begun.
	StateScheduled State = "scheduled"
	// StateActive: inside its window.
	StateActive State = "active"
	// StateExpired: its window is over.
	StateExpired State = "expired"
	// StateRevoked: somebody ended it before its window was over.
	StateRevoked State = "revoked"
	// StateRequested: it was asked for, waits for people to approve it, and gives nothing.
	StateRequested State = "requested"
	// StateFailed: the attempt to grant is known to have given nothing.
	StateFailed State = "failed"
)

// States returns all states, in the order of a grant's life.
func States() []State {
	return []State{StateRequested, StatePending, StateScheduled, StateActive, StateExpired, StateRevoked, StateFailed}
}

// Terms are the optional terms of a request. The record has them as the request does.
type Terms struct {
	// StartBy: after it the grant may no longer begin.
	StartBy           time.Time `json:"start_by,omitzero"`
	TerminateSessions bool      `json:"terminate_sessions"`
	// Requester is the name of the person who asks; empty if nobody says who.
	Requester string `json:"requester,omitempty"`
	// BreakGlass asks to begin without approval.
	BreakGlass bool `json:"break_glass,omitempty"`
}

// maxRequester is the length of the longest requester, in bytes.
const maxRequester = 200

// CheckRequester accepts the name of a requester that a reviewer can read: not blank, one line, at most 200 bytes.
func CheckRequester(name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return Invalid("requester", `write the name of a jit_person, for example requester = "alice@example.com", or leave it out`,
			"the requester is empty")
	case len(name) > maxRequester:
		return Invalid("requester", "shorten it", "the requester has %d bytes; at most %d are kept", len(name),
			maxRequester)
	}
	return CheckText("requester", name)
}

// Grant is the ledger's record of one grant: facts only. All times are UTC;
// a zero time means that it has not happened.
type Grant struct {
	ID      ID     `json:"id"`
	Owner   string `json:"owner"`
	Binding        // canonical, as Platform.Check returned it
	// Reason is empty if the record was rebuilt from the grant's marker, which holds none; see [Grant.ReasonText].
	Reason  string `json:"reason"`
	Renewal int64  `json:"renewal"`

	// TTL is the requested length; zero if the request sets an end.
	TTL TTL `json:"ttl,omitzero"`
	// Window is the time of access. It is fixed when the grant is first applied.
	Window
	// StartAsked is the beginning that the request asks for; see [StartAsked].
	StartAsked string `json:"-"`
	Terms
	// Policy is the name of the policy that permitted it; empty if there was none.
	Policy      string        `json:"policy,omitempty"`
	Enforcement Enforcement   `json:"enforcement"`
	SessionTail time.Duration `json:"-"`
	// PrincipalName is [Traits].PrincipalName as it was when the grant was first applied.
	PrincipalName string `json:"principal_name,omitempty"`
	// NoStandingBefore: [Traits].StrippedTo is set, and the principal had no such access of its own when the grant was
	// requested, or its record rebuilt. Access without an end in the place of the grant's binding is then a stripped
	// binding.
	NoStandingBefore bool `json:"-"`

	// RequestedAt: the intent was recorded. GrantedAt: the platform confirmed the access.
	// FailedAt: the attempt to grant ended in the error Failure and is known to have given nothing.
	RequestedAt time.Time `json:"requested_at,omitzero"`
	GrantedAt   time.Time `json:"granted_at,omitzero"`
	FailedAt    time.Time `json:"failed_at,omitzero"`
	Failure     string    `json:"failure,omitempty"`
	// Awaits says whose approval is missing: a request that gave nothing waits for it, and a grant that broke the glass
	// began without it. It is empty otherwise.
	Awaits string `json:"awaits,omitempty"`
	// SignedOffAt: SignedOffBy signed off that the grant began without approval.
	SignedOffAt time.Time `json:"signed_off_at,omitzero"`
	SignedOffBy string    `json:"signed_off_by,omitempty"`
	// RevokedAt: somebody ended it early, with RevokedBy and RevokeReason.
	RevokedAt    time.Time `json:"revoked_at,omitzero"`
	RevokedBy    string    `json:"revoked_by,omitempty"`
	RevokeReason string    `json:"revoke_reason,omitempty"`
	// EndedAt: the platform confirmed that the access is over.
	EndedAt time.Time `json:"ended_at,omitzero"`
	// Remains describes what an ended grant has left on the platform and gives no access, such as a role without
	// members. A sweeper tries to clean it up until it is gone.
	Remains string `json:"remains,omitempty"`
	// AnnouncedEnd is the end whose ends_soon event has been recorded.
	AnnouncedEnd time.Time `json:"-"`
	// OpenDrift is the recorded drift that is not recorded as repaired; empty if there is none.
	OpenDrift DriftKind `json:"-"`

	// Holder counts the resources that have held the grant: adopting a live grant raises it, and only the newest
	// holder's delete ends the grant. The delete makes it negative: see [Grant.Destroyed].
	Holder int64 `json:"-"`
	// Version counts the writes of this record; the ledger refuses a write of another version ([ErrStale]).
	Version int64 `json:"-"`
}

// lostReason stands for the reason of a grant that is lost.
const lostReason = "unknown: the record was lost and rebuilt from the marker on the target"

// ReasonLost reports whether the record was rebuilt from the grant's marker and nobody has asked for the grant again
// since.
func (g Grant) ReasonLost() bool { return g.Reason == "" }

// YieldsTo reports whether a record makes way for that of another owner: an id is made of the owner's name and the
// reason, so a record without a reason under another owner says nothing about it. Of two records without a reason, the
// owner whose name sorts first has the id.
func (g Grant) YieldsTo(other Grant) bool {
	return g.ReasonLost() && g.ID == other.ID && g.Owner != other.Owner && (!other.ReasonLost() || g.Owner > other.Owner)
}

// ReasonText returns the reason, or words for a lost one.
func (g Grant) ReasonText() string { return cmp.Or(g.Reason, lostReason) }

// RecordedReason returns the reason that a ledger or a Terraform state holds; empty if the text stands for a lost one.
// States hold the words of [Grant.ReasonText], ledgers before 0.1.0 other words.
func RecordedReason(text string) string {
	if text == lostReason || text == "unknown: the record was lost and made again from the marker on the target" {
		return ""
	}
	return text
}

// Over reports whether the grant has ended: revoked, or its window has passed, or its end is recorded, even if a wrong
// clock ended it early. An ended grant never gives access again.
func (g Grant) Over(now time.Time) bool {
	return !g.RevokedAt.IsZero() || !g.EndedAt.IsZero() || g.Window.Over(now)
}

// Failed reports whether the record is closed because its attempt gave nothing. Nothing of it is due or outstanding,
// and the same grant may be requested again.
func (g Grant) Failed() bool {
	return !g.FailedAt.IsZero() && g.GrantedAt.IsZero() && g.RevokedAt.IsZero()
}

// Unsigned reports whether the grant began without approval and nobody has signed that off yet.
func (g Grant) Unsigned() bool {
	return g.BreakGlass && g.Awaits != "" && !g.Failed() && g.SignedOffAt.IsZero()
}

// Waits reports whether the request waits for approval at now and may still begin.
func (g Grant) Waits(now time.Time) bool {
	return g.Failed() && g.Awaits != "" && (g.StartBy.IsZero() || !now.After(g.StartBy)) &&
		(!g.TTL.IsZero() || now.Before(g.End))
}

// Lapsed reports whether the request waited for approval until it could no longer begin, and nothing has recorded that
// yet.
func (g Grant) Lapsed(now time.Time) bool { return g.Failed() && g.Awaits != "" && !g.Waits(now) }

// Destroyed reports whether Terraform destroyed the resource that held the grant. If its block comes back, that is a
// new request.
func (g Grant) Destroyed() bool { return g.Holder < 0 }

// Live reports whether the grant gives access or may still do so: it has not ended and has not failed. It may be
// pending or scheduled.
func (g Grant) Live(now time.Time) bool { return !g.Over(now) && !g.Failed() }

// Deferred reports whether the grant was to begin later than it was requested.
func (g Grant) Deferred() bool { return g.Start.After(g.RequestedAt) }

// startAtOnce is the recorded beginning of a request that sets none.
const startAtOnce = "at once"

// StartAsked returns the recorded form of the beginning that a request asks for; zero is at once. Records of programs
// before 0.1.0 hold none.
func StartAsked(at time.Time) string { return cmp.Or(FormatTime(at), startAtOnce) }

// AskedStart returns the beginning that the request asks for; zero if the grant was to begin at once. If the record
// does not hold it, it follows from the window.
func (g Grant) AskedStart() time.Time {
	if at, err := time.Parse(time.RFC3339, g.StartAsked); err == nil {
		return at
	}
	if g.StartAsked != startAtOnce && g.Deferred() {
		return g.Start
	}
	return time.Time{}
}

// DueToStart reports whether a deferred grant should be put on its platform now.
func (g Grant) DueToStart(now time.Time) bool {
	return g.Live(now) && g.Deferred() && g.GrantedAt.IsZero() && g.EndedAt.IsZero() && !now.Before(g.Start) &&
		(g.StartBy.IsZero() || !now.After(g.StartBy))
}

// CleanupOpen reports whether the access is confirmed to be over and remains of the grant are still to be cleaned up.
func (g Grant) CleanupOpen() bool { return !g.EndedAt.IsZero() && g.Remains != "" }

// Outstanding reports whether the grant is over and its platform has not yet confirmed that it is gone.
func (g Grant) Outstanding(now time.Time) bool {
	return g.Over(now) && g.EndedAt.IsZero() && !g.Failed()
}

// ActualEnd returns when access ended or will end: at the revocation, if there was one, else with the window.
func (g Grant) ActualEnd() time.Time {
	if !g.RevokedAt.IsZero() {
		return g.RevokedAt
	}
	return g.End
}

// DueAt returns when the grant next needs a sweeper: at its start if a sweeper must start it, else at its end; zero if
// its end is confirmed and cleaned up, or if it has failed.
func (g Grant) DueAt() time.Time {
	switch {
	case !g.EndedAt.IsZero() && !g.CleanupOpen(), g.Failed():
		return time.Time{}
	case g.EndedAt.IsZero() && g.RevokedAt.IsZero() && g.Deferred() && g.GrantedAt.IsZero() && g.Start.Before(g.End):
		return g.Start
	}
	return g.ActualEnd()
}

// State computes what the grant is at now.
func (g Grant) State(now time.Time) State {
	switch {
	case !g.RevokedAt.IsZero():
		return StateRevoked
	case g.Waits(now):
		return StateRequested
	case g.Failed():
		return StateFailed
	case g.Over(now):
		return StateExpired
	case now.Before(g.Start):
		return StateScheduled
	case g.GrantedAt.IsZero():
		return StatePending
	default:
		return StateActive
	}
}

// Marker returns the marker that the grant's binding bears.
func (g Grant) Marker() Marker { return Marker{Owner: g.Owner, ID: g.ID, Window: g.Window} }

// Held reports whether the platform has confirmed the access and its end is not recorded.
func (g Grant) Held() bool { return !g.GrantedAt.IsZero() && g.EndedAt.IsZero() }

// Access returns the access that the platform must hold for the grant.
func (g Grant) Access() Access {
	return Access{
		Marker: g.Marker(), Binding: g.Binding, TerminateSessions: g.TerminateSessions,
		NoStandingBefore: g.NoStandingBefore && !g.Failed(),
	}
}
