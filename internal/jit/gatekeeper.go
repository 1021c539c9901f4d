package jit

import "context"

// Gatekeeper is a platform on which people can decide whether a grant begins, in the platform's own way.
type Gatekeeper interface {
	Platform
	// Asks reports whether people decide on this target. If not, Ask is never called.
	Asks() bool
	// Ask puts a grant before those who decide, unless that has been done, and returns what they have decided so far. An approval
	// begins the access. It is idempotent.
	Ask(ctx context.Context, a Access) (Decision, error)
}

// Decision is what people have decided on a grant.
type Decision struct {
	// Window is the time of access, counted from the approval; zero while nobody has approved it.
	Window Window
	// Denied says why there will be no access, in words; empty when it may still be approved, or was.
	Denied string
	// By is who approved or denied it.
	By string
}

// Asks reports whether people decide on a platform whether a grant begins.
func Asks(p Platform) (k Gatekeeper, asks bool) {
	if p == nil {
		return nil, false
	}
	k, ok := Find[Gatekeeper](p)
	return k, ok && k.Asks()
}
