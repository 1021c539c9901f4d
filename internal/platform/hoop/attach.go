package hoop

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// applyAttributes makes changes in attribute mode. It writes nothing for a grant that would give nothing.
func (p *Platform) applyAttributes(ctx context.Context, scope string, changes []jit.Change) []error {
	errs := p.refusals(ctx, scope, changes)
	var todo []int
	for i, err := range errs {
		if err == nil {
			todo = append(todo, i)
		}
	}
	for round, waiting := 0, false; len(todo) > 0 && (round < rounds || waiting); round++ {
		if round > 0 {
			if err := backoff.Wait(ctx, round, firstPause, longestPause); err != nil {
				for _, i := range todo {
					errs[i] = cmp.Or(errs[i], err)
				}
				break
			}
		}
		todo, waiting = p.attachAll(ctx, scope, changes, todo, errs)
	}
	return errs
}

// refusals returns the errors of grants that would be refused or give nothing.
func (p *Platform) refusals(ctx context.Context, scope string, changes []jit.Change) []error {
	errs := make([]error, len(changes))
	isEnsure := func(c jit.Change) bool { return c.Op == jit.Ensure }
	if !slices.ContainsFunc(changes, isEnsure) {
		return errs
	}
	mayAttach, unknown := p.mayAttach(ctx, scope)
	for i, c := range changes {
		if !isEnsure(c) {
			continue
		}
		if errs[i] = unknown; unknown == nil {
			errs[i] = mayAttach(c.Access.Binding)
		}
	}
	return errs
}

// attachAll lists the attributes and makes changes. It returns those to try again: their answer was lost, somebody took
// the name meanwhile, or a lost request can still bring back what was removed (waiting).
func (p *Platform) attachAll(
	ctx context.Context, scope string, changes []jit.Change, todo []int, errs []error,
) (again []int, waiting bool) {
	asked := p.now()
	all, err := p.attributes(ctx)
	if err != nil {
		for _, i := range todo {
			errs[i] = err
		}
		return nil, false
	}
	for name, a := range all {
		if m, ours := a.marker(); ours {
			p.lost.listed(m, name)
		}
	}
	each(len(todo), func(i int) { errs[todo[i]] = p.attach(ctx, scope, changes[todo[i]], all) })
	for _, i := range todo {
		err, c := errs[i], changes[i]
		open := err == nil && c.Op == jit.Remove && p.lost.open(scope, c.Access.Marker, asked.Add(-p.patience))
		waiting = waiting || open
		if open || unsure(err) || answered(err, http.StatusInternalServerError, http.StatusConflict) {
			again = append(again, i)
		}
	}
	return again, waiting
}

// mayAttach asks the gateway what a grant on a connection needs. It returns a function that says why a binding would be
// refused or give nothing.
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
		b, err := p.checkOn(scope, b)
		if err != nil {
			return err
		}
		switch group := strings.TrimPrefix(b.Principal, groupPrefix); {
		case conn == nil:
			return p.noConnection(scope)
		case !on:
			return jit.Invalid("target", "turn on the plugin access_control of the gateway first",
				"the gateway at %s has no access control, so a grant would change nothing", p.base.Host)
		case !slices.Contains(groups, group):
			return jit.Invalid("principal", "`hoop admin get users` lists the groups of each user; capitals count",
				"there is no group %q on the gateway at %s", group, p.base.Host)
		}
		return p.skew()
	}, nil
}

// attach makes one change to the attributes that were listed.
func (p *Platform) attach(ctx context.Context, scope string, c jit.Change, all map[string]attribute) error {
	name := attributeName(c.Access.Marker)
	there, exists := all[name]
	if _, ours := there.marker(); exists && !ours {
		return problem("find out who changed its description; delete the attribute if nobody needs it",
			"the attribute %q has the name of a grant and not its marker; it is left alone, with what it gives", name)
	}
	want := newAttribute(c.Access.Marker, scope, strings.TrimPrefix(c.Access.Binding.Principal, groupPrefix))
	switch {
	case c.Op == jit.Remove && exists:
		return p.detach(ctx, scope, there)
	case c.Op == jit.Remove || exists && there.right(want):
		return nil
	case exists:
		return p.writeAttribute(ctx, want)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	ended := p.lost.send(lostRequest{scope: scope, marker: c.Access.Marker})
	err := p.call(ctx, "make the attribute "+name, http.MethodPost, []string{"attributes"}, nil, want, nil)
	ended(name, p.now(), err)
	return err
}

// detach takes an attribute from a connection, and deletes it if it is on no other.
func (p *Platform) detach(ctx context.Context, scope string, there attribute) error {
	left := slices.DeleteFunc(slices.Clone(there.Connections), func(s string) bool { return s == scope })
	switch {
	case len(left) > 0 && len(left) == len(there.Connections):
		return nil // it is on other connections only, and is taken from each in its turn
	case len(left) > 0:
		there.Connections = left
		return p.writeAttribute(ctx, there)
	}
	path := []string{"attributes", there.Name}
	return unlessGone(p.call(ctx, "delete the attribute "+there.Name, http.MethodDelete, path, nil, nil, nil))
}

func (p *Platform) writeAttribute(ctx context.Context, a attribute) error {
	return p.call(ctx, "write the attribute "+a.Name, http.MethodPut, []string{"attributes", a.Name}, nil, a, nil)
}
