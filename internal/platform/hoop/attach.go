package hoop

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// applyAttributes makes changes in attribute mode. Nothing is written for a grant that would give nothing.
func (p *Platform) applyAttributes(ctx context.Context, scope string, changes []jit.Change) []error {
	errs := make([]error, len(changes))
	var mayAttach func(jit.Binding) error
	var unknown error
	if slices.ContainsFunc(changes, func(c jit.Change) bool { return c.Op == jit.Ensure }) {
		mayAttach, unknown = p.mayAttach(ctx, scope)
	}
	todo := make([]int, 0, len(changes))
	for i, c := range changes {
		if c.Op == jit.Ensure {
			if errs[i] = unknown; unknown == nil {
				errs[i] = mayAttach(c.Access.Binding)
			}
		}
		if errs[i] == nil {
			todo = append(todo, i)
		}
	}
	open := false
	for round := 0; len(todo) > 0 && (round < rounds || open); round++ {
		if round > 0 {
			if err := backoff.Wait(ctx, round, firstPause, longestPause); err != nil {
				for _, i := range todo {
					errs[i] = cmp.Or(errs[i], err)
				}
				break
			}
		}
		asked := p.now()
		all, err := p.attributes(ctx)
		if err != nil {
			for _, i := range todo {
				errs[i] = err
			}
			break
		}
		for name, a := range all {
			if m, ours := a.marker(); ours {
				p.lost.listed(m, name)
			}
		}
		var writes errgroup.Group
		writes.SetLimit(parallel)
		for _, i := range todo {
			writes.Go(func() error {
				errs[i] = p.attach(ctx, scope, changes[i], all)
				return nil
			})
		}
		_ = writes.Wait() // each has noted its own error
		// What was not answered may have been done, and a name that was free may have been taken meanwhile by the same
		// grant.
		open = false
		todo = slices.DeleteFunc(todo, func(i int) bool {
			if changes[i].Op == jit.Remove && errs[i] == nil && p.lost.open(scope, changes[i].Access.Marker, asked.Add(-p.patience)) {
				open = true
				return false
			}
			return !unsure(errs[i]) && !answered(errs[i], http.StatusInternalServerError, http.StatusConflict)
		})
	}
	return errs
}

// mayAttach asks the gateway what a grant on a connection takes, and returns what says why a binding would be refused
// or give nothing.
func (p *Platform) mayAttach(ctx context.Context, scope string) (func(jit.Binding) error, error) {
	if err := p.mayWrite(ctx); err != nil {
		return nil, err
	}
	conn, err := p.connection(ctx, scope)
	if err != nil {
		return nil, err
	}
	var groups []string
	if err := p.call(ctx, "list groups", http.MethodGet, []string{"users", "groups"}, nil, nil, &groups); err != nil {
		return nil, err
	}
	_, on, err := p.accessControl(ctx)
	if err != nil {
		return nil, err
	}
	return func(b jit.Binding) error {
		b, _, err := p.Check(b)
		switch {
		case err != nil:
			return err
		case b.Scope != scope:
			return jit.Invalid("scope", "ask for it on its own scope", "a grant on %q cannot be made on %q", b.Scope, scope)
		case conn == nil:
			return p.noConnection(scope)
		case !on:
			return jit.Invalid("target", "turn on the plugin access_control of the gateway first",
				"the gateway at %s has no access control: everybody can connect to everything, and a grant would change nothing", p.base.Host)
		case !slices.Contains(groups, strings.TrimPrefix(b.Principal, groupPrefix)):
			return jit.Invalid("principal", "`hoop admin get users` lists the groups of each user; capitals count",
				"there is no group %q on the gateway at %s", strings.TrimPrefix(b.Principal, groupPrefix), p.base.Host)
		}
		return p.skew()
	}, nil
}

// attach makes one change, where all is what was there.
func (p *Platform) attach(ctx context.Context, scope string, c jit.Change, all map[string]attribute) error {
	m := c.Access.Marker
	name := attributeName(m)
	there, exists := all[name]
	if _, ours := there.marker(); exists && !ours {
		return &jit.Error{
			Problem: fmt.Sprintf("the attribute %q has the name of a grant and not its marker; it is left alone, and what access it gives lives on", name),
			Hint:    "find out who changed its description; delete the attribute if nobody needs it",
		}
	}
	path := []string{"attributes", name}
	switch {
	case c.Op == jit.Remove && !exists:
		return nil
	case c.Op == jit.Remove && len(there.Connections) > 0 && !slices.Contains(there.Connections, scope):
		return nil // it is on another connection, from which it is taken in its turn
	case c.Op == jit.Remove && len(there.Connections) > 1:
		there.Connections = slices.DeleteFunc(slices.Clone(there.Connections), func(s string) bool { return s == scope })
		return p.call(ctx, "detach the attribute "+name, http.MethodPut, path, nil, there, nil)
	case c.Op == jit.Remove:
		err := p.call(ctx, "delete the attribute "+name, http.MethodDelete, path, nil, nil, nil)
		if answered(err, http.StatusNotFound) {
			return nil
		}
		return err
	}
	want := newAttribute(m, scope, strings.TrimPrefix(c.Access.Binding.Principal, groupPrefix))
	switch {
	case exists && there.right(want):
		return nil
	case exists:
		return p.call(ctx, "write the attribute "+name, http.MethodPut, path, nil, want, nil)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err := p.call(ctx, "make the attribute "+name, http.MethodPost, []string{"attributes"}, nil, want, nil)
	if err != nil {
		p.lost.add(lostRequest{scope: scope, marker: m, at: p.now(), others: map[string]bool{}}, err)
		return err
	}
	p.lost.answered(m, name)
	return nil
}
