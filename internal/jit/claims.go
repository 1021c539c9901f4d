package jit

import "context"

// Claim records one grant's access where the binding itself takes no marker.
type Claim struct {
	Marker Marker
	// Object is the platform's own name of the object that gives the access. Grants of the same access share it.
	Object    string
	Principal string // canonical, as granted
	Role      string // canonical, as granted
	// Prior: the object existed before any claim on it, so it is not ours to remove.
	Prior bool
	// Ending: the grant has given the object up, and its removal is not confirmed.
	Ending bool
}

// ClaimSet is the claims on one scope at one moment.
type ClaimSet struct {
	Claims []Claim
	// Version changes with every write to the scope. It is 0 before the first.
	Version int64
}

// Claims stores claims for platforms that cannot mark bindings. A place is the platform's own name of a target, the
// same under every configuration. Implementations are safe for concurrent use by many goroutines and processes.
type Claims interface {
	// Scopes lists the scopes of a place that have claims.
	Scopes(ctx context.Context, place string) ([]string, error)

	// Places lists the places where a grant has claims.
	Places(ctx context.Context, owner string, id ID) ([]string, error)

	// ReadClaims returns the claims on one scope. A scope that was never written has none.
	ReadClaims(ctx context.Context, place, scope string) (ClaimSet, error)

	// Update puts and drops claims on one scope, all together and durably, and returns the new version. Owner, id and
	// object identify a claim: put replaces it, and dropping an absent one is success. If the version is not the
	// current one, nothing is written and the error is [ErrStale].
	Update(ctx context.Context, place, scope string, version int64, put, drop []Claim) (int64, error)
}
