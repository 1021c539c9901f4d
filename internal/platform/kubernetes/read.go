package kubernetes

import (
	"context"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Read lists the bindings of the scope. What bears no marker is standing access, subject by
// subject. Of a namespace the ClusterRoleBindings are listed too, since they hold
// in it; an operator that may not list them sees only those of the namespace.
// A namespace that is not there holds nothing.
func (p *Platform) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	at, err := p.place(scope)
	if err != nil {
		return jit.Snapshot{}, err
	}
	var here, everywhere []rbacv1.RoleBinding
	var reads errgroup.Group
	reads.Go(func() (err error) {
		here, err = at.list(ctx)
		return err
	})
	if at.namespace != "" {
		reads.Go(func() (err error) {
			everywhere, err = place{client: at.client}.list(ctx)
			if apierrors.IsForbidden(err) {
				return nil
			}
			return err
		})
	}
	if err := reads.Wait(); err != nil {
		return jit.Snapshot{}, at.explain(ctx, "list the bindings of "+scope, err)
	}
	snap := jit.Snapshot{Clock: p.lastClock().remote}
	if at.namespace != "" && len(here) == 0 {
		gone, err := at.gone(ctx)
		if gone || err != nil {
			return snap, err
		}
	}
	for i := range here {
		b := &here[i]
		m, ours := markerOf(b)
		if !ours {
			snap.Standing = append(snap.Standing, standing(b, at.kind())...)
			continue
		}
		o := jit.Observed{Marker: m, Role: roleOf(b.RoleRef), Damage: strings.Join(damageOf(b, m, at.kind()), "; ")}
		if len(b.Subjects) > 0 {
			o.Principal = principalOf(b.Subjects[0])
		}
		snap.Ours = append(snap.Ours, o)
	}
	for i := range everywhere {
		if _, ours := markerOf(&everywhere[i]); !ours {
			snap.Standing = append(snap.Standing, standing(&everywhere[i], place{}.kind())...)
		}
	}
	return snap, nil
}

// standing lists the access that a binding gives.
func standing(b *rbacv1.RoleBinding, kind string) []jit.Standing {
	var all []jit.Standing
	for _, s := range b.Subjects {
		all = append(all, jit.Standing{Principal: principalOf(s), Role: roleOf(b.RoleRef), Detail: kind + "/" + b.Name})
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
