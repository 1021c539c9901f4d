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

// foundGrants are grants that were found by the beginnings of their ids, each once.
type foundGrants []jit.Grant

// add adds the grants that were found by a prefix. It refuses an ambiguous prefix.
func (f *foundGrants) add(prefix string, grants []jit.Grant) error {
	for _, g := range grants {
		same := func(other jit.Grant) bool { return other.ID == g.ID && other.Binding == g.Binding }
		if !slices.ContainsFunc(*f, same) {
			*f = append(*f, g)
		}
	}
	return checkUnique(prefix, grants)
}

// byID finds the grants whose ids begin with the prefixes, in the ledger, or else by their markers on the targets. With
// an error it returns the grants that it found; an ambiguous prefix returns none.
func (p *program) byID(ctx context.Context, rt *config.Runtime, r revocation) ([]jit.Grant, error) {
	var found foundGrants
	var missing []string
	var unread error
	for _, prefix := range r.prefixes {
		grants, err := withPrefix(ctx, rt, prefix)
		unread = errors.Join(unread, err)
		if len(grants) == 0 {
			missing = append(missing, prefix)
		}
		if err := found.add(prefix, grants); err != nil {
			return nil, err
		}
	}
	if len(missing) == 0 {
		return found, nil
	}
	if unread != nil {
		p.warnUnread(unread)
	}
	return p.byMarker(ctx, rt, found, missing, unread)
}

// byMarker adds the grants whose markers have ids that begin with the prefixes. A target that cannot be read may hold
// another grant whose id begins the same, so byMarker then finds markers by whole ids only. ledger is the error of
// reading the ledger.
func (p *program) byMarker(
	ctx context.Context, rt *config.Runtime, found foundGrants, prefixes []string, ledger error,
) ([]jit.Grant, error) {
	begins := func(g jit.Grant, prefix string) bool { return strings.HasPrefix(string(g.ID), prefix) }
	marked, err := withMarker(ctx, rt, func(g jit.Grant) bool {
		return slices.ContainsFunc(prefixes, func(prefix string) bool { return begins(g, prefix) })
	})
	var unknown, unproven []string
	for _, prefix := range prefixes {
		if err != nil && len(prefix) < idLength {
			unproven = append(unproven, strconv.Quote(prefix))
			continue
		}
		grants := slices.DeleteFunc(slices.Clone(marked), func(g jit.Grant) bool { return !begins(g, prefix) })
		if len(grants) == 0 {
			unknown = append(unknown, prefix)
		}
		if err := found.add(prefix, grants); err != nil {
			return nil, err
		}
	}
	switch {
	case len(unknown)+len(unproven) > 0:
		return found, notFound(unknown, unproven, ledger, err)
	case err != nil:
		fmt.Fprintf(p.err, "warning: %v\n", err)
	}
	return found, nil
}

// notFound returns the error for ids that no marker has, and for beginnings of ids that may not be unique. ledger and
// targets are the errors of reading them.
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

// bySelection reads the selected grants from the ledger; if it cannot be read, from the markers on the targets.
func (p *program) bySelection(ctx context.Context, rt *config.Runtime, r revocation) ([]jit.Grant, error) {
	matches, err := r.matcher(rt)
	if err == nil && r.target != "" && !isGlob(r.target) {
		_, err = targetMatcher(rt, r.target)
	}
	if err != nil {
		return nil, err
	}
	r.owner = rt.Broker.Owner
	grants, err := r.grants(ctx, rt)
	if err == nil || errors.Is(err, jit.ErrUnknown) {
		return grants, err
	}
	p.warnUnread(err)
	grants, unread := withMarker(ctx, rt, func(g jit.Grant) bool { return g.Owner == r.owner && matches(g) })
	switch {
	case len(grants) == 0:
		return nil, unreadable(errors.Join(err, unread))
	case unread != nil:
		fmt.Fprintf(p.err, "warning: there may be more: %v\n", unread)
	}
	return grants, nil
}

func (p *program) warnUnread(err error) {
	fmt.Fprintf(p.err, "warning: %v\nwarning: searching the targets for markers instead\n", err)
}

// readsAtOnce caps how many scopes are read at the same time.
const readsAtOnce = 64

// withMarker reads all targets, scopes side by side, and returns a grant for each wanted marker, with the facts in the
// marker. The error joins the errors of everything that could not be read.
func withMarker(ctx context.Context, rt *config.Runtime, wanted func(jit.Grant) bool) ([]jit.Grant, error) {
	var (
		mu     sync.Mutex
		found  []jit.Grant
		unread []error
		group  errgroup.Group
	)
	add := func(err error, grants ...jit.Grant) {
		mu.Lock()
		defer mu.Unlock()
		found = append(found, grants...)
		unread = append(unread, err)
	}
	group.SetLimit(readsAtOnce)
	for name, target := range rt.Targets {
		scopes, err := target.Scopes(ctx)
		if err != nil {
			add(fmt.Errorf("list the scopes of target %q: %w", name, err))
		}
		for _, scope := range scopes {
			group.Go(func() error {
				snapshot, err := target.Read(ctx, scope)
				if err != nil {
					err = fmt.Errorf("read %s of target %q: %w", scope, name, err)
				}
				var grants []jit.Grant
				for _, o := range snapshot.Ours {
					g := o.Marker.Grant(jit.Place{Target: name, Scope: scope}.Binding(o.Principal, o.Role))
					if wanted(g) {
						grants = append(grants, g)
					}
				}
				add(err, grants...)
				return nil
			})
		}
	}
	_ = group.Wait() // add has kept every error
	return found, errors.Join(unread...)
}
