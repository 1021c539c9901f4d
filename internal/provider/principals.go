package provider

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// principals returns a test for the grants to a principal, in its canonical form, as the target of the grant spells it,
// or by its name for display. An empty text matches every grant. It makes no call.
func (b *backend) principals(text string) func(jit.Grant) bool {
	spelled := b.Broker.SpelledAs(text)
	return func(g jit.Grant) bool {
		return text == "" || g.Principal == text || g.PrincipalName == text || spelled(g)
	}
}

// resolved is [backend.principals] with the names that only the targets of open grants know. A target that cannot tell
// is an error: grants there may be to the principal under another name.
func (b *backend) resolved(ctx context.Context, text string) (func(jit.Grant) bool, error) {
	named := b.principals(text)
	if text == "" {
		return named, nil
	}
	names, untold, err := b.Broker.NamesOf(ctx, b.Broker.Owner, text)
	if err == nil {
		err = errors.Join(slices.Collect(maps.Values(untold))...)
	}
	if err != nil {
		return nil, err
	}
	return func(g jit.Grant) bool { return named(g) || slices.Contains(names[g.Target], g.Principal) }, nil
}
