package gcp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// attempts is how often a write that lost a race with another writer is tried, or more often until patience has
	// passed: reads that lag make each write of another lose several attempts, whoever wins in the end.
	attempts = 100
	patience = 5 * time.Minute
	// unanswered is how often a write without an answer, with all its repetitions, is tried again.
	unanswered = 2
	// blindSplits is how many writes in a row may be refused by a message that names none of the changes. After that
	// the changes are not to blame.
	blindSplits = 24
	// firstPause is the longest pause after the first lost race, if the attempt took no longer. Otherwise it is as long
	// as the attempt. It doubles up to pauses times that, at most maxPause. Writers that pause for less than an attempt
	// takes would meet again each time.
	firstPause = 20 * time.Millisecond
	pauses     = 8
	maxPause   = 10 * time.Second
	// fresh is how long the answer to our last read or write may stand for a read before the next write.
	fresh = 5 * time.Second
)

// Apply reads the policy and writes it once with all changes made. If somebody else wrote in between, the write
// fails by the etag and starts over with a read. If the service refuses the write, halving the changes finds the ones
// to blame. A change that would break a limit of policies is refused beforehand. Bindings that are over go with the
// write. The answer to our last read or write stands for the read if it is recent.
func (p *Platform) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	at, c, err := p.reach(ctx, scope)
	var current reading
	if err == nil {
		current, err = p.latest(ctx, c, at)
	}
	a := &application{
		platform: p, client: c, at: at,
		changes: changes, roles: make([]role, len(changes)), errs: make([]error, len(changes)),
	}
	todo := a.accept(scope)
	if err != nil {
		a.unread(ctx, todo, current, err)
	} else {
		a.run(ctx, todo, current)
	}
	return a.errs
}

// reach parses a scope and opens the client.
func (p *Platform) reach(ctx context.Context, scope string) (resource, *client, error) {
	at, err := parseScope(scope)
	if err != nil {
		return at, nil, err
	}
	c, err := p.client(ctx)
	return at, c, err
}

// latest returns the policy as we have just read or written it, or else reads it.
func (p *Platform) latest(ctx context.Context, c *client, at resource) (reading, error) {
	p.mu.Lock()
	answer, there := p.answers[at]
	p.mu.Unlock()
	if age := p.now().Sub(answer.clock.Local); there && age >= 0 && age < fresh {
		answer.cached, answer.clock = true, answer.clock.after(age)
		return answer, nil
	}
	return p.readAll(ctx, c, at)
}

// keep keeps the answer to a read or write for the next write, unless a later one is kept. Without an answer it
// forgets what was kept.
func (p *Platform) keep(at resource, answer *reading) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if answer == nil {
		delete(p.answers, at)
		return
	}
	if !p.answers[at].clock.Local.After(answer.clock.Local) {
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
	// untidied: bindings that are over stay.
	untidied bool
	// unnamed counts the refusals in a row whose message names none of the changes.
	unnamed int

	// fresh are the claims that the changes have added.
	fresh []jit.Claim
	// unrecorded is why claims could not be written. Access still ends, and none begins that needs a claim.
	unrecorded error
	// unsure: a write got no answer.
	unsure bool
	// stripped is the error of a write whose conditions were dropped. What it granted is taken back.
	stripped error
}

// accept brings the changes into their canonical form, and returns those that can be made.
func (a *application) accept(scope string) []int {
	var todo []int
	a.changes = slices.Clone(a.changes)
	for i, c := range a.changes {
		b := &a.changes[i].Access.Binding
		if c.Op == jit.Remove && b.Role == "" && b.Principal == "" {
			todo = append(todo, i) // a removal needs only owner and id
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

// fail gives changes one error. Access on a resource that is gone has gone with it.
func (a *application) fail(todo []int, err error) {
	for _, i := range todo {
		if a.changes[i].Op != jit.Remove || !errors.Is(err, errGone) {
			a.errs[i] = err
		}
	}
}

// attempt is one of several attempts to make changes, counted from 0.
type attempt struct {
	n int
	// began is when this attempt began, first when the first did.
	began, first time.Time
}

// last reports whether an attempt is the last one that loses a race.
func (t attempt) last() bool { return t.n >= attempts && time.Since(t.first) >= patience }

// run makes changes with as many reads and writes as it takes. Each attempt begins with what was read last, or with a
// read.
func (a *application) run(ctx context.Context, todo []int, current reading) {
	for try := (attempt{first: time.Now()}); len(todo) > 0; try.n++ {
		try.began = time.Now()
		var err error
		if current, err = a.refresh(ctx, todo, current); err != nil {
			a.unread(ctx, todo, current, err)
			return
		}
		d, made := a.draft(todo, current)
		if a.unrecorded == nil {
			err = a.record(ctx, d)
		}
		switch {
		case errors.Is(err, jit.ErrStale) && !try.last():
			if !a.pause(ctx, try, made) {
				return
			}
		case err != nil:
			a.unrecorded = err
			continue
		case !d.changed && !current.cached && !a.doubtful(made):
			a.conclude(ctx, d, made)
			return
		case d.changed || !current.cached:
			if err = a.write(ctx, d, made, current); err == nil {
				a.conclude(ctx, d, made)
				return
			}
			if !a.startOver(ctx, d, made, current, try, err) {
				return
			}
		}
		current = reading{}
	}
}

// doubtful reports whether changes that alter nothing remove a live grant. The read may be too old to show its binding.
// If the policy can be written back under its etag, it is not.
func (a *application) doubtful(made []int) bool {
	return slices.ContainsFunc(made, func(i int) bool {
		c := a.changes[i]
		end := c.Access.Marker.Window.End
		return c.Op == jit.Remove && c.Held && (end.IsZero() || a.platform.now().Before(end))
	})
}

// refresh reads the policy, unless what was read last is enough for the changes.
func (a *application) refresh(ctx context.Context, todo []int, last reading) (reading, error) {
	if last.policy == nil || last.cached && slices.ContainsFunc(todo, a.claimed) {
		return a.platform.readAll(ctx, a.client, a.at)
	}
	return last, nil
}

// record writes the claims of a draft.
func (a *application) record(ctx context.Context, d *draft) error {
	added, err := a.platform.claims(a.at).Record(ctx, d.claims)
	a.fresh = append(a.fresh, added...)
	return err
}

// write writes the policy of a draft. What was written without its condition is taken back.
func (a *application) write(ctx context.Context, d *draft, made []int, was reading) error {
	answer, err := a.client.setPolicy(ctx, a.at, &d.policy)
	if err != nil {
		a.platform.keep(a.at, nil)
		a.unsure = a.unsure || unsure(err)
		if errors.Is(err, errStripped) {
			a.takeBack(ctx, made, was, answer, err)
		}
		return err
	}
	a.platform.keep(a.at, &answer)
	a.unnamed = 0
	if tell := a.platform.tidied; tell != nil && len(d.tidied) > 0 {
		tell(ctx, d.tidied)
	}
	return nil
}

// startOver reports whether to try again after a write has failed. If not, the changes have their errors, or were split
// and made in parts.
func (a *application) startOver(ctx context.Context, d *draft, made []int, was reading, try attempt, err error) bool {
	some := a.ofOneRole(made)
	switch {
	case errors.Is(err, errStripped):
		// It was taken back.
	case ctx.Err() == nil && (conflict(err) && !try.last() || unsure(err) && try.n < unanswered):
		return a.pause(ctx, try, made)
	case conflict(err) && ctx.Err() == nil:
		a.fail(made, a.crowded(err, try))
	case forbidden(err) && len(d.tidied) > 0:
		a.untidied = true // the target's identity may not be allowed to touch the role of what is over
		return true
	case forbidden(err) && len(some) < len(made):
		a.runParts(ctx, some, made)
	case refused(err):
		a.blame(ctx, made, was, err)
	default:
		a.fail(made, explain(ctx, "write the policy of "+a.at.String(), a.at, "setIamPolicy", err))
		a.disclaim(ctx, made, was, err)
	}
	return false
}

// blame finds the changes that the service refuses.
func (a *application) blame(ctx context.Context, made []int, was reading, err error) {
	if len(made) == 1 {
		a.errs[made[0]] = explainRefusal(a.changes[made[0]], a.at, err)
	} else if some := a.split(made, err); len(some) > 0 {
		a.runParts(ctx, some, made)
		return
	} else {
		a.fail(made, a.spoilt(err))
	}
	a.disclaim(ctx, made, was, err)
}

// pause waits for another writer after an attempt. If the context ends, the changes fail.
func (a *application) pause(ctx context.Context, try attempt, made []int) bool {
	first := min(max(firstPause, time.Since(try.began)), maxPause)
	err := backoff.Wait(ctx, try.n, first, min(pauses*first, maxPause))
	if err != nil {
		a.fail(made, fmt.Errorf("wait for another writer of %s: %w", a.at, err))
	}
	return err == nil
}

// runParts makes some of the changes, and then the others.
func (a *application) runParts(ctx context.Context, some, all []int) {
	a.run(ctx, some, reading{})
	a.run(ctx, slices.DeleteFunc(slices.Clone(all), func(i int) bool { return slices.Contains(some, i) }), reading{})
}

// ofOneRole returns the changes that have the role of the first. The target's identity may be allowed to give some
// roles only (https://cloud.google.com/iam/docs/setting-limits-on-granting-roles).
func (a *application) ofOneRole(changes []int) []int {
	var some []int
	for _, i := range changes {
		if a.roles[i].name == a.roles[changes[0]].name {
			some = append(some, i)
		}
	}
	return some
}

// split returns a part of changes that were refused together: those that the message names, or else a half. It returns
// none if so many refusals named nothing that the changes are not to blame.
func (a *application) split(changes []int, err error) []int {
	some := slices.DeleteFunc(slices.Clone(changes),
		func(i int) bool { return !names(err, a.changes[i].Access.Binding) })
	if len(some) > 0 && len(some) < len(changes) {
		a.unnamed = 0
		return some
	}
	if a.unnamed++; a.unnamed > blindSplits {
		return nil
	}
	return changes[:len(changes)/2]
}

// draft makes the changes to the policy as it was read, and returns those that could be made.
func (a *application) draft(todo []int, current reading) (d *draft, made []int) {
	var asked []jit.Change
	for _, i := range todo {
		if !a.untidied {
			asked = append(asked, a.changes[i])
		}
	}
	d = newDraft(current, asked)
	skew := current.clock.Skew()
	for _, i := range todo {
		switch c := a.changes[i]; {
		case c.Op == jit.Ensure && skew != nil:
			a.errs[i] = skew
		case a.stripped != nil && a.granted(i):
			a.errs[i] = a.stripped // it stays as it was
		case a.claimed(i):
			a.errs[i] = a.makeClaimed(d, c)
		default:
			a.errs[i] = d.make(c, a.roles[i])
		}
		if a.errs[i] == nil {
			made = append(made, i)
		}
	}
	d.release()
	return d, made
}

// spoilt is the error of a policy that the service refuses whatever is changed in it.
func (a *application) spoilt(err error) error {
	return problem(err, "remove what is no longer valid from it, such as a principal that was deleted",
		"Google Cloud refuses the policy of %s whatever is changed in it: %s", a.at, jit.Said(answerOf(err).Message))
}

// crowded is the error of a policy that others write all the time.
func (a *application) crowded(err error, try attempt) error {
	return problem(err, "run it again; find out what keeps writing that policy",
		"somebody else changed the policy of %s during each of %d attempts to write it", a.at, try.n+1)
}
