package gcp

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// errStripped: the service, or a proxy before it, has written a policy without conditions that were sent.
var errStripped = errors.New("conditions were dropped")

// takeBackTimeout limits the undoing of a write. A caller that has given up does not stop it.
const takeBackTimeout = 30 * time.Second

// takeBack undoes what a write without its conditions has granted for good, and fails all its changes. It writes the
// policy as it was before, with all other changes: that restores the conditions of others if the service accepts
// them now. If somebody else has written meanwhile, it takes each grant out of the policy as it is.
func (a *application) takeBack(ctx context.Context, made []int, was, answer reading, err error) {
	a.stripped = err
	defer func() {
		for _, i := range made {
			if a.errs[i] = a.stripped; !a.granted(i) {
				a.errs[i] = problem(err, stripHint, "%s; this change itself was made", problemOf(err))
			}
		}
	}()
	var granted []jit.Change
	for _, i := range made {
		if a.granted(i) {
			c := a.changes[i]
			c.Op, c.Access.NoStandingBefore = jit.Remove, !was.gives(a.roles[i].name, c.Access.Binding.Principal)
			granted = append(granted, c)
		}
	}
	if len(granted) == 0 {
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), takeBackTimeout)
	defer stop()
	before := *was.policy
	before.fields = maps.Clone(before.fields)
	before.fields["etag"] = answer.fields["etag"]
	was.policy = &before
	d, _ := a.draft(made, was)
	_, undone := a.client.setPolicy(ctx, a.at, &d.policy)
	a.platform.keep(a.at, nil)
	if undone != nil && !errors.Is(undone, errStripped) {
		undone = errors.Join(a.platform.Apply(ctx, a.at.String(), granted)...)
	}
	if undone == nil || errors.Is(undone, errStripped) {
		a.stripped = problem(err, stripHint, "%s; what was to be granted was taken back", problemOf(err))
	}
}

// granted reports whether a change is an ensure of access with a condition.
func (a *application) granted(i int) bool { return a.changes[i].Op == jit.Ensure && !a.claimed(i) }

func problemOf(err error) string {
	var told *jit.Error
	if errors.As(err, &told) {
		return told.Problem
	}
	return err.Error()
}
