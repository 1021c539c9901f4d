package kubernetes

import (
	"context"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The groups that the API server itself fills
// (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-subjects).
const (
	systemGroup     = "system:"
	authenticated   = "system:authenticated"
	serviceAccounts = "system:serviceaccounts"
	accountsOf      = "system:serviceaccounts:" // and a namespace
	nodes           = "system:nodes"
)

// Given returns the service accounts and users in a group that the API server fills; the cluster covers all namespaces.
// It makes no call.
func (p *Platform) Given(_ context.Context, b jit.Binding, _ bool) (jit.Given, error) {
	g := jit.AsWritten(b)
	subject, err := parsePrincipal(b.Principal)
	if err != nil {
		return g, err
	}
	if subject.Kind == rbacv1.ServiceAccountKind {
		g.Principal.IDs = []string{userPrefix + accountUser + subject.Namespace + ":" + subject.Name}
	}
	if subject.Kind == rbacv1.GroupKind && strings.HasPrefix(subject.Name, systemGroup) {
		g.Principal.Guard, g.Principal.Covers = "the API server decides who is in it", members(subject.Name)
	}
	if b.Scope == cluster {
		g.Scope.Covers = []string{namespaces + "*"}
	}
	return g, nil
}

// members returns patterns for the members of a group of the API server, and for the groups in it.
func members(group string) []string {
	switch {
	case group == authenticated:
		return []string{"*"}
	case group == serviceAccounts:
		return []string{accountPrefix + "*", userPrefix + accountUser + "*", groupPrefix + accountsOf + "*"}
	case strings.HasPrefix(group, accountsOf):
		namespace := strings.TrimPrefix(group, accountsOf)
		return []string{accountPrefix + namespace + "/*", userPrefix + accountUser + namespace + ":*"}
	case group == nodes:
		return []string{userPrefix + "system:node:*"}
	}
	return nil
}
