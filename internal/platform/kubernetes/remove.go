package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// together is how many grants one request may select: their ids make a URL of about 4 KiB, half of what common proxies
// accept.
const together = 100

// errUnseen is the error for a binding that was deleted, and that no read has shown to be gone. A server answers a
// deletion with success also if finalizers keep the object, and its access, for as long as they like
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/finalizers/).
var errUnseen = errors.New("it was deleted, and it is not known to be gone")

// remove leaves nothing that bears the grant's marker.
func (a *application) remove(ctx context.Context, g *grant) error {
	if len(g.objects) == 0 && g.squatter != nil {
		return a.at.squatted(g.squatter)
	}
	return a.discard(ctx, g.objects)
}

// discard takes objects away. It returns [errUnseen] if they must be looked for once more, and nil if there are none.
func (a *application) discard(ctx context.Context, objects []*rbacv1.RoleBinding) error {
	var failed, unseen, remains error
	for _, b := range objects {
		switch err := a.take(ctx, b); {
		case err == nil:
			unseen = errUnseen
		case errors.Is(err, jit.ErrRemains):
			remains = err
		default:
			failed = cmp.Or(failed, err)
		}
	}
	return cmp.Or(failed, unseen, remains)
}

// take deletes one binding of ours; absent is success. If something may hold the deletion up, or held it up before, take
// first removes the subjects, which ends the access at once, and the finalizers. The error wraps [jit.ErrRemains] if the
// binding gives nothing and cannot be deleted.
func (a *application) take(ctx context.Context, b *rbacv1.RoleBinding) error {
	a.mu.Lock()
	a.taken[b.UID]++
	times := a.taken[b.UID]
	a.mu.Unlock()
	if held := len(b.Subjects) == 0 && b.DeletionTimestamp != nil; times > 2 || times > 1 && held {
		return a.at.heldUp(b, nil)
	}
	var refused error
	if times > 1 || b.DeletionTimestamp != nil || len(b.Finalizers) > 0 {
		b, refused = a.release(ctx, b)
		if b == nil || errors.Is(refused, errRace) {
			return refused
		}
	}
	if times == 1 {
		refused = nil // the deletion may suffice
	}
	if b.DeletionTimestamp != nil {
		return refused
	}
	return cmp.Or(a.delete(ctx, b), refused)
}

// delete deletes one binding, or removes its subjects if the cluster refuses that.
func (a *application) delete(ctx context.Context, b *rbacv1.RoleBinding) error {
	err := raced(a.at.delete(ctx, b))
	if err == nil || errors.Is(err, errRace) || !answered(err) {
		return err
	}
	emptied, refused := a.empty(ctx, b)
	switch {
	case errors.Is(refused, errRace):
		return refused
	case refused != nil:
		return err
	case emptied == nil:
		return nil
	}
	return a.at.heldUp(emptied, err)
}

// release removes the subjects of a binding, which ends its access at once, and then its finalizers. It returns nil if
// the binding is gone, and why the subjects could not be removed.
func (a *application) release(ctx context.Context, b *rbacv1.RoleBinding) (*rbacv1.RoleBinding, error) {
	b, refused := a.empty(ctx, b)
	if b == nil || errors.Is(refused, errRace) || len(b.Finalizers) == 0 {
		return b, refused
	}
	freed := b.DeepCopy()
	freed.Finalizers = nil
	updated, err := a.change(ctx, freed)
	if errors.Is(err, errRace) {
		return b, err
	}
	if err == nil {
		b = updated
	}
	return b, refused
}

// empty removes the subjects of a binding and returns the result, or the binding with an error; nil if it is gone.
func (a *application) empty(ctx context.Context, b *rbacv1.RoleBinding) (*rbacv1.RoleBinding, error) {
	if len(b.Subjects) == 0 {
		return b, nil
	}
	emptied := b.DeepCopy()
	emptied.Subjects = nil
	updated, err := a.change(ctx, emptied)
	if err != nil {
		return b, err
	}
	return updated, nil
}

// change writes b over its version and returns the result; nil if it is gone.
func (a *application) change(ctx context.Context, b *rbacv1.RoleBinding) (*rbacv1.RoleBinding, error) {
	updated, err := a.at.update(ctx, b)
	if err != nil {
		return nil, raced(err)
	}
	return updated, nil
}

// tried reports whether a binding of the grant was deleted and is there again.
func (a *application) tried(g *grant) bool {
	return slices.ContainsFunc(g.jobs, func(i int) bool { return errors.Is(a.errs[i], errUnseen) })
}

// forEnsure keeps [jit.ErrRemains], which is about the outcome of a Remove, out of the error of an Ensure.
func forEnsure(err error) error {
	var told *jit.Error
	if errors.Is(err, jit.ErrRemains) && errors.As(err, &told) {
		return &jit.Error{Problem: told.Problem, Hint: told.Hint}
	}
	return err
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

// answered reports whether an error is an answer of the API.
func answered(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status)
}

// removeTogether deletes the objects of several Removes with one request for each owner and [together] grants. It
// leaves to be removed one by one the grants whose labels do not select exactly what must go, those that an attempt
// before left there, and all grants if the operator may not delete collections.
func (a *application) removeTogether(ctx context.Context, grants []*grant) {
	byOwner := map[string][]*grant{}
	for _, g := range grants {
		if len(g.jobs) == 1 && a.jobs[g.jobs[0]].want == nil && len(g.objects) > 0 && !g.mislabelled && !a.tried(g) {
			byOwner[g.marker.Owner] = append(byOwner[g.marker.Owner], g)
		}
	}
	for owner, all := range byOwner {
		for some := range slices.Chunk(all, together) {
			if len(some) > 1 && !a.removeChunk(ctx, owner, some) {
				return
			}
		}
	}
}

// removeChunk makes one request and reports whether another one of its kind may succeed.
func (a *application) removeChunk(ctx context.Context, owner string, grants []*grant) bool {
	ids := make([]string, len(grants))
	for i, g := range grants {
		ids[i] = string(g.marker.ID)
	}
	err := a.at.deleteAll(ctx, fmt.Sprintf("%s=%s,%s in (%s)", ownerLabel, owner, idLabel, strings.Join(ids, ",")))
	for _, g := range grants {
		if err == nil {
			g.failed = errUnseen
		} else if !answered(err) {
			g.failed = err // a server that does not answer is not asked again for each of them
		}
	}
	return !apierrors.IsForbidden(err)
}
