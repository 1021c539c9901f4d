package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// SpelledAs returns a test for grants whose principal is the text in canonical form, by the target of the grant. It
// makes no call and is safe for concurrent use.
func (b *Broker) SpelledAs(text string) func(jit.Grant) bool {
	text = jit.OfFile(text)
	var spellings sync.Map // from a binding with the text as principal to its canonical principal
	return func(g jit.Grant) bool {
		target, configured := b.Targets[g.Target]
		if text == "" || !configured {
			return false
		}
		asked := g.Binding
		asked.Principal = text
		canonical, known := spellings.Load(asked)
		if !known {
			canonical = ""
			if checked, _, err := target.Check(asked); err == nil {
				canonical = checked.Principal
			}
			spellings.Store(asked, canonical)
		}
		return canonical != "" && canonical == g.Principal
	}
}

// NamesOf asks the targets of an owner's open grants, or of all with an empty owner, for the other names of a principal,
// where only they know which name belongs to which id. It returns the names by target. untold has the targets that could not tell, each with its error: a target
// that no longer knows an id cannot either, as the person may have been deleted before the access. err is that of the
// ledger.
func (b *Broker) NamesOf(ctx context.Context, owner, text string) (
	names map[string][]string, untold map[string]error, err error,
) {
	names, untold = map[string][]string{}, map[string]error{}
	seen := map[jit.Place]bool{}
	for g, err := range b.Ledger.Grants(ctx, jit.Filter{Owner: owner, Open: true}) {
		if err != nil {
			return nil, nil, err
		}
		if names[g.Target] != nil || seen[g.Place()] {
			continue
		}
		seen[g.Place()] = true
		if names[g.Target], err = b.namesThere(ctx, g.Binding, text); err != nil {
			untold[g.Target] = fmt.Errorf("ask target %q who %q is: %w", g.Target, text, err)
		}
	}
	maps.DeleteFunc(untold, func(target string, _ error) bool { return names[target] != nil })
	return names, untold, nil
}

// namesThere returns the names of a principal that only the target of the binding knows.
func (b *Broker) namesThere(ctx context.Context, at jit.Binding, text string) ([]string, error) {
	target, configured := b.Targets[at.Target]
	if !configured {
		return nil, nil
	}
	at.Principal = jit.OfFile(text)
	asked, _, err := target.Check(at)
	if err != nil {
		return nil, nil //nolint:nilerr // it is no principal there
	}
	given, err := target.Given(ctx, asked, false)
	if err != nil || !given.Principal.Unresolved {
		return nil, nil //nolint:nilerr // nobody has to be asked for another name
	}
	named := given.Principal.Name != ""
	given, err = target.Given(ctx, asked, true)
	var refused *jit.Error
	switch {
	case err == nil:
		return given.Principal.All(), nil
	case named && errors.As(err, &refused) && refused.Attribute == "principal":
		return nil, nil // nobody has that name there
	}
	return nil, err
}
