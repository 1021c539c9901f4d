package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// attempts caps the attempts at changes that lose races with other writers.
	attempts = 8
	// firstPause is the longest pause after the first lost race; it doubles with each up to maxPause.
	firstPause = 20 * time.Millisecond
	maxPause   = 32 * firstPause
)

// errRace is the error for a binding that another writer has changed since it was read.
var errRace = errors.New("another writer was faster")

// Apply reads the bindings of the changes with one list and each distinct role with one request. Then it makes one
// write for each Ensure, several at a time, and one for all Removes together.
//
// A binding of ours that was altered is corrected, because the marker says that it is ours. Subjects, labels and the
// annotation are updated in place. A binding with another role is deleted and created again, because the role of a
// binding cannot change. Labels and annotations of others stay. A binding with our name but without our marker is never
// touched and is an error, for Remove too: it may be our binding without its marks, which still gives access.
func (p *Platform) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	at, err := p.place(scope)
	if err != nil {
		return slices.Repeat([]error{err}, len(changes))
	}
	a := &application{platform: p, at: at, jobs: make([]job, len(changes)), errs: make([]error, len(changes))}
	var todo []int
	for i, c := range changes {
		if a.jobs[i], a.errs[i] = p.job(at, c); a.errs[i] == nil {
			todo = append(todo, i)
		}
	}
	for lost := 0; len(todo) > 0 && lost < attempts; lost++ {
		if lost > 0 {
			if err := backoff.Wait(ctx, lost-1, firstPause, maxPause); err != nil {
				a.fail(todo, at.explain(ctx, "wait for another writer of bindings", err))
				break
			}
		}
		todo = a.run(ctx, todo, lost == 0)
	}
	return a.errs
}

// job is one change in the terms of the cluster.
type job struct {
	marker jit.Marker
	want   *rbacv1.RoleBinding // nil for a Remove
}

// job refuses changes that can never be carried out.
func (p *Platform) job(at place, c jit.Change) (job, error) {
	m := c.Access.Marker
	if c.Op == jit.Remove {
		return job{marker: m}, nil
	}
	b := c.Access.Binding
	b.Scope = at.scope()
	subject, ref, err := parse(b)
	return job{m, newBinding(m, subject, ref, at.namespace)}, err
}

// application is one call of Apply.
type application struct {
	platform *Platform
	at       place
	jobs     []job
	errs     []error // of each job, the outcome of its latest attempt
}

// fail sets the error of the jobs todo.
func (a *application) fail(todo []int, err error) {
	for _, i := range todo {
		a.errs[i] = err
	}
}

// run makes one attempt and returns the jobs that lost a race. The first attempt may read only the bindings that the
// labels select.
func (a *application) run(ctx context.Context, todo []int, first bool) (again []int) {
	var there []rbacv1.RoleBinding
	var refused map[rbacv1.RoleRef]error
	var reads errgroup.Group
	reads.Go(func() (err error) {
		there, err = a.list(ctx, todo, first)
		return err
	})
	reads.Go(func() error {
		refused = a.refusedRoles(ctx, todo)
		return nil
	})
	if err := reads.Wait(); err != nil {
		a.fail(todo, a.at.explain(ctx, "list the bindings of "+a.at.scope(), err))
		return nil
	}
	skew := a.platform.clock.Latest().Skew()
	grants := a.grants(todo, there)
	a.removeTogether(ctx, grants)
	var mu sync.Mutex
	var writes errgroup.Group
	writes.SetLimit(parallel)
	for _, g := range grants {
		writes.Go(func() error {
			lost := a.carryOut(ctx, g, skew, refused)
			mu.Lock()
			defer mu.Unlock()
			again = append(again, lost...)
			return nil
		})
	}
	_ = writes.Wait() // the outcome of each is in errs
	return again
}

// list returns the bindings that the jobs todo are about. The labels select all copies of a binding of ours, because a
// copy counts only with complete labels. They do not select a binding with our name whose labels were altered: creating
// it again fails, which leads to another attempt, and before a removal the whole scope is listed.
func (a *application) list(ctx context.Context, todo []int, first bool) ([]rbacv1.RoleBinding, error) {
	var ids []string
	removed := map[string]bool{} // the names that the list must contain
	for _, i := range todo {
		ids = append(ids, string(a.jobs[i].marker.ID))
		if a.jobs[i].want == nil {
			removed[objectName(a.jobs[i].marker)] = true
		}
	}
	if first && len(ids) <= together {
		there, err := a.at.list(ctx, idLabel+" in ("+strings.Join(ids, ",")+")")
		for i := range there {
			delete(removed, there[i].Name)
		}
		if err != nil || len(removed) == 0 {
			return there, err
		}
	}
	return a.at.list(ctx, "")
}

// refusedRoles reads each role to be granted once and returns why it cannot be granted. An operator who may not read a
// role grants it without this check.
func (a *application) refusedRoles(ctx context.Context, todo []int) map[rbacv1.RoleRef]error {
	refused := map[rbacv1.RoleRef]error{}
	var mu sync.Mutex
	var reads errgroup.Group
	reads.SetLimit(parallel)
	seen := map[rbacv1.RoleRef]bool{}
	for _, i := range todo {
		want := a.jobs[i].want
		if want == nil || seen[want.RoleRef] {
			continue
		}
		seen[want.RoleRef] = true
		reads.Go(func() error {
			err := a.at.checkRole(ctx, want.RoleRef)
			mu.Lock()
			defer mu.Unlock()
			refused[want.RoleRef] = err
			return nil
		})
	}
	_ = reads.Wait() // the outcome of each is in refused
	return refused
}

// carryOut carries out the jobs of one grant in order. It returns the job that lost a race, with those after it.
func (a *application) carryOut(ctx context.Context, g *grant, skew error, refused map[rbacv1.RoleRef]error) []int {
	for n, i := range g.jobs {
		j := a.jobs[i]
		err := g.failed
		switch {
		case err != nil:
		case j.want == nil:
			err = a.remove(ctx, g)
		case skew != nil:
			err = skew
		case refused[j.want.RoleRef] != nil:
			err = refused[j.want.RoleRef]
		default:
			err = a.ensure(ctx, g, j)
		}
		if errors.Is(err, errRace) {
			a.fail(g.jobs[n:], fmt.Errorf("change the binding %s: %w", objectName(j.marker), err))
			return g.jobs[n:]
		}
		a.errs[i] = a.at.explainChange(ctx, j, err)
	}
	return nil
}

// ensure leaves the binding as wanted, and no copy.
func (a *application) ensure(ctx context.Context, g *grant, j job) error {
	if g.squatter != nil {
		return a.at.squatted(g.squatter)
	}
	own, copies := g.own(j.want.Name)
	own, err := a.write(ctx, own, j)
	if err != nil {
		return err
	}
	g.objects = append([]*rbacv1.RoleBinding{own}, copies...)
	return a.discard(ctx, g, 1)
}

// write turns the binding own, nil if there is none, into the wanted one and returns the result.
func (a *application) write(ctx context.Context, own *rbacv1.RoleBinding, j job) (*rbacv1.RoleBinding, error) {
	if own != nil && (own.RoleRef != j.want.RoleRef || own.DeletionTimestamp != nil) {
		if err := a.delete(ctx, own); err != nil {
			return nil, err
		}
		own = nil
	}
	if own == nil {
		made, err := a.at.create(ctx, j.want)
		if apierrors.IsAlreadyExists(err) {
			err = fmt.Errorf("%w: %w", errRace, err)
		}
		return made, err
	}
	if right(own, j.want, j.marker) {
		return own, nil
	}
	updated, err := a.at.update(ctx, correct(own, j.want, j.marker))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		err = fmt.Errorf("%w: %w", errRace, err)
	}
	return updated, err
}

// remove leaves nothing that bears the grant's marker.
func (a *application) remove(ctx context.Context, g *grant) error {
	if err := a.discard(ctx, g, 0); err != nil {
		return err
	}
	if g.squatter != nil {
		return a.at.squatted(g.squatter)
	}
	return nil
}

// discard deletes the objects of a grant except the first n.
func (a *application) discard(ctx context.Context, g *grant, n int) error {
	for len(g.objects) > n {
		if err := a.delete(ctx, g.objects[n]); err != nil {
			return err
		}
		g.objects = slices.Delete(g.objects, n, n+1)
	}
	return nil
}

// delete deletes one binding of ours; absent is success. It removes finalizers first, because with them the binding
// would stay and still give access.
func (a *application) delete(ctx context.Context, b *rbacv1.RoleBinding) error {
	if len(b.Finalizers) > 0 {
		freed := b.DeepCopy()
		freed.Finalizers = nil
		updated, err := a.at.update(ctx, freed)
		if err != nil {
			return raced(err)
		}
		if b.DeletionTimestamp != nil {
			return nil // only the finalizers kept it
		}
		b = updated
	}
	return raced(a.at.delete(ctx, b))
}

// raced takes absence for success and a changed version for a lost race.
func raced(err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsConflict(err):
		return fmt.Errorf("%w: %w", errRace, err)
	}
	return err
}
