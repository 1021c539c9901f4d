package kubernetes

import (
	"context"
	"net/http"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// The names of the two kinds of bindings in a path of the API.
const (
	roleBindings        = "rolebindings"
	clusterRoleBindings = "clusterrolebindings"
)

// pageSize is how many bindings one request of a list asks for.
const pageSize = 500

// place is one scope: a namespace or, if the namespace is empty, the cluster. Both kinds of bindings have the same
// fields; here both are a RoleBinding.
type place struct {
	*client
	namespace string
	// known holds the service accounts that were read, by their paths.
	known map[string]facts
}

// kind is the kind of the bindings here.
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

// resource names the bindings of this place in a path of the API.
func (at place) resource() string {
	if at.namespace == "" {
		return clusterRoleBindings
	}
	return roleBindings
}

// list returns the bindings that the label selector selects; empty selects all.
func (at place) list(ctx context.Context, selector string) ([]rbacv1.RoleBinding, error) {
	return at.client.list(ctx, at.resource(), at.namespace, selector)
}

// create writes b, unless its name is taken, and returns the result.
func (at place) create(ctx context.Context, b *rbacv1.RoleBinding) (*rbacv1.RoleBinding, error) {
	options := &metav1.CreateOptions{FieldManager: fieldManager}
	return at.write(ctx, at.request(http.MethodPost, at.resource(), at.namespace).VersionedParams(options,
		at.parameters), b)
}

// update writes b over the version that b has, and returns the result.
func (at place) update(ctx context.Context, b *rbacv1.RoleBinding) (*rbacv1.RoleBinding, error) {
	options := &metav1.UpdateOptions{FieldManager: fieldManager}
	return at.write(ctx, at.request(http.MethodPut, at.resource(), at.namespace).Name(b.Name).VersionedParams(options,
		at.parameters), b)
}

// write sends b and reads the answer.
func (at place) write(ctx context.Context, r *rest.Request, b *rbacv1.RoleBinding) (*rbacv1.RoleBinding, error) {
	if at.namespace == "" {
		written := &rbacv1.ClusterRoleBinding{}
		err := r.Body((*rbacv1.ClusterRoleBinding)(b)).Do(ctx).Into(written)
		return (*rbacv1.RoleBinding)(written), err
	}
	written := &rbacv1.RoleBinding{}
	err := r.Body(b).Do(ctx).Into(written)
	return written, err
}

// delete removes b if it is unchanged since it was read.
func (at place) delete(ctx context.Context, b *rbacv1.RoleBinding) error {
	options := &metav1.DeleteOptions{
		Preconditions:     &metav1.Preconditions{UID: &b.UID, ResourceVersion: &b.ResourceVersion},
		PropagationPolicy: new(metav1.DeletePropagationBackground),
	}
	return at.request(http.MethodDelete, at.resource(), at.namespace).Name(b.Name).Body(options).Do(ctx).Error()
}

// deleteAll removes every binding that the label selector selects.
func (at place) deleteAll(ctx context.Context, selector string) error {
	options := &metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)}
	selected := &metav1.ListOptions{LabelSelector: selector}
	return at.request(http.MethodDelete, at.resource(), at.namespace).VersionedParams(selected,
		at.parameters).Body(options).Do(ctx).Error()
}

// checkRole refuses a role that does not exist. It accepts one that the operator may not read.
func (at place) checkRole(ctx context.Context, ref rbacv1.RoleRef) error {
	err := at.api.Get().UseProtobufAsDefault().AbsPath(at.rolePath(ref)).Do(ctx).Error()
	switch {
	case apierrors.IsNotFound(err):
		return at.noSuchRole(ref)
	case err == nil, apierrors.IsForbidden(err):
		return nil
	}
	return at.explain(ctx, "read "+roleOf(ref), err)
}

// list reads all bindings of a place that the selector selects.
func (c *client) list(ctx context.Context, resource, namespace, selector string) (all []rbacv1.RoleBinding, err error) {
	err = pages(selector, func() { all = nil }, func(options *metav1.ListOptions) (string, error) {
		found, err := bindings(resource, c.request(http.MethodGet, resource, namespace).VersionedParams(options,
			c.parameters).Do(ctx))
		all = append(all, found.Items...)
		return found.Continue, err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// bindings reads the answer to a list of the resource.
func bindings(resource string, answer rest.Result) (*rbacv1.RoleBindingList, error) {
	page := &rbacv1.RoleBindingList{}
	if resource == roleBindings {
		err := answer.Into(page)
		return page, err
	}
	found := &rbacv1.ClusterRoleBindingList{}
	err := answer.Into(found)
	page.ListMeta = found.ListMeta
	for _, b := range found.Items {
		page.Items = append(page.Items, rbacv1.RoleBinding(b))
	}
	return page, err
}
