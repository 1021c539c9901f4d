// Package jittest has a platform, a ledger and claims in memory, for tests of code that uses the interfaces of package
// jit. They behave like real ones: the platform says who has access at a time, the ledger refuses stale writes.
package jittest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// ErrNoPrincipal is the error for an unknown principal.
var ErrNoPrincipal = errors.New("no such principal")

// Platform is a target in memory. By default it has no native end and knows every principal.
type Platform struct {
	Traits jit.Traits
	Now    func() time.Time
	// Unknown principals fail their own change.
	Unknown map[string]bool
	// Another principals are others than they were, so their own Ensure fails and takes the access away.
	Another map[string]bool
	// Call, if set, is called before every read and write ("read", "write"), and after a write took effect ("written");
	// its error fails the call.
	Call func(what string) error
	// Notes and Advise are in every snapshot.
	Notes  []jit.Note
	Advise func(ctx context.Context, b jit.Binding) []jit.Advice
	// Unseen is in every snapshot.
	Unseen []string
	// Stale is how old the bindings of each snapshot are.
	Stale time.Duration

	mu            sync.Mutex
	past          []past
	scopes        map[string][]jit.Observed
	standing      map[string][]jit.Standing
	reads, writes int
}

var _ jit.Lagging = (*Platform)(nil)

// past is what the scopes held until a time.
type past struct {
	until  time.Time
	scopes map[string][]jit.Observed
}

// keepPast keeps what the scopes hold before they change. The caller holds the lock.
func (p *Platform) keepPast() {
	before := map[string][]jit.Observed{}
	for name, held := range p.scopes {
		before[name] = slices.Clone(held)
	}
	p.past = append(p.past, past{p.Now(), before})
}

// shown returns what a read shows of a scope. The caller holds the lock.
func (p *Platform) shown(scope string) []jit.Observed {
	as := p.Now().Add(-p.Stale)
	for _, was := range p.past {
		if was.until.After(as) {
			return slices.Clone(was.scopes[scope])
		}
	}
	return slices.Clone(p.scopes[scope])
}

// Lag returns how long a read may miss a write: a minute if reads are stale.
func (p *Platform) Lag() time.Duration {
	if p.Stale > 0 {
		return jit.CloudLag
	}
	return 0
}

// Kind returns "memory".
func (p *Platform) Kind() string { return "memory" }

// Check accepts everything and fills in the scope "all".
func (p *Platform) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	if b.Scope == "" {
		b.Scope = "all"
	}
	return b, p.Traits, nil
}

// Given returns the names as written.
func (p *Platform) Given(_ context.Context, b jit.Binding, _ bool) (jit.Given, error) {
	return jit.AsWritten(b), nil
}

// Scopes lists the scopes that hold something.
func (p *Platform) Scopes(context.Context) ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for name, held := range p.scopes {
		if len(held) > 0 {
			all = append(all, name)
		}
	}
	return all, nil
}

func (p *Platform) call(ctx context.Context, what string) error {
	if err := ctx.Err(); err != nil || p.Call == nil {
		return err
	}
	return p.Call(what)
}

// Read returns what the scope holds.
func (p *Platform) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	if err := p.call(ctx, "read"); err != nil {
		return jit.Snapshot{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reads++
	return jit.Snapshot{
		Clock:    p.Now(),
		Ours:     p.shown(scope),
		Standing: slices.Clone(p.standing[scope]),
		Notes:    p.Notes,
		Advise:   p.Advise,
		Unseen:   p.Unseen,
	}, nil
}

// Apply makes the changes. It panics if two of them are for the same grant.
func (p *Platform) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	CheckChanges(changes)
	errs := make([]error, len(changes))
	err := p.call(ctx, "write")
	if err == nil {
		p.applyAll(scope, changes, errs)
		err = p.call(ctx, "written")
	}
	if err != nil {
		return slices.Repeat([]error{err}, len(changes))
	}
	return errs
}

// CheckChanges panics if two changes are for the same grant, which no call of [jit.Platform].Apply may have.
func CheckChanges(changes []jit.Change) {
	type grant struct {
		owner string
		id    jit.ID
	}
	seen := map[grant]bool{}
	for _, c := range changes {
		g := grant{c.Access.Marker.Owner, c.Access.Marker.ID}
		if seen[g] {
			panic(fmt.Sprintf("one call of Apply has two changes of grant %s of owner %q", g.id, g.owner))
		}
		seen[g] = true
	}
}

func (p *Platform) applyAll(scope string, changes []jit.Change, errs []error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes++
	p.keepPast()
	for i, c := range changes {
		errs[i] = p.apply(scope, c)
	}
}

func (p *Platform) apply(scope string, c jit.Change) error {
	a := c.Access
	if c.Op == jit.Ensure && p.Unknown[a.Binding.Principal] {
		return fmt.Errorf("%q: %w", a.Binding.Principal, ErrNoPrincipal)
	}
	if p.scopes == nil {
		p.scopes = map[string][]jit.Observed{}
	}
	before := len(p.scopes[scope])
	kept := slices.DeleteFunc(p.scopes[scope], func(o jit.Observed) bool {
		return o.Marker.Owner == a.Marker.Owner && o.Marker.ID == a.Marker.ID
	})
	if a.NoStandingBefore && p.standing != nil && len(kept) == before {
		p.standing[scope] = slices.DeleteFunc(p.standing[scope], func(s jit.Standing) bool {
			return s.Principal == a.Binding.Principal && s.Role == a.Binding.Role
		})
	}
	if c.Op == jit.Ensure && p.Another[a.Binding.Principal] {
		p.scopes[scope] = kept
		return jit.Errorf(jit.ErrAnother, "principal", "", "%s was made anew", a.Binding.Principal)
	}
	if c.Op == jit.Ensure {
		kept = append(kept, p.observed(a))
	}
	p.scopes[scope] = kept
	return nil
}

// observed returns the binding of an access.
func (p *Platform) observed(a jit.Access) jit.Observed {
	o := jit.Observed{Marker: a.Marker, Principal: a.Binding.Principal, Role: a.Binding.Role}
	if p.Traits.Enforcement == jit.Native {
		o.End = a.Marker.Window.End
	}
	if p.Traits.NativeStart {
		o.Start = a.Marker.Window.Start
	}
	return o
}

// Allowed reports whether the platform lets principal use role on scope now.
func (p *Platform) Allowed(scope, principal, role string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Now()
	return slices.ContainsFunc(p.scopes[scope], func(o jit.Observed) bool {
		return o.Principal == principal && o.Role == role && o.Gives(now)
	}) || slices.ContainsFunc(p.standing[scope], func(s jit.Standing) bool {
		return s.Principal == principal && s.Role == role
	})
}

// Edit changes the bindings of a scope, as somebody else would.
func (p *Platform) Edit(scope string, edit func([]jit.Observed) []jit.Observed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.scopes == nil {
		p.scopes = map[string][]jit.Observed{}
	}
	p.keepPast()
	p.scopes[scope] = edit(p.scopes[scope])
}

// AddStanding gives access without an end.
func (p *Platform) AddStanding(scope string, s jit.Standing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.standing == nil {
		p.standing = map[string][]jit.Standing{}
	}
	p.standing[scope] = append(p.standing[scope], s)
}

// Strip takes end and marker off every binding of the scope, as another tool would.
func (p *Platform) Strip(scope string) {
	p.mu.Lock()
	stripped := p.scopes[scope]
	p.scopes[scope] = nil
	p.mu.Unlock()
	for _, o := range stripped {
		p.AddStanding(scope, jit.Standing{Principal: o.Principal, Role: o.Role, Detail: "stripped"})
	}
}

// Calls counts the reads and writes so far.
func (p *Platform) Calls() (reads, writes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reads, p.writes
}
