package jit

import "context"

// Mark is what is remembered of one binding where nothing can be written on the binding itself.
type Mark struct {
	Marker Marker
	// Object is the platform's own name of what gives the access; grants of the same access share it.
	Object    string
	Principal string // canonical, as it was granted
	Role      string // canonical, as it was granted
	// Prior: the object was there before any mark on it, so it is not ours to remove.
	Prior bool
	// Ending: the grant has no claim any more, and its removal has not been confirmed.
	Ending bool
}

// Marked are the marks of one scope at one moment.
type Marked struct {
	Marks []Mark
	// Version changes with every write to the scope; 0 before the first.
	Version int64
}

// Marks remember bindings for platforms on which nothing can be marked. A place is the
// platform's own name of a target, the same under every configuration. Implementations are
// safe for concurrent use by many goroutines and processes.
type Marks interface {
	// Scopes lists the scopes of a place on which there are marks.
	Scopes(ctx context.Context, place string) ([]string, error)

	// Places lists the places at which there are marks of a grant.
	Places(ctx context.Context, owner string, id ID) ([]string, error)

	// Marked returns the marks of one scope; a scope that was never written to has none.
	Marked(ctx context.Context, place, scope string) (Marked, error)

	// Mark puts and drops marks of one scope, all together and durably, and returns the new version. A
	// mark is known by its owner, id and object: put replaces it, dropping an absent one is success.
	// If the scope is not at the version that was read, nothing is written and the error is [ErrStale].
	Mark(ctx context.Context, place, scope string, version int64, put, drop []Mark) (int64, error)
}

// Remembering is a platform that needs [Marks]; without them it gives no access.
type Remembering interface {
	Platform
	// Remember hands over the marks, once, before anything else is called.
	Remember(m Marks)
}
