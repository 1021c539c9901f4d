package gcp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/api/googleapi"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// attempts bounds how often changes are tried that lose a race with another writer.
	attempts = 100
	// unanswered bounds how often changes are tried anew whose write, with all its repetitions, was not answered.
	unanswered = 2
	// blindSplits bounds how many writes in a row are refused, with a message that names none of the changes, before it is
	// concluded that not they are to blame.
	blindSplits = 24
	// firstPause is the longest pause after the first lost race; it doubles up to maxPause.
	firstPause = 20 * time.Millisecond
	maxPause   = 200 * time.Millisecond
	// fresh is for how long what was read, or the answer to a write of ours, may stand for a read before the next write.
	fresh = 5 * time.Second
)

// Apply is [Platform.ApplyLate] with changes that are known beforehand.
func (p *Platform) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	return p.ApplyLate(ctx, scope, func() []jit.Change { return changes })
}

// ApplyLate reads the policy and writes it once with all changes made; the answer to a write stands for the read of one
// that follows at once. Whoever wrote in between makes the write fail by the etag, and everything begins anew
// with a read. A change that the service refuses is found by halving what is written; one that would break a limit of policies
// is refused beforehand. Bindings that are over go with the write.
func (p *Platform) ApplyLate(ctx context.Context, scope string, take func() []jit.Change) []error {
	at, c, err := p.reach(ctx, scope)
	var current reading
	if err == nil {
		current, err = p.recall(ctx, c, at)
	}
	changes := take()
	a := &application{platform: p, client: c, at: at, changes: changes, roles: make([]role, len(changes)), errs: make([]error, len(changes))}
	todo := a.accept(scope)
	if err != nil {
		a.unread(ctx, todo, current, err)
	} else {
		a.run(ctx, todo, current)
	}
	return a.errs
}

// reach opens the way to a scope.
func (p *Platform) reach(ctx context.Context, scope string) (resource, *client, error) {
	at, err := parseScope(scope)
	if err != nil {
		return at, nil, err
	}
	c, err := p.client(ctx)
	return at, c, err
}

// recall returns the policy as it was just now, when it was read or written by us; else it reads it.
func (p *Platform) recall(ctx context.Context, c *client, at resource) (reading, error) {
	p.mu.Lock()
	answer, there := p.answers[at]
	p.mu.Unlock()
	if age := p.now().Sub(answer.clock.local); there && age >= 0 && age < fresh {
		answer.recalled, answer.clock = true, answer.clock.after(age)
		return answer, nil
	}
	return p.look(ctx, c, at)
}

// note keeps what was read, or the answer to a write, for the next write, unless a later one is kept; without an answer there is
// nothing to keep.
func (p *Platform) note(at resource, answer *reading) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if answer == nil {
		delete(p.answers, at)
		return
	}
	if !p.answers[at].clock.local.After(answer.clock.local) {
		p.answers[at] = *answer
	}
}

// application is one Apply under way.
type application struct {
	platform *Platform
	client   *client
	at       resource
	changes  []jit.Change
	roles    []role
	errs     []error
	// untidied: what is over stays.
	untidied bool
	// unnamed counts the refusals since the last success or name.
	unnamed int

	// fresh are the marks that were made for the changes.
	fresh []jit.Claim
	// unrecorded is why marks could not be written: access is still ended, and none is given that has to be remembered.
	unrecorded error
	// unsure: a write got no answer.
	unsure bool
}

// accept returns the changes that can be made at all, in their canonical form, and refuses the others.
func (a *application) accept(scope string) []int {
	var todo []int
	a.changes = slices.Clone(a.changes)
	for i, c := range a.changes {
		b := &a.changes[i].Access.Binding
		if c.Op == jit.Remove && b.Role == "" && b.Principal == "" {
			todo = append(todo, i) // owner and id are all that it takes
			continue
		}
		b.Scope = scope
		canonical, _, err := a.platform.Check(*b)
		if err != nil && c.Op == jit.Ensure {
			a.errs[i] = err
			continue
		}
		if err != nil {
			a.changes[i].Access.NoStandingBefore = false
		} else {
			*b = canonical
			a.roles[i], _ = parseRole(canonical.Role)
		}
		todo = append(todo, i)
	}
	return todo
}

// fail gives changes the error of all. From a resource that is not there, access has gone with it.
func (a *application) fail(todo []int, err error) {
	for _, i := range todo {
		if a.changes[i].Op != jit.Remove || !errors.Is(err, errGone) {
			a.errs[i] = err
		}
	}
}

// run brings changes about, with as many reads and writes as it takes.
func (a *application) run(ctx context.Context, todo []int, current reading) {
	for attempt := 0; len(todo) > 0; attempt++ {
		if current.policy == nil || current.recalled && slices.ContainsFunc(todo, a.lasts) {
			var err error
			if current, err = a.platform.look(ctx, a.client, a.at); err != nil {
				a.unread(ctx, todo, current, err)
				return
			}
		}
		d, rest := a.draft(todo, current)
		if err := a.record(ctx, d); errors.Is(err, jit.ErrStale) && attempt < attempts {
			if err := backoff.Wait(ctx, attempt, firstPause, maxPause); err != nil {
				a.fail(rest, fmt.Errorf("wait for another writer of the marks of %s: %w", a.at, err))
				return
			}
			current = reading{}
			continue
		} else if err != nil {
			a.unrecorded = unremembered(err)
			continue // without what has to be remembered
		}
		if !d.changed {
			if !current.recalled {
				a.conclude(ctx, d, rest)
				return // everything is as it should be
			}
			current = reading{} // so it was when we last wrote; is it still?
			continue
		}
		answer, err := a.client.setPolicy(ctx, a.at, &d.policy)
		if err == nil {
			a.platform.note(a.at, &answer)
			a.unnamed = 0
			if tell := a.platform.tidied; tell != nil && len(d.tidied) > 0 {
				tell(ctx, d.tidied)
			}
			a.conclude(ctx, d, rest)
			return
		}
		a.platform.note(a.at, nil)
		a.unsure = a.unsure || unsure(err)
		switch {
		case ctx.Err() == nil && (conflict(err) && attempt < attempts || unsure(err) && attempt < unanswered):
			if err := backoff.Wait(ctx, attempt, firstPause, maxPause); err != nil {
				a.fail(rest, fmt.Errorf("wait for another writer of %s: %w", a.at, err))
				return
			}
			for _, i := range todo {
				a.errs[i] = nil
			}
			current = reading{}
		case conflict(err):
			a.fail(rest, a.crowded(err))
			return
		case refused(err) && len(rest) == 1:
			a.errs[rest[0]] = explainRefusal(a.changes[rest[0]], a.at, err)
			a.disclaim(ctx, rest, current, err)
			return
		case forbidden(err) && len(d.tidied) > 0:
			a.untidied, current = true, reading{} // what is over may be of a role that must not be touched
		case forbidden(err) && len(a.ofOneRole(rest)) < len(rest):
			some := a.ofOneRole(rest)
			a.run(ctx, some, reading{})
			a.run(ctx, slices.DeleteFunc(rest, func(i int) bool { return slices.Contains(some, i) }), reading{})
			return
		case refused(err):
			some, others, named := a.split(rest, err)
			if a.unnamed++; named {
				a.unnamed = 0
			}
			if a.unnamed > blindSplits {
				a.fail(rest, a.spoilt(err))
				a.disclaim(ctx, rest, current, err)
				return
			}
			a.run(ctx, some, reading{})
			a.run(ctx, others, reading{})
			return
		default:
			a.fail(rest, explain(ctx, "write the policy of "+a.at.String(), a.at, "setIamPolicy", err))
			a.disclaim(ctx, rest, current, err)
			return
		}
	}
}

// ofOneRole returns those of the changes that are of the same role as the first: the target's identity may be one that
// may not give each (https://cloud.google.com/iam/docs/setting-limits-on-granting-roles).
func (a *application) ofOneRole(changes []int) []int {
	var some []int
	for _, i := range changes {
		if a.roles[i].name == a.roles[changes[0]].name {
			some = append(some, i)
		}
	}
	return some
}

// split parts changes that were refused together: those that the message names from the others, else in halves.
func (a *application) split(changes []int, err error) (some, others []int, named bool) {
	for _, i := range changes {
		if names(err, a.changes[i].Access.Binding) {
			some = append(some, i)
		} else {
			others = append(others, i)
		}
	}
	if len(some) == 0 || len(others) == 0 {
		half := len(changes) / 2
		return changes[:half], changes[half:], false
	}
	return some, others, true
}

// draft makes the changes to the policy as it was read, and returns those that could be made.
func (a *application) draft(todo []int, current reading) (d *draft, made []int) {
	asked := make([]jit.Change, len(todo))
	for k, i := range todo {
		asked[k] = a.changes[i]
	}
	if a.untidied {
		asked = nil
	}
	d = newDraft(current, asked)
	skew := jit.CheckSkew(current.clock.local, current.clock.remote)
	for _, i := range todo {
		a.errs[i] = nil
		if a.changes[i].Op == jit.Ensure && skew != nil {
			a.errs[i] = skew
			continue
		}
		if a.lasts(i) {
			a.errs[i] = a.remember(d, a.changes[i])
		} else {
			a.errs[i] = d.make(a.changes[i], a.roles[i])
		}
		if a.errs[i] == nil {
			made = append(made, i)
		}
	}
	d.settle()
	if a.unrecorded != nil {
		d.put = nil
	}
	return d, made
}

// spoilt: whatever is changed, the policy is refused.
func (a *application) spoilt(err error) error {
	said := err.Error()
	if answered := (*googleapi.Error)(nil); errors.As(err, &answered) {
		said = oneLine(answered.Message)
	}
	return &jit.Error{Problem: fmt.Sprintf("Google Cloud refuses the policy of %s whatever is changed in it: %s", a.at, said),
		Hint: "look for what in it is not valid any more, such as a principal that was deleted, and take that out", Err: err}
}

// crowded: others write the policy all the time.
func (a *application) crowded(err error) error {
	return &jit.Error{Problem: fmt.Sprintf("somebody else changed the policy of %s each of the %d times that it was tried to write it", a.at, attempts),
		Hint: "run it again; find out what keeps writing that policy", Err: err}
}
