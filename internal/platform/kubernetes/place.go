package kubernetes

import (
	"context"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pageSize is how many bindings one request of a list asks for.
const pageSize = 500

// place is one scope: the bindings of a namespace, or with an empty namespace
// those of the cluster. The two kinds have the same fields; here both are a RoleBinding.
type place struct {
	*client
	namespace string
}

// kind names what holds a grant here.
func (at place) kind() string {
	if at.namespace == "" {
		return "ClusterRoleBinding"
	}
	return "RoleBinding"
}

// scope names the place.
func (at place) scope() string {
	if at.namespace == "" {
		return cluster
	}
	return namespaces + at.namespace
}

func (at place) list(ctx context.Context) ([]rbacv1.RoleBinding, error) {
	if at.namespace != "" {
		return list(ctx, at.roleBindings(at.namespace).List, "")
	}
	return list(ctx, func(ctx context.Context, options metav1.ListOptions) (*rbacv1.RoleBindingList, error) {
		found, err := at.clusterRoleBindings().List(ctx, options)
		if err != nil {
			return nil, err
		}
		page := &rbacv1.RoleBindingList{ListMeta: found.ListMeta, Items: make([]rbacv1.RoleBinding, len(found.Items))}
		for i, b := range found.Items {
			page.Items[i] = rbacv1.RoleBinding(b)
		}
		return page, nil
	}, "")
}

// create writes b, provided that nothing of its name is there, and returns what is there then.
func (at place) create(ctx context.Context, b *rbacv1.RoleBinding) (*rbacv1.RoleBinding, error) {
	options := metav1.CreateOptions{FieldManager: fieldManager}
	if at.namespace == "" {
		created, err := at.clusterRoleBindings().Create(ctx, (*rbacv1.ClusterRoleBinding)(b), options)
		return (*rbacv1.RoleBinding)(created), err
	}
	return at.roleBindings(at.namespace).Create(ctx, b, options)
}

// update writes b, provided that what is there has b's version, and returns what is there then.
func (at place) update(ctx context.Context, b *rbacv1.RoleBinding) (*rbacv1.RoleBinding, error) {
	options := metav1.UpdateOptions{FieldManager: fieldManager}
	if at.namespace == "" {
		updated, err := at.clusterRoleBindings().Update(ctx, (*rbacv1.ClusterRoleBinding)(b), options)
		return (*rbacv1.RoleBinding)(updated), err
	}
	return at.roleBindings(at.namespace).Update(ctx, b, options)
}

// delete removes b, provided that it is the very object that was read, unchanged.
func (at place) delete(ctx context.Context, b *rbacv1.RoleBinding) error {
	options := metav1.DeleteOptions{
		Preconditions:     &metav1.Preconditions{UID: &b.UID, ResourceVersion: &b.ResourceVersion},
		PropagationPolicy: new(metav1.DeletePropagationBackground),
	}
	if at.namespace == "" {
		return at.clusterRoleBindings().Delete(ctx, b.Name, options)
	}
	return at.roleBindings(at.namespace).Delete(ctx, b.Name, options)
}

// deleteAll removes every binding that the label selector selects.
func (at place) deleteAll(ctx context.Context, selector string) error {
	options := metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)}
	selected := metav1.ListOptions{LabelSelector: selector}
	if at.namespace == "" {
		return at.clusterRoleBindings().DeleteCollection(ctx, options, selected)
	}
	return at.roleBindings(at.namespace).DeleteCollection(ctx, options, selected)
}

// roleExists reports whether the role is there.
func (at place) roleExists(ctx context.Context, ref rbacv1.RoleRef) (bool, error) {
	look := at.api.Get().Resource("clusterroles")
	if ref.Kind == role {
		look = at.api.Get().Namespace(at.namespace).Resource("roles")
	}
	err := look.Name(ref.Name).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// list reads all pages. When the server has forgotten the version that the pages are
// of, the rest cannot be read any more, and all is read again in one piece.
func list(ctx context.Context, page func(context.Context, metav1.ListOptions) (*rbacv1.RoleBindingList, error), selector string) ([]rbacv1.RoleBinding, error) {
	var all []rbacv1.RoleBinding
	options := metav1.ListOptions{LabelSelector: selector, Limit: pageSize}
	for {
		found, err := page(ctx, options)
		if apierrors.IsResourceExpired(err) && options.Continue != "" {
			all, options = nil, metav1.ListOptions{LabelSelector: selector}
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, found.Items...)
		if options.Continue = found.Continue; options.Continue == "" {
			return all, nil
		}
	}
}
