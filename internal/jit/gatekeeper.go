package jit

import "context"

// Gatekeeper is a platform with its own approval process: people decide there whether a grant begins.
type Gatekeeper interface {
	Platform
	// Asks reports whether people decide on this target. If not, Ask is never called.
	Asks() bool
	// Ask requests approval of a grant, unless it has been requested, and returns the decision so far. An approval
	// begins the access. Ask is idempotent.
	Ask(ctx context.Context, a Access) (Decision, error)
}

// Decision is the state of a request for approval.
type Decision struct {
	// Window is the time of access, counted from the approval; zero until then.
	Window Window
	// Denied says why there will be no access; empty if the grant is approved or may still be.
	Denied string
	// By names the person who approved or denied it.
	By string
}

// Asks reports whether grants on a platform need its own approval, and returns the [Gatekeeper].
func Asks(p Platform) (k Gatekeeper, asks bool) {
	if p == nil {
		return nil, false
	}
	k, ok := Find[Gatekeeper](p)
	return k, ok && k.Asks()
}
