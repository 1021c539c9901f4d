package kubernetes

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// advise warns of a namespace, role or service account that does not exist, as far as the operator may read them. Users
// and groups are not objects of a cluster.
func (p *Platform) advise(ctx context.Context, b jit.Binding) []jit.Advice {
	at, err := p.place(b.Scope)
	if err != nil {
		return nil
	}
	missing := func(path string) bool {
		missing, err := p.missing(ctx, at, path)
		return missing && err == nil
	}
	if at.namespace != "" && missing("/api/v1/namespaces/"+at.namespace) {
		return []jit.Advice{{Attribute: "scope", Title: "The namespace does not exist",
			Text: fmt.Sprintf("There is no namespace %q on the cluster at %s. Until it is made the apply fails.",
				at.namespace, at.host)}}
	}
	var all []jit.Advice
	if ref, err := parseRole(b.Role); err == nil && missing(at.rolePath(ref)) {
		all = append(all, jit.Advice{Attribute: "role", Title: "The role does not exist",
			Text: at.noSuchRole(ref).Problem + ". Until it is made the apply fails."})
	}
	who, err := parsePrincipal(b.Principal)
	if err == nil && who.Kind == rbacv1.ServiceAccountKind &&
		missing("/api/v1/namespaces/"+who.Namespace+"/serviceaccounts/"+who.Name) {
		all = append(all, jit.Advice{Attribute: "principal", Title: "The service account does not exist",
			Text: fmt.Sprintf(
				"There is no service account %q in the namespace %q. "+
					"The grant would give the access to whatever is made under that name while it "+
					"lasts.", who.Name, who.Namespace)})
	}
	return all
}

// rolePath is the path of a role in the API.
func (at place) rolePath(ref rbacv1.RoleRef) string {
	const group = "/apis/rbac.authorization.k8s.io/v1/"
	if ref.Kind == role {
		return group + "namespaces/" + at.namespace + "/roles/" + ref.Name
	}
	return group + "clusterroles/" + ref.Name
}

// missing reports whether an object does not exist. It remembers those that exist, because a plan asks about the same
// role for many grants.
func (p *Platform) missing(ctx context.Context, at place, path string) (bool, error) {
	p.mu.Lock()
	seen := p.seen[path]
	p.mu.Unlock()
	if seen {
		return false, nil
	}
	err := at.api.Get().UseProtobufAsDefault().AbsPath(path).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err == nil || apierrors.IsForbidden(err) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.seen == nil {
			p.seen = map[string]bool{}
		}
		p.seen[path] = true
		return false, nil
	}
	return false, err
}
