package jit

import "context"

// Claim is what is remembered of one binding where nothing can be written on the binding itself.
type Claim struct {
	Marker Marker
	// Object is the platform's own name of what gives the access; grants of the same access share it.
	Object    string
	Principal string // canonical, as it was granted
	Role      string // canonical, as it was granted
	// Prior: the object was there before any claim on it, so it is not ours to remove.
	Prior bool
	// Ending: the grant has no claim any more, and its removal has not been confirmed.
	Ending bool
}

// ClaimSet holds the claims on one scope at one moment.
type ClaimSet struct {
	Claims []Claim
	// Version changes with every write to the scope; 0 before the first.
	Version int64
}

// Claims remember bindings for platforms on which nothing can be marked. A place is the
// platform's own name of a target, the same under every configuration. Implementations are
// safe for concurrent use by many goroutines and processes.
type Claims interface {
	// Scopes lists the scopes of a place on which there are claims.
	Scopes(ctx context.Context, place string) ([]string, error)

	// Places lists the places at which a grant has claims.
	Places(ctx context.Context, owner string, id ID) ([]string, error)

	// ReadClaims returns the claims on one scope; a scope that was never written to has none.
	ReadClaims(ctx context.Context, place, scope string) (ClaimSet, error)

	// Update puts and drops claims on one scope, all together and durably, and returns the new version. A
	// claim is known by its owner, id and object: put replaces it, dropping an absent one is success.
	// If the scope is not at the version that was read, nothing is written and the error is [ErrStale].
	Update(ctx context.Context, place, scope string, version int64, put, drop []Claim) (int64, error)
}
