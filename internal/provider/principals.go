package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// principals returns a test for the grants to a principal, in its canonical form, as the target of the grant spells it,
// or by its name for display. An empty text matches every grant. It makes no call.
func (b *backend) principals(text string) func(jit.Grant) bool {
	spelled := map[jit.Binding]string{} // by the binding with the text as principal
	return func(g jit.Grant) bool {
		if text == "" || g.Principal == text || g.PrincipalName == text {
			return true
		}
		target, configured := b.Broker.Targets[g.Target]
		if !configured {
			return false
		}
		asked := g.Binding
		asked.Principal = jit.OfFile(text)
		canonical, known := spelled[asked]
		if !known {
			if checked, _, err := target.Check(asked); err == nil {
				canonical = checked.Principal
			}
			spelled[asked] = canonical
		}
		return canonical == g.Principal
	}
}

// resolved is [backend.principals] with the names that only the targets of open grants know. A target that cannot tell
// is an error: grants there may be to the principal under another name.
func (b *backend) resolved(ctx context.Context, text string) (func(jit.Grant) bool, error) {
	named := b.principals(text)
	if text == "" {
		return named, nil
	}
	names := map[string][]string{}
	for g, err := range b.Broker.Ledger.Grants(ctx, jit.Filter{Owner: b.Broker.Owner, Open: true}) {
		if err != nil {
			return nil, err
		}
		if _, asked := names[g.Target]; asked {
			continue
		}
		if names[g.Target], err = b.namesOf(ctx, g.Binding, text); err != nil {
			return nil, fmt.Errorf("ask target %q who %q is: %w", g.Target, text, err)
		}
	}
	return func(g jit.Grant) bool { return named(g) || slices.Contains(names[g.Target], g.Principal) }, nil
}

// namesOf returns the names of a principal that only the target of the binding knows.
func (b *backend) namesOf(ctx context.Context, of jit.Binding, text string) ([]string, error) {
	target, configured := b.Broker.Targets[of.Target]
	if !configured {
		return nil, nil
	}
	of.Principal = jit.OfFile(text)
	asked, _, err := target.Check(of)
	if err != nil {
		return nil, nil //nolint:nilerr // it is no principal there
	}
	given, err := target.Given(ctx, asked, false)
	if err != nil || !given.Principal.Unresolved {
		return nil, err
	}
	named := given.Principal.Name != ""
	given, err = target.Given(ctx, asked, true)
	var refused *jit.Error
	if named && errors.As(err, &refused) && refused.Attribute == "principal" {
		return nil, nil // nobody has that name there
	}
	return given.Principal.All(), err
}
