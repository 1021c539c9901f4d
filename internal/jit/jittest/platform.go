// Package jittest has a platform and a ledger in memory, for tests of what stands
// on the seams of package jit. Both decide rather than record: the platform says
// who has access at a time, the ledger refuses stale writes.
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

// ErrNoPrincipal is what the platform answers for a principal that it does not have.
var ErrNoPrincipal = errors.New("no such principal")

// Platform is a target in memory. Its zero value has no native end and every principal.
type Platform struct {
	Traits jit.Traits
	Now    func() time.Time
	// Unknown principals fail their own change.
	Unknown map[string]bool
	// Call, if set, is asked before every read and write ("read", "write"), and after a
	// write took effect ("written"); its error fails the call.
	Call func(what string) error
	// Notes and Advise are in every snapshot.
	Notes  []jit.Note
	Advise func(ctx context.Context, b jit.Binding) []jit.Advice
	// Unseen is in every snapshot.
	Unseen []string

	mu            sync.Mutex
	scopes        map[string][]jit.Observed
	standing      map[string][]jit.Standing
	reads, writes int
}

var _ jit.Platform = (*Platform)(nil)

// Kind returns "memory".
func (p *Platform) Kind() string { return "memory" }

// Check accepts everything and fills in the scope "all".
func (p *Platform) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	if b.Scope == "" {
		b.Scope = "all"
	}
	return b, p.Traits, nil
}

// Given returns what is written.
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
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.Call == nil {
		return nil
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
		Ours:     append([]jit.Observed(nil), p.scopes[scope]...),
		Standing: append([]jit.Standing(nil), p.standing[scope]...),
		Notes:    p.Notes,
		Advise:   p.Advise,
		Unseen:   p.Unseen,
	}, nil
}

// Apply makes the changes.
func (p *Platform) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	errs := make([]error, len(changes))
	fail := func(err error) []error {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	if err := p.call(ctx, "write"); err != nil {
		return fail(err)
	}
	p.mu.Lock()
	p.writes++
	for i, c := range changes {
		errs[i] = p.apply(scope, c)
	}
	p.mu.Unlock()
	if err := p.call(ctx, "written"); err != nil {
		return fail(err)
	}
	return errs
}

func (p *Platform) apply(scope string, c jit.Change) error {
	if c.Op == jit.Ensure && p.Unknown[c.Access.Binding.Principal] {
		return fmt.Errorf("%q: %w", c.Access.Binding.Principal, ErrNoPrincipal)
	}
	if p.scopes == nil {
		p.scopes = map[string][]jit.Observed{}
	}
	var kept []jit.Observed
	for _, o := range p.scopes[scope] {
		if o.Marker.Owner != c.Access.Marker.Owner || o.Marker.ID != c.Access.Marker.ID {
			kept = append(kept, o)
		}
	}
	if c.Access.NoStandingBefore && p.standing != nil && len(kept) == len(p.scopes[scope]) {
		p.standing[scope] = slices.DeleteFunc(p.standing[scope], func(s jit.Standing) bool {
			return s.Principal == c.Access.Binding.Principal && s.Role == c.Access.Binding.Role
		})
	}
	if c.Op == jit.Ensure {
		o := jit.Observed{Marker: c.Access.Marker, Principal: c.Access.Binding.Principal, Role: c.Access.Binding.Role}
		if p.Traits.Enforcement == jit.Native {
			o.End = c.Access.Marker.Window.End
		}
		if p.Traits.NativeStart {
			o.Start = c.Access.Marker.Window.Start
		}
		kept = append(kept, o)
	}
	p.scopes[scope] = kept
	return nil
}

// Allowed says whether the platform lets principal use role on scope now.
func (p *Platform) Allowed(scope, principal, role string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Now()
	for _, o := range p.scopes[scope] {
		if o.Principal != principal || o.Role != role || now.Before(o.Start) {
			continue
		}
		if o.End.IsZero() || now.Before(o.End) {
			return true
		}
	}
	for _, s := range p.standing[scope] {
		if s.Principal == principal && s.Role == role {
			return true
		}
	}
	return false
}

// Edit changes what a scope holds, as somebody else would.
func (p *Platform) Edit(scope string, edit func([]jit.Observed) []jit.Observed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.scopes == nil {
		p.scopes = map[string][]jit.Observed{}
	}
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

// Strip takes end and marker off everything on the scope, as a tool does that knows nothing of them.
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
