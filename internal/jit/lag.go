package jit

import "time"

// Lagging is a platform whose reads may miss recent writes, also those of other processes.
type Lagging interface {
	Platform
	// Lag returns how long after a write a read may still show the scope as it was before.
	Lag() time.Duration
}

// CloudLag is the lag of a cloud's API.
const CloudLag = time.Minute

// Lag returns how long the reads of a platform may lag behind a write; zero if they never do.
func Lag(p Platform) time.Duration {
	if l, ok := Find[Lagging](p); ok {
		return l.Lag()
	}
	return 0
}

// Staleable reports whether a read that misses recent writes of ours can show drift of this kind. Such a read shows an
// earlier state of the grant, never access that the grant did not give.
func (k DriftKind) Staleable() bool {
	switch k {
	case DriftMissing, DriftEndLater, DriftEndSooner, DriftDamaged, DriftCopied, DriftTooEarly, DriftCameBack:
		return true
	}
	return false
}

// Wrote reports whether a write on the target goes with the event, or may.
func (k EventKind) Wrote() bool {
	switch k {
	case EventRequested, EventGranted, EventGrantFailed, EventAdopted, EventChanged, EventExtended, EventRepaired,
		EventRepairFailed, EventExpired, EventRevokeAsked, EventRevoked, EventRevokeFailed, EventCleanedUp:
		return true
	}
	return false
}
