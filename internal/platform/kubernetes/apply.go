package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

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
// write for each Ensure, several at a time, and one for all Removes together. A Remove succeeds once another list no
// longer shows the binding: the answer to a deletion does not tell that it is gone.
//
// A binding of ours that was altered is corrected, because the marker says that it is ours. Subjects, labels and the
// annotation are updated in place. A binding with another role is deleted and created again, because the role of a
// binding cannot change. Labels, annotations and finalizers of others stay. A binding with our name but without our
// marker is ours if the record says that the cluster holds the access, and it has the role and the principal of the
// record. Any other is never touched and is an error, for Remove too: it may be our binding without its marks, which
// still gives access.
func (p *Platform) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	at, err := p.place(scope)
	if err != nil {
		return slices.Repeat([]error{err}, len(changes))
	}
	a := &application{platform: p, at: at, jobs: make([]job, len(changes)), errs: make([]error, len(changes)),
		taken: map[types.UID]int{}}
	var todo []int
	for i, c := range changes {
		if a.jobs[i], a.errs[i] = p.job(at, c); a.errs[i] == nil {
			todo = append(todo, i)
		}
	}
	for tries, lost := 0, 0; len(todo) > 0 && tries < attempts; tries++ {
		if todo = a.run(ctx, todo); !a.lost(todo) {
			continue
		}
		a.whole = a.whole || a.raced(todo)
		if err := backoff.Wait(ctx, lost, firstPause, maxPause); err != nil {
			a.fail(todo, at.explain(ctx, "wait for another writer of bindings", err))
			break
		}
		lost++
	}
	return a.errs
}

// job is one change in the terms of the cluster.
type job struct {
	marker jit.Marker
	want   *rbacv1.RoleBinding // nil for a Remove
	// held is the binding that the cluster holds according to the record; nil if it holds none, or it is not known.
	held *rbacv1.RoleBinding
}

// records reports whether a binding with the name of the grant gives what the cluster holds according to the record.
func (j job) records(b *rbacv1.RoleBinding) bool {
	return j.held != nil && b.RoleRef == j.held.RoleRef && slices.Contains(b.Subjects, j.held.Subjects[0])
}

// job refuses changes that can never be carried out.
func (p *Platform) job(at place, c jit.Change) (job, error) {
	j := job{marker: c.Access.Marker}
	b := c.Access.Binding
	b.Scope = at.scope()
	subject, ref, err := parse(b)
	var whole *rbacv1.RoleBinding
	if err == nil {
		whole = newBinding(j.marker, subject, ref, at.namespace)
	}
	if c.Held {
		j.held = whole
	}
	if c.Op == jit.Remove {
		return j, nil
	}
	j.want = whole
	return j, err
}

// application is one call of Apply.
type application struct {
	platform *Platform
	at       place
	jobs     []job
	errs     []error // of each job, the outcome of its latest attempt
	// whole: the labels may not select all bindings of the jobs.
	whole bool
	// depends holds what the jobs depend on, by its path in the API.
	depends map[string]facts

	mu sync.Mutex
	// taken counts how often each binding was taken away.
	taken map[types.UID]int
}

// lost reports whether one of the jobs todo lost a race, or its answer.
func (a *application) lost(todo []int) bool {
	return a.raced(todo) || slices.ContainsFunc(todo, func(i int) bool { return interrupted(a.errs[i]) })
}

// raced reports whether one of the jobs todo lost a race.
func (a *application) raced(todo []int) bool {
	return slices.ContainsFunc(todo, func(i int) bool { return errors.Is(a.errs[i], errRace) })
}

// fail sets the error of the jobs todo.
func (a *application) fail(todo []int, err error) {
	for _, i := range todo {
		a.errs[i] = err
	}
}

// run makes one attempt and returns the jobs that need another one: they lost a race, they lost an answer, or they
// deleted bindings and must see that those are gone.
func (a *application) run(ctx context.Context, todo []int) (again []int) {
	var there []rbacv1.RoleBinding
	var refused map[rbacv1.RoleRef]error
	var reads errgroup.Group
	reads.Go(func() (err error) {
		there, err = a.list(ctx, todo)
		return err
	})
	reads.Go(func() error {
		refused = a.refusedRoles(ctx, todo)
		a.depends = a.dependencies(ctx, todo)
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
			left := a.carryOut(ctx, g, skew, refused)
			mu.Lock()
			defer mu.Unlock()
			again = append(again, left...)
			return nil
		})
	}
	_ = writes.Wait() // the outcome of each is in errs
	return again
}

// list returns the bindings that the jobs todo are about. The labels select all copies of a binding of ours, because a
// copy counts only with complete labels. They do not select a binding with our name whose labels were altered: creating
// it again fails, which leads to another attempt; before a removal, and where the binding must be there, the whole scope
// is listed.
func (a *application) list(ctx context.Context, todo []int) ([]rbacv1.RoleBinding, error) {
	var ids []string
	removed := map[string]bool{} // the names that the list must contain
	for _, i := range todo {
		ids = append(ids, string(a.jobs[i].marker.ID))
		if (a.jobs[i].want == nil || a.jobs[i].held != nil) && a.errs[i] == nil {
			removed[objectName(a.jobs[i].marker)] = true
		}
	}
	if !a.whole && len(ids) <= together {
		there, err := a.at.list(ctx, idLabel+" in ("+strings.Join(ids, ",")+")")
		for i := range there {
			delete(removed, there[i].Name)
		}
		if err != nil || len(removed) == 0 {
			return there, err
		}
	}
	a.whole = true
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

// carryOut carries out the jobs of one grant in order. It returns the job that needs another attempt, with those after
// it.
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
		if errors.Is(err, errRace) || errors.Is(err, errUnseen) {
			a.fail(g.jobs[n:], fmt.Errorf("change the binding %s: %w", objectName(j.marker), err))
			return g.jobs[n:]
		}
		a.errs[i] = a.at.explainChange(ctx, j, err)
		if interrupted(err) {
			a.fail(g.jobs[n:], a.errs[i])
			return g.jobs[n:]
		}
	}
	return nil
}

// ensure leaves the binding as wanted, and no copy.
func (a *application) ensure(ctx context.Context, g *grant, j job) error {
	if g.squatter != nil {
		return a.at.squatted(g.squatter)
	}
	was, copies := g.own(j.want.Name)
	if err := a.madeAnew(ctx, was, j); err != nil {
		return err
	}
	own, err := a.write(ctx, was, j)
	if err == nil {
		err = a.checkWritten(ctx, was, own, j)
	}
	if err != nil {
		return err
	}
	g.objects = append([]*rbacv1.RoleBinding{own}, copies...)
	return forEnsure(a.discard(ctx, copies))
}

// write turns the binding own, nil if there is none, into the wanted one and returns the result.
func (a *application) write(ctx context.Context, own *rbacv1.RoleBinding, j job) (*rbacv1.RoleBinding, error) {
	if own != nil && (own.RoleRef != j.want.RoleRef || own.DeletionTimestamp != nil) {
		if err := a.take(ctx, own); err != nil {
			return nil, forEnsure(err)
		}
		own = nil
	}
	if own == nil {
		if uid := a.depends[pathOfAccount(j.want)].uid; uid != "" {
			j.want.Annotations[accountAnnotation] = uid
		}
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

// checkWritten compares a binding that was written with the wanted one: policies and webhooks of the cluster change
// objects. A new binding that gives other access is taken away.
func (a *application) checkWritten(ctx context.Context, was, own *rbacv1.RoleBinding, j job) error {
	m, ours := markerOf(own)
	var wrong []string
	if !ours || m.String() != j.marker.String() {
		wrong = []string{"the marker is not the one that was written"}
	}
	if own.RoleRef != j.want.RoleRef || !slices.Equal(own.Subjects, j.want.Subjects) {
		wrong = append(wrong, "the role or the subjects are not those that were written")
	}
	damage := damageOf(own, j.marker, a.at.kind())
	made := was == nil || was.UID != own.UID
	switch before, _, _ := claimOf(cmp.Or(was, own)); {
	case len(wrong) > 0 && made:
		return errors.Join(a.at.altered(append(wrong, damage...)), forEnsure(a.take(ctx, own)))
	case len(wrong) > 0 || len(damage) > 0 && !made && before.String() == j.marker.String():
		return a.at.altered(append(wrong, damage...))
	case len(damage) > 0:
		a.platform.tell(a.at.altered(damage).Error())
	}
	return nil
}
