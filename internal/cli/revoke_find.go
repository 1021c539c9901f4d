package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// byID finds the grants whose ids begin with these prefixes in the ledger, else by their markers on the targets. With
// an error it returns those that it found; an ambiguous prefix returns none. A target that cannot be read may hold
// another grant whose id begins the same, so byID then finds markers by whole ids only.
func (p *program) byID(ctx context.Context, rt *config.Runtime, prefixes []string) ([]jit.Grant, error) {
	var (
		grants  []jit.Grant
		missing []string
		unread  error
	)
	add := func(prefix string, found []jit.Grant) error {
		for _, g := range found {
			if !slices.ContainsFunc(grants,
				func(other jit.Grant) bool { return other.ID == g.ID && other.Binding == g.Binding }) {
				grants = append(grants, g)
			}
		}
		return checkUnique(prefix, found)
	}
	for _, prefix := range prefixes {
		found, err := withPrefix(ctx, rt, prefix)
		if unread = errors.Join(unread, err); len(found) == 0 {
			missing = append(missing, prefix)
		}
		if err := add(prefix, found); err != nil {
			return nil, err
		}
	}
	if len(missing) == 0 {
		return grants, nil
	}
	if unread != nil {
		p.warnUnread(unread)
	}
	begins := func(g jit.Grant, prefix string) bool { return strings.HasPrefix(string(g.ID), prefix) }
	bearers, err := marked(ctx, rt, func(g jit.Grant) bool {
		return slices.ContainsFunc(missing, func(prefix string) bool { return begins(g, prefix) })
	})
	var unknown, unproven []string
	for _, prefix := range missing {
		if err != nil && len(prefix) < idLength {
			unproven = append(unproven, strconv.Quote(prefix))
			continue
		}
		found := slices.DeleteFunc(slices.Clone(bearers), func(g jit.Grant) bool { return !begins(g, prefix) })
		if len(found) == 0 {
			unknown = append(unknown, prefix)
		}
		if err := add(prefix, found); err != nil {
			return nil, err
		}
	}
	switch {
	case len(unknown)+len(unproven) > 0:
		return grants, notFound(unknown, unproven, unread, err)
	case err != nil:
		fmt.Fprintf(p.err, "warning: %v\n", err)
	}
	return grants, nil
}

// notFound is the error for ids that no marker has, and for beginnings of ids that may not be unique. ledger and
// targets say what could not be read there.
func notFound(unknown, unproven []string, ledger, targets error) error {
	var all []error
	if len(unproven) > 0 {
		all = append(all, fmt.Errorf("not every target could be read, and another grant there may have an id that "+
			"begins with %s; write the whole id", strings.Join(unproven, " or ")))
	}
	switch {
	case len(unknown) > 0 && ledger != nil:
		all = append(all, fmt.Errorf("no marker of grant %s was found", strings.Join(unknown, ", ")))
	case len(unknown) > 0:
		all = append(all, noGrant(unknown...))
	}
	return errors.Join(append(all, unreadable(errors.Join(targets, ledger)))...)
}

// bySelection reads the chosen grants from the ledger; if it cannot be read, from the markers on the targets.
func (p *program) bySelection(ctx context.Context, rt *config.Runtime, r revocation) ([]jit.Grant, error) {
	matches, err := r.matcher(p.Now())
	if err != nil {
		return nil, err
	}
	if r.target != "" && !isGlob(r.target) {
		if _, err := targetMatcher(rt, r.target); err != nil {
			return nil, err
		}
	}
	r.owner = rt.Broker.Owner
	grants, err := r.grants(ctx, rt)
	if err == nil || errors.Is(err, jit.ErrUnknown) {
		return grants, err
	}
	p.warnUnread(err)
	grants, unread := marked(ctx, rt, func(g jit.Grant) bool { return g.Owner == rt.Broker.Owner && matches(g) })
	if len(grants) == 0 {
		return nil, unreadable(errors.Join(err, unread))
	}
	if unread != nil {
		fmt.Fprintf(p.err, "warning: there may be more: %v\n", unread)
	}
	return grants, nil
}

func (p *program) warnUnread(err error) {
	fmt.Fprintf(p.err, "warning: %v\nwarning: searching the targets for markers instead\n", err)
}

// marked reads all targets, scopes side by side, and returns a grant for each marker that is wanted, with the facts
// that the marker holds. The error joins everything that could not be read.
func marked(ctx context.Context, rt *config.Runtime, wanted func(jit.Grant) bool) ([]jit.Grant, error) {
	var (
		mu     sync.Mutex
		found  []jit.Grant
		unread []error
		group  errgroup.Group
	)
	note := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		unread = append(unread, err)
	}
	group.SetLimit(revokeAtOnce)
	for name, target := range rt.Targets {
		scopes, err := target.Scopes(ctx)
		if err != nil {
			note(fmt.Errorf("list the scopes of target %q: %w", name, err))
		}
		for _, scope := range scopes {
			group.Go(func() error {
				snapshot, err := target.Read(ctx, scope)
				if err != nil {
					note(fmt.Errorf("read %s of target %q: %w", scope, name, err))
				}
				for _, o := range snapshot.Ours {
					g := o.Marker.Grant(jit.Place{Target: name, Scope: scope}.Binding(o.Principal, o.Role))
					if wanted(g) {
						mu.Lock()
						found = append(found, g)
						mu.Unlock()
					}
				}
				return nil
			})
		}
	}
	_ = group.Wait() // every error has been noted
	return found, errors.Join(unread...)
}
