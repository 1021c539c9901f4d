package awsidentitycenter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/failpoint"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The pauses after another process has written marks first, at most.
const (
	firstPause   = 5 * time.Millisecond
	longestPause = 300 * time.Millisecond
)

// Apply first records in the marks what is claimed and what is given up, then brings every
// assignment concerned to what the marks of it want, and drops the marks that have become
// void. Should another process have written marks meanwhile it looks again, so that an
// assignment never outlives its last mark, and whoever removes one makes it again for a claim that came too late.
//
// The errors of a Remove leave its marks, so that it is tried again; an Ensure that the service
// has refused leaves none.
func (p *Platform) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	a := &application{platform: p, errs: make([]error, len(changes))}
	err := checkScope(scope)
	if err == nil {
		a.client, err = p.client(ctx)
	}
	if err == nil {
		a.on = p.account(scope)
		err = take(ctx, a.on.applying)
	}
	if err != nil {
		for i := range a.errs {
			a.errs[i] = err
		}
		return a.errs
	}
	defer func() { <-a.on.applying }()
	a.gather(ctx, changes)
	if a.claim(ctx) {
		a.settle(ctx)
	}
	for _, j := range a.jobs {
		for _, i := range j.changes {
			a.errs[i] = errors.Join(j.err, j.failed)
		}
	}
	return a.errs
}

// application is one call of Apply.
type application struct {
	platform *Platform
	client   *client
	on       *account
	jobs     []*job
	errs     []error // of each change
	view     *view
	// unrecorded is why the marks could not be written; Removes are carried out all the same.
	unrecorded error
}

// job is what is to become of one grant: the last that is asked for.
type job struct {
	changes []int // that are answered by it
	op      jit.Op
	access  jit.Access
	object  object // of an Ensure
	err     error  // why it is not, or not wholly, carried out
	failed  error  // what came of its latest writes
}

func (j *job) owns(m jit.Claim) bool {
	return m.Marker.Owner == j.access.Marker.Owner && m.Marker.ID == j.access.Marker.ID
}

// gather refuses what could never be carried out, and finds out what the rest means.
func (a *application) gather(ctx context.Context, changes []jit.Change) {
	type key struct {
		owner string
		id    jit.ID
	}
	known := map[key]*job{}
	var account error
	looked := false
	for i, c := range changes {
		o, err := a.prepare(ctx, c)
		if err == nil && c.Op == jit.Ensure {
			if !looked {
				account, looked = a.client.ready(ctx, a.on.id), true
			}
			err = account
		}
		if err != nil {
			a.errs[i] = err
			continue
		}
		k := key{c.Access.Marker.Owner, c.Access.Marker.ID}
		j := known[k]
		if j == nil {
			j = &job{}
			known[k], a.jobs = j, append(a.jobs, j)
		}
		j.changes = append(j.changes, i)
		j.op, j.access, j.object = c.Op, c.Access, o
	}
}

// prepare checks one change and resolves its names.
func (a *application) prepare(ctx context.Context, c jit.Change) (object, error) {
	m := c.Access.Marker
	if err := jit.CheckOwner(m.Owner); err != nil {
		return object{}, err
	}
	if id, err := jit.ParseID(string(m.ID)); err != nil {
		return object{}, err
	} else if id != m.ID {
		return object{}, jit.Invalid("id", "write it in lower case", "%q is not in its canonical form", m.ID)
	}
	if err := a.checkPlace(ctx, m); err != nil || c.Op == jit.Remove {
		return object{}, err
	}
	if err := checkRole(c.Access.Binding.Role); err != nil {
		return object{}, err
	}
	return a.client.object(ctx, c.Access.Binding)
}

// checkPlace refuses a grant that was made on another instance, where the target no longer looks.
func (a *application) checkPlace(ctx context.Context, m jit.Marker) error {
	places, err := a.platform.marks.Places(ctx, m.Owner, m.ID)
	if err != nil {
		return unremembered(err)
	}
	if len(places) == 0 || slices.Contains(places, a.client.instance) {
		return nil
	}
	return &jit.Error{Problem: fmt.Sprintf("the access was given on the instance %s, and the target is the instance %s", strings.Join(places, ", "), a.client.instance),
		Hint: "let the target be that instance again (instance_arn, region) until the grant has ended"}
}

// claim writes into the marks what the jobs claim and give up, provided that nobody has written meanwhile:
// what was there before the first mark is told by a list that nobody's marks have overtaken. It returns false
// when nothing more can be done.
func (a *application) claim(ctx context.Context) bool {
	fail := func(err error) bool {
		for _, j := range a.jobs {
			j.err = err
		}
		return false
	}
	for try := 0; ; try++ {
		marked, err := a.platform.marks.ReadClaims(ctx, a.client.instance, a.on.id)
		if err != nil {
			return fail(unremembered(err))
		}
		for _, j := range a.jobs {
			j.err = nil // of a try before
		}
		a.view = newView(marked)
		there, err := a.client.list(ctx, a.on.id, a.view.sets(a.jobs))
		if err != nil {
			return fail(err)
		}
		a.view.see(there)
		skew := a.platform.watch.Skew()
		for _, j := range a.jobs {
			if j.op == jit.Ensure {
				j.err = skew
			}
		}
		put := a.view.claims(a.jobs)
		if len(put) == 0 {
			return true
		}
		version, err := a.platform.marks.Update(ctx, a.client.instance, a.on.id, marked.Version, put, nil)
		switch {
		case err == nil:
			failpoint.Hit(kind + ".after-claim")
			a.view.put(put, version)
			return true
		case !errors.Is(err, jit.ErrStale):
			a.without(err)
			return true
		}
		if err := backoff.Wait(ctx, try, firstPause, longestPause); err != nil {
			return fail(err)
		}
	}
}

// without goes on with the Removes alone, as the marks cannot be written.
func (a *application) without(err error) {
	a.unrecorded = unremembered(err)
	for _, j := range a.jobs {
		if j.op == jit.Ensure {
			j.err = a.unrecorded
		}
	}
	a.view.put(a.view.claims(a.jobs), a.view.version)
}

// settle brings the assignments to what the marks want until nobody has changed the marks meanwhile.
func (a *application) settle(ctx context.Context) {
	for try := 0; ; try++ {
		a.act(ctx)
		failpoint.Hit(kind + ".after-write")
		drop := a.view.void(a.jobs)
		if a.unrecorded != nil {
			for _, j := range a.jobs {
				if j.op == jit.Remove && j.failed == nil && a.view.has(j) {
					j.err = fmt.Errorf("the access was ended, but that could not be recorded: %w", a.unrecorded)
				}
			}
			return
		}
		if len(drop) == 0 {
			return
		}
		_, err := a.platform.marks.Update(ctx, a.client.instance, a.on.id, a.view.version, nil, drop)
		if err == nil {
			return
		}
		if errors.Is(err, jit.ErrStale) {
			err = backoff.Wait(ctx, try, firstPause, longestPause)
		}
		if err == nil {
			var marked jit.ClaimSet
			if marked, err = a.platform.marks.ReadClaims(ctx, a.client.instance, a.on.id); err == nil {
				a.view.again(marked)
				continue
			}
		}
		for _, j := range a.jobs {
			if j.failed == nil && a.view.waits(j, drop) {
				j.err = fmt.Errorf("the access was ended, but that could not be recorded: %w", unremembered(err))
			}
		}
		return
	}
}

// unremembered: without the marks nobody can say which assignments are ours.
func unremembered(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("the ledger remembers which account assignments are ours: %w", err)
}
