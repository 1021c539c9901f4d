package platform

import (
	"context"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// safe returns a platform whose errors, notes and warnings go through [jit.Told]: servers write parts of them.
func safe(p jit.Platform) jit.Platform {
	if d, ok := p.(jit.Describer); ok {
		return toldDescriber{told{p}, d}
	}
	return told{p}
}

// told is a platform whose texts are safe to show.
type told struct{ jit.Platform }

// Unwrap returns the platform itself.
func (t told) Unwrap() jit.Platform { return t.Platform }

// Check is that of the platform.
func (t told) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	b, traits, err := t.Platform.Check(b)
	return b, traits, jit.Told(err)
}

// Given is that of the platform.
func (t told) Given(ctx context.Context, b jit.Binding, ask bool) (jit.Given, error) {
	given, err := t.Platform.Given(ctx, b, ask)
	return given, jit.Told(err)
}

// Scopes is that of the platform.
func (t told) Scopes(ctx context.Context) ([]string, error) {
	scopes, err := t.Platform.Scopes(ctx)
	return scopes, jit.Told(err)
}

// Read is that of the platform.
func (t told) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	snap, err := t.Platform.Read(ctx, scope)
	for i := range snap.Unseen {
		snap.Unseen[i] = jit.Said(snap.Unseen[i])
	}
	if advise := snap.Advise; advise != nil {
		snap.Advise = func(ctx context.Context, b jit.Binding) []jit.Advice {
			all := advise(ctx, b)
			for i := range all {
				all[i].Text = jit.WithoutSecrets(all[i].Text)
			}
			return all
		}
	}
	return snap, jit.Told(err)
}

// Apply is that of the platform.
func (t told) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	errs := t.Platform.Apply(ctx, scope, changes)
	for i := range errs {
		errs[i] = jit.Told(errs[i])
	}
	return errs
}

// toldDescriber is [told] for a [jit.Describer].
type toldDescriber struct {
	told
	describer jit.Describer
}

// Describe is that of the platform.
func (t toldDescriber) Describe(ctx context.Context, b jit.Binding) (jit.Traits, error) {
	traits, err := t.describer.Describe(ctx, b)
	return traits, jit.Told(err)
}
