package kubernetes

import (
	"context"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Read lists the bindings of the scope. What is not ours is standing access, subject by subject, but for what the cluster itself makes
// for its own components, and the operator's own access. Of a namespace the ClusterRoleBindings are listed too, since they hold in it, with
// the markers that they bear; an operator that may not list them sees only those of the namespace, and the snapshot says so. A namespace
// that is not there holds nothing.
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
		reads.Go(func() (err error) {
			everywhere, err = place{client: at.client}.list(ctx, "")
			if apierrors.IsForbidden(err) {
				snap.Unseen = []string{"the operator may not list ClusterRoleBindings, which give access in every namespace"}
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
	if len(snap.Standing) > 0 {
		self := p.operator(ctx, at.client)
		snap.Standing = slices.DeleteFunc(snap.Standing, func(s jit.Standing) bool { return s.Principal == self && !s.Claims() })
	}
	return snap, nil
}

// observed tells what each subject of a binding of ours has.
func (at place) observed(b *rbacv1.RoleBinding, m jit.Marker) []jit.Observed {
	o := jit.Observed{Marker: m, Role: roleOf(b.RoleRef), Damage: strings.Join(damageOf(b, m, at.kind()), "; "), Detail: at.kind() + "/" + b.Name}
	if len(b.Subjects) == 0 {
		return []jit.Observed{o}
	}
	var all []jit.Observed
	for _, s := range b.Subjects {
		o.Principal = principalOf(s)
		all = append(all, o)
	}
	return all
}

// everybody is the group of all who can say who they are.
const everybody = "group:system:authenticated"

// standing lists the access that a binding gives, as access of somebody else. from is the scope on which it gives it, where that is another.
func (at place) standing(b *rbacv1.RoleBinding, from string) []jit.Standing {
	if bootstrapped(b) {
		return nil
	}
	claim, _, _ := claimOf(b)
	var all []jit.Standing
	for _, s := range b.Subjects {
		who := principalOf(s)
		all = append(all, jit.Standing{Principal: who, Role: roleOf(b.RoleRef), Anybody: who == everybody, Detail: at.kind() + "/" + b.Name, From: from, Marker: claim})
	}
	return all
}

// gone reports whether the namespace is not there. Who may not look is told that it is.
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
	return place{c, namespace}, err
}
