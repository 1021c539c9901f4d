package kubernetes

import (
	"context"
	"errors"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// advise says whether the namespace, the role and the service account of a binding exist, as far as the operator may look. Users and groups are
// no objects of a cluster.
func (p *Platform) advise(ctx context.Context, b jit.Binding) []jit.Advice {
	at, err := p.place(b.Scope)
	if err != nil {
		return nil
	}
	if at.namespace != "" {
		if missing, err := p.missing(ctx, at, "/api/v1/namespaces/"+at.namespace); missing && err == nil {
			return []jit.Advice{{Attribute: "scope", Title: "The namespace does not exist",
				Text: fmt.Sprintf("There is no namespace %q on the cluster at %s. Until it is made the apply fails.", at.namespace, at.host)}}
		}
	}
	var all []jit.Advice
	if ref, err := parseRole(b.Role); err == nil {
		path := "/apis/rbac.authorization.k8s.io/v1/clusterroles/" + ref.Name
		if ref.Kind == role {
			path = "/apis/rbac.authorization.k8s.io/v1/namespaces/" + at.namespace + "/roles/" + ref.Name
		}
		if missing, err := p.missing(ctx, at, path); missing && err == nil {
			all = append(all, jit.Advice{Attribute: "role", Title: "The role does not exist", Text: fmt.Sprintf("%v. Until it is made the apply fails.", problem(at.noSuchRole(ref)))})
		}
	}
	if who, err := parsePrincipal(b.Principal); err == nil && who.Kind == rbacv1.ServiceAccountKind {
		if missing, err := p.missing(ctx, at, "/api/v1/namespaces/"+who.Namespace+"/serviceaccounts/"+who.Name); missing && err == nil {
			all = append(all, jit.Advice{Attribute: "principal", Title: "The service account does not exist",
				Text: fmt.Sprintf("There is no service account %q in the namespace %q. The grant would give the access to whatever is made under that name while it lasts.", who.Name, who.Namespace)})
		}
	}
	return all
}

// problem is what is wrong, without the hint.
func problem(err error) string {
	var told *jit.Error
	if errors.As(err, &told) {
		return told.Problem
	}
	return err.Error()
}

// missing reports whether an object is known not to be there. What is there is looked for once: a plan asks about the same role for many grants.
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
