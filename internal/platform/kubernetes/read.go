package kubernetes

import (
	"cmp"
	"context"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Read lists the bindings of the scope. Bindings that are not ours are standing access, one entry for each subject,
// except those that the cluster makes for its own components and the operator's own access. For a namespace, Read also
// lists the ClusterRoleBindings with their markers, because they give access in it; if the operator may not list them,
// the snapshot says so. A namespace that does not exist holds nothing.
func (p *Platform) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	at, err := p.place(scope)
	if err != nil {
		return jit.Snapshot{}, err
	}
	snap := jit.Snapshot{Advise: p.advise}
	var here, everywhere []rbacv1.RoleBinding
	var reads errgroup.Group
	reads.Go(func() (err error) {
		here, err = at.list(ctx, "")
		return err
	})
	if at.namespace != "" {
		reads.Go(func() error {
			shared, err := p.everywhere.Do(ctx, struct{}{})
			everywhere, err = shared.bindings, cmp.Or(err, shared.err)
			if apierrors.IsForbidden(err) {
				snap.Unseen = []string{"the operator may not list ClusterRoleBindings, which give access in every " +
					"namespace"}
				return nil
			}
			return err
		})
	}
	if err := reads.Wait(); err != nil {
		return jit.Snapshot{}, at.explain(ctx, "list the bindings of "+scope, err)
	}
	snap.Clock = p.clock.Latest().Remote
	if at.namespace != "" && len(here) == 0 {
		gone, err := at.gone(ctx)
		if gone || err != nil {
			return jit.Snapshot{Clock: snap.Clock, Advise: p.advise}, err
		}
	}
	if at.known, err = at.accounts(ctx, here); err != nil {
		return jit.Snapshot{}, err
	}
	p.sort(ctx, at, here, everywhere, &snap)
	return snap, nil
}

// listing is the outcome of a list. All its readers share the bindings.
type listing struct {
	bindings []rbacv1.RoleBinding
	err      error
}

// listEverywhere lists the ClusterRoleBindings once for all callers.
func (p *Platform) listEverywhere(ctx context.Context, callers []struct{}) []listing {
	var l listing
	c, err := p.client()
	if l.err = err; err == nil {
		l.bindings, l.err = place{client: c}.list(ctx, "")
	}
	return slices.Repeat([]listing{l}, len(callers))
}

// sort adds the bindings of a place, and those of the cluster that hold in it too, to a snapshot.
func (p *Platform) sort(ctx context.Context, at place, here, everywhere []rbacv1.RoleBinding, snap *jit.Snapshot) {
	for i := range here {
		b := &here[i]
		if m, ours := markerOf(b); ours {
			snap.Ours = append(snap.Ours, at.observed(b, m)...)
		} else {
			snap.Standing = append(snap.Standing, at.standing(b, "")...)
		}
	}
	for i := range everywhere {
		snap.Standing = append(snap.Standing, place{client: at.client}.standing(&everywhere[i], cluster)...)
	}
	if len(snap.Standing) == 0 {
		return
	}
	self := p.operator(ctx, at.client)
	snap.Standing = slices.DeleteFunc(snap.Standing,
		func(s jit.Standing) bool { return s.Principal == self && !s.Claims() })
}

// observed returns one entry for each subject of a binding of ours.
func (at place) observed(b *rbacv1.RoleBinding, m jit.Marker) []jit.Observed {
	o := jit.Observed{
		Marker: m, Role: roleOf(b.RoleRef), Damage: strings.Join(damageOf(b, m, at.kind()),
			"; "), Detail: at.kind() + "/" + b.Name,
	}
	if len(b.Subjects) == 0 {
		return []jit.Observed{o}
	}
	var all []jit.Observed
	for i, s := range b.Subjects {
		o.Principal, o.Gone = principalOf(s), false
		if account := at.known[pathOfAccount(b)]; i == 0 && another(b, account) {
			o.Principal += " (another one, made anew)"
		} else if i == 0 {
			o.Gone = account.gone && b.Annotations[accountAnnotation] != ""
		}
		all = append(all, o)
	}
	return all
}

// everybody is the group of all authenticated users.
const everybody = "group:system:authenticated"

// standing returns the access that a binding of others gives. from is the scope of the binding if it is not that of the
// snapshot.
func (at place) standing(b *rbacv1.RoleBinding, from string) []jit.Standing {
	if bootstrapped(b) {
		return nil
	}
	claim, _, claims := claimOf(b)
	if !claims {
		claim = namedGrant(b)
	}
	var all []jit.Standing
	for _, s := range b.Subjects {
		who := principalOf(s)
		all = append(all, jit.Standing{
			Principal: who, Role: roleOf(b.RoleRef), Anybody: who == everybody,
			Detail: at.kind() + "/" + b.Name, From: from, Marker: claim,
		})
	}
	return all
}

// gone reports whether the namespace does not exist; false if the operator may not read it.
func (at place) gone(ctx context.Context) (bool, error) {
	err := at.api.Get().UseProtobufAsDefault().AbsPath("/api/v1/namespaces", at.namespace).Do(ctx).Error()
	switch {
	case err == nil, apierrors.IsForbidden(err):
		return false, nil
	case apierrors.IsNotFound(err):
		return true, nil
	}
	return false, at.explain(ctx, "look for the namespace "+at.namespace, err)
}

// place opens the scope.
func (p *Platform) place(scope string) (place, error) {
	namespace, err := parseScope(scope)
	if err != nil {
		return place{}, err
	}
	c, err := p.client()
	return place{client: c, namespace: namespace}, err
}
