package kubernetes

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A namespace or a service account that is deleted and made anew under its name is another one
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#uids). A grant is not put back into another
// namespace, and gives another service account nothing. A grant of a service account that is deleted gives nobody
// access, and would give it to the next one of that name.

// pathOfNamespace is the path of the place's namespace.
func (at place) pathOfNamespace() string { return "/api/v1/namespaces/" + at.namespace }

// pathOfAccount is the path of the first subject of a binding, if that is a service account; else empty. The API server
// does not check the names in a subject: one that no service account can have must not become part of a path.
func pathOfAccount(b *rbacv1.RoleBinding) string {
	if len(b.Subjects) == 0 || b.Subjects[0].Kind != rbacv1.ServiceAccountKind {
		return ""
	}
	namespace, name := b.Subjects[0].Namespace, b.Subjects[0].Name
	if len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return ""
	}
	return "/api/v1/namespaces/" + namespace + "/serviceaccounts/" + name
}

// dependencies reads the service accounts of the jobs todo and, for access to be put back, their namespace.
func (a *application) dependencies(ctx context.Context, todo []int) map[string]facts {
	paths := map[string]bool{}
	for _, i := range todo {
		j := a.jobs[i]
		if j.want == nil {
			continue
		}
		if path := pathOfAccount(j.want); path != "" {
			paths[path] = true
		}
		if j.held != nil && a.at.namespace != "" {
			paths[a.at.pathOfNamespace()] = true
		}
	}
	return a.at.facts(ctx, paths)
}

// madeAnew refuses, with [jit.ErrAnother], to give access to a service account, or in a namespace, that was made anew
// since the grant began. It takes the binding own away if that gives another service account access.
func (a *application) madeAnew(ctx context.Context, own *rbacv1.RoleBinding, j job) error {
	account := a.depends[pathOfAccount(j.want)]
	namespace := a.depends[a.at.pathOfNamespace()]
	how := madeAgain
	switch {
	case account.unread != nil:
		return account.unread
	case own != nil && another(own, account):
		if err := a.take(ctx, own); err != nil {
			return forEnsure(err)
		}
	case own == nil && j.held != nil && account.after(j.marker):
		how = "was made after the grant began"
	case own == nil && j.held != nil && namespace.unread != nil:
		return namespace.unread
	case own == nil && j.held != nil && namespace.after(j.marker):
		return anew("scope", fmt.Sprintf("the namespace %q", a.at.namespace), how)
	default:
		return nil
	}
	return anew("principal", fmt.Sprintf("the service account %q", principalOf(j.want.Subjects[0])), how)
}

// another reports whether a binding was made for another service account than the one there is now.
func another(b *rbacv1.RoleBinding, now facts) bool {
	was := b.Annotations[accountAnnotation]
	return was != "" && now.uid != "" && was != now.uid
}

// madeAgain is said of what is known to be another one than when the grant began.
const madeAgain = "was made anew since the grant began"

// anew is the error for access that is not given because of how and when something was made.
func anew(attribute, what, how string) *jit.Error {
	return &jit.Error{Attribute: attribute, Problem: what + " " + how + "; it is not given the access",
		Hint: "if it is to have the access, grant it again with a renewal", Err: jit.ErrAnother}
}

// accounts reads the service accounts for which bindings of ours were made.
func (at place) accounts(ctx context.Context, here []rbacv1.RoleBinding) (map[string]facts, error) {
	paths := map[string]bool{}
	for i := range here {
		b := &here[i]
		if _, ours := markerOf(b); ours && b.Annotations[accountAnnotation] != "" && pathOfAccount(b) != "" {
			paths[pathOfAccount(b)] = true
		}
	}
	known := at.facts(ctx, paths)
	for _, f := range known {
		if f.unread != nil {
			return nil, f.unread
		}
	}
	return known, nil
}
