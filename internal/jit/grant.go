package jit

import (
	"cmp"
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

// Unlimited is the session tail of a platform on which a session opened inside
// the window may live for ever.
const Unlimited = time.Duration(-1)

// FormatTail writes a session tail: a duration, or "unlimited".
func FormatTail(d time.Duration) string {
	if d == Unlimited {
		return "unlimited"
	}
	return FormatDuration(d)
}

// Traits is what is known of a binding's life on its platform without a call.
type Traits struct {
	Enforcement Enforcement
	// NativeStart: the platform itself begins access at the start of the window.
	NativeStart bool
	// SessionTail is the longest time a session can outlive the window, or [Unlimited].
	SessionTail time.Duration
	// CanTerminate: open sessions can be ended on revoke.
	CanTerminate bool
	// Remembered: only the ledger can tell the binding from those of others.
	Remembered bool
	// StrippedTo is the role that is left where marker and end are one, and somebody takes them off the binding;
	// empty where a binding cannot lose its marker with its end.
	StrippedTo string
	// MinTTL and MaxTTL bound the length of a window on the platform; zero where it has no bound of its own.
	MinTTL, MaxTTL time.Duration
	// Caution says why the access might give nothing, for whoever reviews the grant; empty for nothing.
	Caution string
	// PrincipalName is what people call the principal, such as the comment of a public key; empty if it has no other
	// name. It is for display only: anyone can choose it.
	PrincipalName string
}

// State is what a grant is at one moment; it is computed, never stored.
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
	// StateFailed: the attempt to grant is known to have given nothing.
	StateFailed State = "failed"
)

// States returns all states, in the order of a grant's life.
func States() []State {
	return []State{StatePending, StateScheduled, StateActive, StateExpired, StateRevoked, StateFailed}
}

// Terms are the optional terms of a request. The record has them as the request does.
type Terms struct {
	// StartBy: after it the grant may no longer begin.
	StartBy           time.Time `json:"start_by,omitzero"`
	TerminateSessions bool      `json:"terminate_sessions"`
}

// Grant is the ledger's record of one grant: facts only. All times are UTC;
// a zero time means that it has not happened.
type Grant struct {
	ID      ID     `json:"id"`
	Owner   string `json:"owner"`
	Binding        // canonical, as Platform.Check returned it
	// Reason is empty where the record was rebuilt from the grant's marker, which holds none; see [Grant.ReasonText].
	Reason  string `json:"reason"`
	Renewal int64  `json:"renewal"`

	// TTL is the length that the user asked for; zero when they set an end instead.
	TTL TTL `json:"ttl,omitzero"`
	// Window is the time of access. It is fixed when the grant is first applied.
	Window
	// StartAsked is the beginning that the request asks for; see [StartAsked].
	StartAsked string `json:"-"`
	Terms
	// Policy is the name of the policy that permitted it; empty when none governs.
	Policy      string        `json:"policy,omitempty"`
	Enforcement Enforcement   `json:"enforcement"`
	SessionTail time.Duration `json:"-"`
	// PrincipalName is [Traits].PrincipalName as it was when the grant was first applied.
	PrincipalName string `json:"principal_name,omitempty"`
	// NoStandingBefore: where [Traits].StrippedTo is set the principal was seen to have no such access of its own when
	// the grant was asked for, or its record made again from its marker. Access without an end that is found in the
	// place of the grant's binding is then what somebody made of that.
	NoStandingBefore bool `json:"-"`

	// RequestedAt: the intent was recorded. GrantedAt: the platform confirmed the access.
	// FailedAt: the attempt to grant ended in the error Failure and is known to have given nothing.
	RequestedAt time.Time `json:"requested_at,omitzero"`
	GrantedAt   time.Time `json:"granted_at,omitzero"`
	FailedAt    time.Time `json:"failed_at,omitzero"`
	Failure     string    `json:"failure,omitempty"`
	// RevokedAt: somebody ended it early, with RevokedBy and RevokeReason.
	RevokedAt    time.Time `json:"revoked_at,omitzero"`
	RevokedBy    string    `json:"revoked_by,omitempty"`
	RevokeReason string    `json:"revoke_reason,omitempty"`
	// EndedAt: the platform confirmed that the access is over.
	EndedAt time.Time `json:"ended_at,omitzero"`
	// Remains says what of an ended grant is left on the platform and gives no access, such as a role without members;
	// empty when nothing is. A sweeper tries to clean it up until it is gone.
	Remains string `json:"remains,omitempty"`
	// AnnouncedEnd is the end of which it was announced that it is near.
	AnnouncedEnd time.Time `json:"-"`
	// OpenDrift is the drift that is recorded as found and not yet as put right; empty is none.
	OpenDrift DriftKind `json:"-"`

	// Holder counts the owners of the grant in configurations: whoever adopts a live grant
	// raises it, and only the newest holder's delete ends the grant. That makes it negative: see [Grant.Destroyed].
	Holder int64 `json:"-"`
	// Version counts the writes of this record; the ledger refuses a write of another version ([ErrStale]).
	Version int64 `json:"-"`
}

// lostReason stands for the reason of a grant that is lost.
const lostReason = "unknown: the record was lost and rebuilt from the marker on the target"

// ReasonLost reports whether the record was rebuilt from the grant's marker and nobody has asked for the grant again
// since.
func (g Grant) ReasonLost() bool { return g.Reason == "" }

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

// Over reports whether the grant has ended: revoked, or its window has passed.
// An ended grant never gives access again.
func (g Grant) Over(now time.Time) bool { return !g.RevokedAt.IsZero() || g.Window.Over(now) }

// Failed reports whether the record is closed because its attempt is known to have given nothing. It is no access:
// nothing of it is due or outstanding, and the same grant may be asked for again.
func (g Grant) Failed() bool {
	return !g.FailedAt.IsZero() && g.GrantedAt.IsZero() && g.RevokedAt.IsZero()
}

// Destroyed reports whether Terraform destroyed the resource that held the grant. Its block, coming back, is a new ask.
func (g Grant) Destroyed() bool { return g.Holder < 0 }

// Live reports whether the grant gives access or may still do so: it has not ended and has not failed. It may be
// pending or scheduled.
func (g Grant) Live(now time.Time) bool { return !g.Over(now) && !g.Failed() }

// Deferred reports whether the grant was meant to begin later than it was asked for.
func (g Grant) Deferred() bool { return g.Start.After(g.RequestedAt) }

// startAtOnce is the recorded beginning of a request that sets none.
const startAtOnce = "at once"

// StartAsked returns the recorded form of the beginning that a request asks for; zero is at once. Records of programs
// before 0.1.0 hold none.
func StartAsked(at time.Time) string { return cmp.Or(FormatTime(at), startAtOnce) }

// AskedStart returns the beginning that the request asks for; zero if the grant was to begin at once. If the record does
// not hold it, the window tells.
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

// ActualEnd is when access ended or will end: the revocation, if there was one. (A grant whose
// window has passed is never revoked.)
func (g Grant) ActualEnd() time.Time {
	if !g.RevokedAt.IsZero() {
		return g.RevokedAt
	}
	return g.End
}

// DueAt is when the grant next needs a sweeper: at its start, if that is still to be made, else at its end; zero when
// its end is confirmed and cleaned up, or it has failed.
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
	case g.Failed():
		return StateFailed
	case g.Window.Over(now):
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

// Access returns what the platform has to hold for the grant.
func (g Grant) Access() Access {
	return Access{Marker: g.Marker(), Binding: g.Binding, TerminateSessions: g.TerminateSessions, NoStandingBefore: g.NoStandingBefore && !g.Failed()}
}
