package jit

import (
	"cmp"
	"context"
	"strings"
	"time"
)

// Platform is one configured target where access lives. It works on one scope at a time. Implementations are safe for
// concurrent use, honour their context, and leave every binding without the marker in question unchanged, even among
// concurrent writers.
type Platform interface {
	// Kind returns the platform's name, such as "ssh".
	Kind() string

	// Check returns a binding in its canonical form, with the scope filled in if the target has only one, and the
	// traits that are known without a call. Its errors are *[Error] of the kind [ErrInvalid] that name principal, role
	// or scope.
	Check(b Binding) (Binding, Traits, error)

	// Given returns what a binding that Check has accepted gives. With ask it looks up the names that only the platform
	// knows; it only reads. Without ask it makes no call and marks the names it cannot know as unresolved.
	Given(ctx context.Context, b Binding, ask bool) (Given, error)

	// Scopes lists every scope of the target on which a binding of any owner of ours is or may be.
	Scopes(ctx context.Context) ([]string, error)

	// Read returns the state of one scope: all bindings with a marker, of any owner, and standing access.
	Read(ctx context.Context, scope string) (Snapshot, error)

	// Apply carries out all changes on one scope together and returns one error for each, nil for success. No two
	// changes of one call are for the same grant, and each marker has passed [Marker.Check]. A change that fails does
	// not stop the others. Each change is idempotent: see [Op]. An Ensure is refused with [ErrSkew] if the platform's
	// clock is known to disagree; a Remove never is.
	Apply(ctx context.Context, scope string, changes []Change) []error
}

// Services are what the program provides to the platforms that it opens.
type Services struct {
	// Now is the clock.
	Now func() time.Time
	// Claims remembers bindings on which a platform can write no marker. Without it the platform refuses such bindings.
	Claims Claims
	// Tidied, if not nil, is called with the markers of ended bindings that a write removed besides its changes.
	Tidied func(ctx context.Context, gone []Marker)
	// Warn, if not nil, receives what a user must know of a change that was made. Without it, warnings go to the log.
	Warn func(text string)
	// UserAgent says in requests which program makes them; empty is [UserAgent] without a version.
	UserAgent string
}

// Agent returns the user agent of requests.
func (s Services) Agent() string { return cmp.Or(s.UserAgent, UserAgent("", "")) }

// UserAgent returns the user agent of a version of this program, with a text that the user appends. Line breaks and
// other characters that a header cannot hold are left out.
func UserAgent(version, appended string) string {
	agent := "terraform-provider-jit"
	if version != "" {
		agent += "/" + version
	}
	visible := func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}
	return strings.TrimSpace(agent + " " + strings.Map(visible, appended))
}

// Describer is a platform whose Check returns bounds only; it must be asked for the actual traits of a binding.
type Describer interface {
	Platform
	// Describe returns the current traits of a binding that Check has accepted. It only reads.
	Describe(ctx context.Context, b Binding) (Traits, error)
}

// wrapper is a platform around another one.
type wrapper interface{ Unwrap() Platform }

// Find returns the first of p, the platform that p wraps, and so on, that is a T.
func Find[T Platform](p Platform) (found T, ok bool) {
	for {
		if found, ok = p.(T); ok {
			return found, true
		}
		w, wraps := p.(wrapper)
		if !wraps {
			return found, false
		}
		p = w.Unwrap()
	}
}

// Op is the operation of a [Change].
type Op int

// The two operations.
const (
	// Ensure leaves exactly one binding with the marker's owner and id on the scope, with
	// the access and the window asked for; one that is there is corrected, copies are removed.
	Ensure Op = iota + 1
	// Remove leaves none with that owner and id; absent is success. Only the marker's
	// owner and id are needed; the rest is used where it is known. An error that wraps
	// [ErrRemains] means that the access is over and only what gives none could not be cleaned up.
	Remove
)

// String names the operation.
func (o Op) String() string {
	if o == Remove {
		return "remove"
	}
	return "ensure"
}

// Access is the access that a platform must hold for one grant.
type Access struct {
	Marker            Marker
	Binding           Binding
	TerminateSessions bool
	// NoStandingBefore is [Grant.NoStandingBefore]. Only with it, and only if no binding bears the marker, may a
	// platform treat the same access without an end and a marker as this binding, stripped.
	NoStandingBefore bool
}

// Change is one operation on one scope.
type Change struct {
	Op     Op
	Access Access
	// Held: according to the record the platform holds the access. A platform that then finds nothing at all, an empty
	// directory for example, must not conclude that the access is absent.
	Held bool
	// GrantedAt is when the platform confirmed the access, according to the record; zero if it has not. An account that
	// was made later is another one.
	GrantedAt time.Time
	// Sole reports whether, according to the record, the principal has had no other grant on the scope since this one
	// began, so that nothing there was shared. It asks the ledger. It is nil if nobody can tell.
	Sole func() bool
}

// Snapshot is the state of one scope as its platform reported it.
type Snapshot struct {
	// Clock is the platform's own time of the read; zero if it gives none.
	Clock time.Time
	// Ours holds every binding with a marker, of any owner.
	Ours []Observed
	// Standing holds all other access: without an end, or with one that is too far ahead for [Records] to excuse it.
	Standing []Standing
	// Notes are for the reviewer of a new grant on the scope.
	Notes []Note
	// Advise returns warnings for the reviewer of a new grant on the scope, such as a role that does not exist. It only
	// reads, and leaves out what it cannot read. It is nil if the platform has no advice.
	Advise func(ctx context.Context, b Binding) []Advice
	// Another reports whether the principal of a grant without a binding is not the account any more to which it was
	// given: that was deleted. It makes no call. It is nil if the platform cannot tell.
	Another func(g Grant) bool
	// Unseen names access of the scope that could not be read, such as bindings that the operator may not list. The
	// rest of the snapshot is correct.
	Unseen []string
	// index is set by [Snapshot.Indexed].
	index *index
}

// Note is something about a scope, such as how little room there is for more grants.
type Note struct {
	// Principal restricts the note to grants of that principal; empty means all.
	Principal string
	// Summary is the Text in a few words; empty means that little room is left.
	Summary string
	Text    string
}

// Advice is a warning about one binding.
type Advice struct {
	// Attribute is the user's name of the value that it is about ("principal", "role").
	Attribute string
	// Title is short and general, Text specific, with what to do.
	Title, Text string
}

// Observed is one binding with a marker, as found.
type Observed struct {
	Marker    Marker
	Principal string // canonical; empty if it gives nobody access
	Role      string // canonical; empty if unknown
	// Gone: the account of the principal was deleted. An account made anew under its name is another one. Principal is
	// empty if the platform no longer tells the name.
	Gone bool
	// Unsure: the account is too new for the platform to know it everywhere, so Principal need not be that of the grant.
	Unsure bool
	// Beyond describes what the binding gives besides the role, since somebody has changed it; empty if that is nothing.
	Beyond string
	// Covers and Members are those of [Standing].
	Covers, Members string
	// Start is the future beginning that the platform itself enforces; zero if the binding has none.
	Start time.Time
	// End is the end that the platform itself enforces; zero if the binding has none.
	End time.Time
	// Detail says where it is, as in [Standing].
	Detail string
	// Damage describes other changes of the binding since it was written; empty if there are none.
	Damage string
}

// to reports whether the binding is of a principal, or of the role that it is a session of.
func (o *Observed) to(principal string) bool {
	return o.Principal == principal || o.Members != "" && strings.HasPrefix(principal, o.Members)
}

// Gives reports whether the binding gives somebody access at a time.
func (o Observed) Gives(now time.Time) bool {
	return o.Principal != "" && !o.Gone && !now.Before(o.Start) && (o.End.IsZero() || now.Before(o.End))
}
