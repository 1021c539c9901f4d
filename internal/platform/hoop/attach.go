package hoop

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// attaching is one Apply in attribute mode. The list of attributes may lag, and the answer to a write is not the
// write: a change is done when the list shows it.
type attaching struct {
	*Platform
	scope   string
	changes []jit.Change
	errs    []error
	// written is when the gateway has answered that a change was made, by its index; taken is when it first answered that
	// the name of the attribute is taken.
	written, taken map[int]time.Time
}

// applyAttributes makes changes in attribute mode. It writes nothing for a grant that would give nothing.
func (p *Platform) applyAttributes(ctx context.Context, scope string, changes []jit.Change) []error {
	a := &attaching{Platform: p, scope: scope, changes: changes, errs: p.refusals(ctx, scope, changes),
		written: map[int]time.Time{}, taken: map[int]time.Time{}}
	var todo []int
	for i, err := range a.errs {
		if err == nil {
			todo = append(todo, i)
		}
	}
	for round, waiting := 0, false; len(todo) > 0 && (round < rounds || waiting); round++ {
		// What was just written is looked at once without a pause.
		if round > 1 || round == 1 && len(a.written) < len(todo) {
			if err := backoff.Wait(ctx, round, firstPause, longestPause); err != nil {
				for _, i := range todo {
					a.errs[i] = cmp.Or(a.errs[i], err)
				}
				break
			}
		}
		todo, waiting = a.attachAll(ctx, todo)
	}
	return a.errs
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

// attachAll lists the attributes and makes changes. It returns those that are not done: their answer was lost, somebody
// took the name meanwhile, the list does not show them, or a lost request can still bring back what was removed.
// waiting says that some only wait.
func (a *attaching) attachAll(ctx context.Context, todo []int) (again []int, waiting bool) {
	asked := a.now()
	all, err := a.attributes(ctx)
	if err != nil {
		for _, i := range todo {
			a.errs[i] = err
		}
		return nil, false
	}
	for name, is := range all {
		if m, ours := is.marker(); ours {
			a.lost.listed(m, name)
		}
	}
	wrote := make([]bool, len(todo))
	each(len(todo), func(k int) { wrote[k], a.errs[todo[k]] = a.attach(ctx, todo[k], asked, all) })
	for k, i := range todo {
		err := a.errs[i]
		open := err == nil && a.open(i, wrote[k], asked, all)
		waiting = waiting || open || a.comes(i, err, asked)
		if open || unsure(err) || answered(err, http.StatusInternalServerError, http.StatusConflict) {
			again = append(again, i)
		}
	}
	return again, waiting
}

// comes reports whether the list may still show an attribute whose name is taken.
func (a *attaching) comes(i int, err error, asked time.Time) bool {
	if !answered(err, http.StatusInternalServerError, http.StatusConflict) {
		return false
	}
	if _, known := a.taken[i]; !known {
		a.taken[i] = asked
	}
	return asked.Sub(a.taken[i]) <= a.patience
}

// open reports whether a change without an error has to be looked at again.
func (a *attaching) open(i int, wrote bool, asked time.Time, all map[string]attribute) bool {
	c := a.changes[i]
	switch {
	case wrote:
		a.written[i] = a.now()
		return true
	case !a.shown(i, all):
		return true
	}
	delete(a.written, i) // if a lost request changes it again, it is written again
	if c.Op != jit.Remove {
		return false
	}
	a.lost.removed(c.Access.Marker)
	return a.lost.open(a.scope, c.Access.Marker, asked.Add(-a.patience))
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

// want is the attribute that a change asks for.
func (a *attaching) want(i int) attribute {
	to := a.changes[i].Access
	return newAttribute(to.Marker, a.scope, strings.TrimPrefix(to.Binding.Principal, groupPrefix))
}

// shown reports whether the list shows a change: the attribute is right, or it is gone from the connection.
func (a *attaching) shown(i int, all map[string]attribute) bool {
	want := a.want(i)
	there, exists := all[want.Name]
	if a.changes[i].Op == jit.Remove {
		return !exists || len(there.Connections) > 0 && !slices.Contains(there.Connections, a.scope)
	}
	return exists && there.right(want)
}

// attach makes one change to the attributes that were listed, unless they show it or may not show it yet.
func (a *attaching) attach(ctx context.Context, i int, asked time.Time, all map[string]attribute) (wrote bool,
	err error) {
	c, want := a.changes[i], a.want(i)
	there, exists := all[want.Name]
	at, written := a.written[i]
	_, ours := there.marker()
	switch {
	case exists && !ours:
		return false, problem("find out who changed its description; delete the attribute if nobody needs it",
			"the attribute %q has the name of a grant and not its marker; it is left alone, with what it gives",
			want.Name)
	case a.shown(i, all):
		return false, nil
	case written && asked.Sub(at) > a.patience:
		return false, problem(
			"look at the attribute in hoop: somebody may keep changing it, or the gateway's database may be behind",
			"the gateway at %s still lists the attribute %q as it was before it was written or deleted", a.base.Host,
			want.Name)
	case written:
		return false, nil
	case c.Op == jit.Remove:
		return true, a.detach(ctx, a.scope, there)
	case exists:
		return true, a.writeAttribute(ctx, want)
	case ctx.Err() != nil:
		return false, ctx.Err()
	}
	ended := a.lost.send(lostRequest{scope: a.scope, marker: c.Access.Marker})
	err = a.call(ctx, "make the attribute "+want.Name, http.MethodPost, []string{"attributes"}, nil, want, nil)
	outcome := err
	if answered(err, http.StatusInternalServerError) { // the name is taken, as the list will show; nothing is under way
		outcome = &statusError{code: http.StatusConflict}
	}
	ended(want.Name, a.now(), outcome)
	return true, err
}

// detach takes an attribute from a connection, and deletes it if it is on no other.
func (p *Platform) detach(ctx context.Context, scope string, there attribute) error {
	there.Connections = slices.DeleteFunc(slices.Clone(there.Connections), func(s string) bool { return s == scope })
	if len(there.Connections) > 0 {
		return p.writeAttribute(ctx, there)
	}
	path := []string{"attributes", there.Name}
	return unlessGone(p.call(ctx, "delete the attribute "+there.Name, http.MethodDelete, path, nil, nil, nil))
}

func (p *Platform) writeAttribute(ctx context.Context, a attribute) error {
	return p.call(ctx, "write the attribute "+a.Name, http.MethodPut, []string{"attributes", a.Name}, nil, a, nil)
}
