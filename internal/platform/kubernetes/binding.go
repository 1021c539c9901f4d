package kubernetes

import (
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// cluster is the scope of ClusterRoleBindings, namespaces the prefix of the others.
	cluster    = "cluster"
	namespaces = "namespaces/"

	userPrefix    = "user:"
	groupPrefix   = "group:"
	accountPrefix = "serviceaccount:"
	// accountUser begins the user name of a service account.
	accountUser = "system:serviceaccount:"

	clusterRole = "ClusterRole"
	role        = "Role"
)

// Check accepts user:<name>, group:<name> or serviceaccount:<namespace>/<name>; ClusterRole/<name> or Role/<name>; and
// cluster or namespaces/<name>. Access ends only through a sweeper; an exec, port-forward or watch that is open then
// lives on.
func (p *Platform) Check(b jit.Binding) (jit.Binding, jit.Traits, error) {
	subject, _, err := parse(b)
	if err != nil {
		return b, jit.Traits{}, err
	}
	b.Principal = principalOf(subject)
	return b, jit.Traits{Enforcement: jit.Sweeper, SessionTail: jit.Unlimited}, nil
}

// parse reads a binding.
func parse(b jit.Binding) (subject rbacv1.Subject, ref rbacv1.RoleRef, err error) {
	if subject, err = parsePrincipal(b.Principal); err != nil {
		return subject, ref, err
	}
	if ref, err = parseRole(b.Role); err != nil {
		return subject, ref, err
	}
	namespace, err := parseScope(b.Scope)
	if err == nil && ref.Kind == role && namespace == "" {
		err = jit.Invalid("role", fmt.Sprintf(`write role = "ClusterRole/%s", or a scope such as "namespaces/payments"`, ref.Name),
			"%q lives in a namespace and cannot be granted on the whole cluster", b.Role)
	}
	return subject, ref, err
}

// parsePrincipal reads a principal. The user name of a service account becomes the service account.
func parsePrincipal(s string) (rbacv1.Subject, error) {
	const hint = `write for example "user:alice@example.com", "group:oncall" or "serviceaccount:payments/deployer"`
	if err := jit.CheckText("principal", s); err != nil {
		return rbacv1.Subject{}, err
	}
	refuse := func(format string, args ...any) (rbacv1.Subject, error) {
		return rbacv1.Subject{}, jit.Invalid("principal", hint, format, args...)
	}
	if rest, ok := strings.CutPrefix(s, userPrefix+accountUser); ok {
		namespace, name, _ := strings.Cut(rest, ":")
		s = accountPrefix + namespace + "/" + name
	}
	if rest, ok := strings.CutPrefix(s, accountPrefix); ok {
		namespace, name, ok := strings.Cut(rest, "/")
		if !ok {
			return refuse("%q names no namespace; a service account is serviceaccount:<namespace>/<name>", s)
		}
		if wrong := validation.IsDNS1123Label(namespace); len(wrong) > 0 {
			return refuse("%q is not a namespace: %s", namespace, wrong[0])
		}
		if wrong := validation.IsDNS1123Subdomain(name); len(wrong) > 0 {
			return refuse("%q is not the name of a service account: %s", name, wrong[0])
		}
		return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}, nil
	}
	subject := rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName}
	name, ok := strings.CutPrefix(s, userPrefix)
	if !ok {
		subject.Kind = rbacv1.GroupKind
		if name, ok = strings.CutPrefix(s, groupPrefix); !ok {
			return refuse("%q is not a principal; it begins with user:, group: or serviceaccount:", s)
		}
	}
	subject.Name = name
	switch {
	case name == "" || name != strings.TrimSpace(name):
		return refuse("%q names nobody, or has a blank at an end", s)
	case s == "user:system:anonymous" || s == "group:system:unauthenticated":
		return refuse("%q is everybody who can reach the API server, without any proof of who it is", s)
	}
	return subject, nil
}

// principalOf writes a subject as a principal in canonical form. A subject that no principal can be is written as
// kind:namespace/name.
func principalOf(s rbacv1.Subject) string {
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		return accountPrefix + s.Namespace + "/" + s.Name
	case rbacv1.GroupKind:
		return groupPrefix + s.Name
	case rbacv1.UserKind:
		if namespace, name, ok := strings.Cut(strings.TrimPrefix(s.Name, accountUser), ":"); ok &&
			strings.HasPrefix(s.Name, accountUser) {
			return accountPrefix + namespace + "/" + name
		}
		return userPrefix + s.Name
	}
	return s.Kind + ":" + s.Namespace + "/" + s.Name
}

// parseRole reads a role.
func parseRole(s string) (rbacv1.RoleRef, error) {
	if err := jit.CheckText("role", s); err != nil {
		return rbacv1.RoleRef{}, err
	}
	const hint = `write for example "ClusterRole/view" or "Role/deployer"`
	kind, name, ok := strings.Cut(s, "/")
	if !ok || kind != clusterRole && kind != role {
		return rbacv1.RoleRef{}, jit.Invalid("role", hint, "%q is not a role; it is ClusterRole/<name> or Role/<name>",
			s)
	}
	if wrong := content.IsPathSegmentName(name); name == "" || len(wrong) > 0 {
		return rbacv1.RoleRef{}, jit.Invalid("role", hint, "%q is not the name of a role: %s", name,
			strings.Join(append(wrong, "it is part of a path of the API"), "; "))
	}
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}, nil
}

// roleOf writes a reference as a role.
func roleOf(r rbacv1.RoleRef) string { return r.Kind + "/" + r.Name }

// parseScope returns the namespace of a scope, empty for the whole cluster.
func parseScope(s string) (namespace string, err error) {
	const hint = `write scope = "namespaces/payments", or scope = "cluster" for the whole cluster`
	if s == "" {
		return "", jit.Invalid("scope", hint, "the scope is missing; a cluster has no default one")
	}
	if err := jit.CheckText("scope", s); err != nil {
		return "", err
	}
	if s == cluster {
		return "", nil
	}
	namespace, ok := strings.CutPrefix(s, namespaces)
	if !ok {
		return "", jit.Invalid("scope", hint, "%q is not a scope; it is cluster or namespaces/<name>", s)
	}
	if wrong := validation.IsDNS1123Label(namespace); len(wrong) > 0 {
		return "", jit.Invalid("scope", hint, "%q is not a namespace: %s", namespace, wrong[0])
	}
	return namespace, nil
}
