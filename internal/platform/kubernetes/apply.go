package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// attempts bounds how often changes that lose a race with another writer are tried.
	attempts = 8
	// firstPause is the longest pause after the first lost race; it doubles with each up to maxPause.
	firstPause = 20 * time.Millisecond
	maxPause   = 32 * firstPause
)

// errRace: what was read is not there any more as it was read.
var errRace = errors.New("another writer was faster")

// Apply lists the scope once and looks once for each distinct role, then makes one
// write for each Ensure, several at a time, and one for all Removes together.
//
// A binding of ours that was altered is put right whoever altered it: the marker says
// that it is ours. Its subjects, labels and annotation are updated in place; where its role
// was changed it is deleted and made anew, since the role of a binding cannot change. Labels and
// annotations that others have added stay. A binding that has our name and not our
// marker is never touched; it is an error, for Remove too: it may be our binding with its marks
// taken off, and then access lives on.
func (p *Platform) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	errs := make([]error, len(changes))
	at, err := p.place(scope)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	a := &application{platform: p, at: at, jobs: make([]job, len(changes)), errs: errs}
	var todo []int
	for i, c := range changes {
		if a.jobs[i], errs[i] = p.job(at, c); errs[i] == nil {
			todo = append(todo, i)
		}
	}
	for lost := 0; len(todo) > 0 && lost < attempts; lost++ {
		if lost > 0 {
			if err := backoff.Wait(ctx, lost-1, firstPause, maxPause); err != nil {
				for _, i := range todo {
					errs[i] = at.explain(ctx, "wait for another writer of bindings", err)
				}
				break
			}
		}
		todo = a.run(ctx, todo)
	}
	return errs
}

// job is one change in the cluster's words.
type job struct {
	marker jit.Marker
	want   *rbacv1.RoleBinding // nil for a Remove
}

// job refuses what could never be carried out.
func (p *Platform) job(at place, c jit.Change) (job, error) {
	m := c.Access.Marker
	if c.Op == jit.Remove {
		return job{marker: m}, nil
	}
	b := c.Access.Binding
	b.Scope = at.scope()
	b, _, err := p.Check(b)
	if err != nil {
		return job{}, err
	}
	subject, err := parsePrincipal(b.Principal)
	if err != nil {
		return job{}, err
	}
	ref, err := parseRole(b.Role)
	if err != nil {
		return job{}, err
	}
	return job{m, newBinding(m, subject, ref, at.namespace)}, nil
}

// application is one call of Apply.
type application struct {
	platform *Platform
	at       place
	jobs     []job
	errs     []error // of each job, the outcome of its latest attempt
}

// grant is what an attempt knows of one owner and id.
type grant struct {
	owner string
	id    jit.ID
	jobs  []int // what is asked for, in order
	// objects bear the marker; the first is not always the one with our name.
	objects []*rbacv1.RoleBinding
	// squatter has our name and not our marker.
	squatter *rbacv1.RoleBinding
	// failed is why its removal together with others got no answer.
	failed error
}

// run makes one attempt and returns the jobs that lost a race.
func (a *application) run(ctx context.Context, todo []int) (again []int) {
	there, err := a.at.list(ctx)
	if err != nil {
		err = a.at.explain(ctx, "list the bindings of "+a.at.scope(), err)
		for _, i := range todo {
			a.errs[i] = err
		}
		return nil
	}
	skew := a.platform.clock.Latest().Skew()
	refused := a.refusedRoles(ctx, todo, skew)
	grants := a.grants(todo, there)
	a.removeTogether(ctx, grants, there)
	var mu sync.Mutex
	writes := errgroup.Group{}
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

// grants gathers what is asked for and what is there by owner and id.
func (a *application) grants(todo []int, there []rbacv1.RoleBinding) []*grant {
	var all []*grant
	byName := map[string]*grant{}
	for _, i := range todo {
		m := a.jobs[i].marker
		g := byName[objectName(m)]
		if g == nil {
			g = &grant{owner: m.Owner, id: m.ID}
			byName[objectName(m)], all = g, append(all, g)
		}
		g.jobs = append(g.jobs, i)
	}
	for i := range there {
		b := &there[i]
		name := ""
		if m, ours := markerOf(b); ours {
			name = objectName(m)
		}
		if g := byName[name]; g != nil {
			g.objects = append(g.objects, b)
		}
		if g := byName[b.Name]; g != nil && b.Name != name {
			g.squatter = b
		}
	}
	return all
}

// refusedRoles looks once for each role that is to be granted and returns why it cannot be.
// Who may not look at a role grants it unseen.
func (a *application) refusedRoles(ctx context.Context, todo []int, skew error) map[rbacv1.RoleRef]error {
	refused := map[rbacv1.RoleRef]error{}
	if skew != nil {
		return refused
	}
	for _, i := range todo {
		if a.jobs[i].want != nil {
			refused[a.jobs[i].want.RoleRef] = nil
		}
	}
	var mu sync.Mutex
	reads := errgroup.Group{}
	reads.SetLimit(parallel)
	for _, ref := range slices.Collect(maps.Keys(refused)) { // not the map itself: the reads write to it
		reads.Go(func() error {
			exists, err := a.at.roleExists(ctx, ref)
			switch {
			case apierrors.IsForbidden(err):
				return nil
			case err != nil:
				err = a.at.explain(ctx, "look for "+roleOf(ref), err)
			case !exists:
				err = a.at.noSuchRole(ref)
			}
			mu.Lock()
			defer mu.Unlock()
			refused[ref] = err
			return nil
		})
	}
	_ = reads.Wait() // the outcome of each is in refused
	return refused
}

// carryOut does in order what is asked for of one grant. It returns the jobs that lost
// a race, and those after them.
func (a *application) carryOut(ctx context.Context, g *grant, skew error, refused map[rbacv1.RoleRef]error) []int {
	for n, i := range g.jobs {
		j := a.jobs[i]
		var err error
		switch {
		case g.failed != nil:
			err = g.failed
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
			for _, i := range g.jobs[n:] {
				a.errs[i] = fmt.Errorf("change the binding %s: %w", objectName(j.marker), err)
			}
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
	var own *rbacv1.RoleBinding
	copies := g.objects
	for n, b := range g.objects {
		if b.Name == j.want.Name {
			own = b
			copies = append(append([]*rbacv1.RoleBinding{}, g.objects[:n]...), g.objects[n+1:]...)
		}
	}
	if own != nil && (own.RoleRef != j.want.RoleRef || own.DeletionTimestamp != nil) {
		if err := a.discard(ctx, own); err != nil {
			return err
		}
		own = nil
	}
	var err error
	switch {
	case own == nil:
		if own, err = a.at.create(ctx, j.want); apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("%w: %w", errRace, err)
		}
	case !right(own, j.want, j.marker):
		if own, err = a.at.update(ctx, correct(own, j.want, j.marker)); apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			return fmt.Errorf("%w: %w", errRace, err)
		}
	}
	if err != nil {
		return err
	}
	g.objects = []*rbacv1.RoleBinding{own}
	for n, b := range copies {
		if err := a.discard(ctx, b); err != nil {
			g.objects = append(g.objects, copies[n:]...)
			return err
		}
	}
	return nil
}

// remove leaves nothing that bears the grant's marker.
func (a *application) remove(ctx context.Context, g *grant) error {
	for len(g.objects) > 0 {
		if err := a.discard(ctx, g.objects[0]); err != nil {
			return err
		}
		g.objects = g.objects[1:]
	}
	if g.squatter != nil {
		return a.at.squatted(g.squatter)
	}
	return nil
}

// discard deletes one binding of ours; absent is success. Finalizers go first: with
// them the binding would stay, and go on giving access.
func (a *application) discard(ctx context.Context, b *rbacv1.RoleBinding) error {
	if len(b.Finalizers) > 0 {
		freed := b.DeepCopy()
		freed.Finalizers = nil
		updated, err := a.at.update(ctx, freed)
		if err != nil {
			return raced(err)
		}
		if b.DeletionTimestamp != nil {
			return nil // that was all that kept it
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
