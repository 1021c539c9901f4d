package kubernetes

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// terminating is the cause of a refusal to write into a namespace that is being deleted (NamespaceTerminatingCause of
// k8s.io/api/core/v1).
const terminating metav1.CauseType = "NamespaceTerminating"

// explain describes the error of a request.
func (c *client) explain(ctx context.Context, doing string, err error) error {
	var request *url.Error
	var unknown x509.UnknownAuthorityError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s on %s: %w", doing, c.host, ctx.Err())
	case apierrors.IsUnauthorized(err):
		return &jit.Error{Problem: fmt.Sprintf("the cluster at %s does not accept the target's credentials; they are "+
			"wrong or have expired", c.host),
			Hint: "renew the token or certificate; `kubectl auth whoami` with the same settings tells whether it " +
				"works", Err: err}
	case apierrors.IsForbidden(err):
		return &jit.Error{Problem: fmt.Sprintf("the target's user may not %s: %s", doing, jit.Said(err.Error())),
			Hint: "give that user the ClusterRole jit-operator of the guide, with a ClusterRoleBinding", Err: err}
	case errors.As(err, &unknown):
		return &jit.Error{Problem: fmt.Sprintf("the authority of the certificate of the cluster at %s is not trusted",
			c.host),
			Hint: "write the authority's certificate as cluster_ca_certificate, or use the kubeconfig file of the " +
				"cluster", Err: err}
	case errors.As(err, &request):
		return &jit.Error{Problem: fmt.Sprintf("cannot %s: no answer from the cluster at %s: %s", doing, c.host,
			jit.Said(request.Err.Error())),
			Hint: "check the address in the target's settings, the network, and the command that the kubeconfig runs " +
				"for credentials", Err: err}
	}
	return fmt.Errorf("%s on %s: %w", doing, c.host, err)
}

// interrupted reports whether a write lost its connection or its server, as while an API server restarts. What was
// written may be there. client-go itself repeats a read.
func interrupted(err error) bool {
	return err != nil && (utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err) ||
		utilnet.IsHTTP2ConnectionLost(err) || streamCut(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsServerTimeout(err))
}

// streamCut reports whether a server or a proxy ended one HTTP/2 stream, and with it one answer (RFC 9113, 5.4.2). The
// connection stays.
func streamCut(err error) bool { return err != nil && strings.Contains(err.Error(), "stream error") }

// explainChange describes why one change failed; nil stays nil.
func (at place) explainChange(ctx context.Context, j job, err error) error {
	var explained *jit.Error
	if err == nil || errors.As(err, &explained) {
		return err
	}
	doing := "delete the " + at.kind() + " " + objectName(j.marker)
	if j.want == nil {
		return at.explain(ctx, doing, err)
	}
	doing = "write the " + at.kind() + " " + objectName(j.marker)
	ref := j.want.RoleRef
	switch {
	case ctx.Err() != nil:
	case apierrors.IsNotFound(err) && at.namespace != "":
		return &jit.Error{Attribute: "scope",
			Problem: fmt.Sprintf("there is no namespace %q on the cluster at %s", at.namespace, at.host),
			Hint:    "`kubectl get namespaces` lists the existing ones", Err: err}
	case apierrors.HasStatusCause(err, terminating):
		return &jit.Error{Attribute: "scope",
			Problem: fmt.Sprintf("the namespace %q is being deleted; nothing can be granted in it", at.namespace),
			Hint:    "grant in another namespace, or again once it has been made anew", Err: err}
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(),
		"attempting to grant RBAC permissions not currently held"):
		return &jit.Error{Attribute: "role", Problem: fmt.Sprintf("the target's user may not grant %s: it neither "+
			"holds all permissions of that role nor has the verb bind on it", roleOf(ref)),
			Hint: fmt.Sprintf(`add to the operator's ClusterRole: {apiGroups: [%s], resources: [%ss], resourceNames: [%q], verbs: [bind]}`, rbacv1.GroupName, strings.ToLower(ref.Kind), ref.Name), Err: err}
	case apierrors.IsInvalid(err):
		return &jit.Error{Attribute: blamed(err), Problem: "the cluster does not accept the binding: " +
			jit.Said(err.Error()), Hint: "write a name that the cluster accepts", Err: err}
	}
	return at.explain(ctx, doing, err)
}

// blamed returns the attribute behind the first field that the server refuses.
func blamed(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil {
		for _, cause := range status.Status().Details.Causes {
			switch {
			case strings.HasPrefix(cause.Field, "subjects"):
				return "principal"
			case strings.HasPrefix(cause.Field, "roleRef"):
				return "role"
			case cause.Field == "metadata.namespace":
				return "scope"
			}
		}
	}
	return ""
}

// noSuchRole is the error for a role that does not exist. The server would bind it, and the grant would give nothing.
func (at place) noSuchRole(ref rbacv1.RoleRef) *jit.Error {
	where, list := "on the cluster at "+at.host, "kubectl get clusterroles"
	if ref.Kind == role {
		where, list = fmt.Sprintf("in the namespace %q of the cluster at %s", at.namespace,
			at.host), "kubectl get roles --namespace "+at.namespace
	}
	return &jit.Error{Attribute: "role", Problem: fmt.Sprintf("there is no %s %q %s; a grant of it would give nothing",
		ref.Kind, ref.Name, where),
		Hint: "`" + list + "` lists the existing ones"}
}

// squatted is the error for a binding with our name but without our marker.
func (at place) squatted(b *rbacv1.RoleBinding) error {
	where, flag := "", ""
	if at.namespace != "" {
		where, flag = fmt.Sprintf(" in the namespace %q", at.namespace), " --namespace "+at.namespace
	}
	return &jit.Error{
		Problem: fmt.Sprintf("the %s %q%s has the name of a grant but not its marker; it is not touched, and the "+
			"access that it gives continues", at.kind(), b.Name, where),
		Hint: fmt.Sprintf("find out who removed the marker; if nobody needs the binding: kubectl delete %s%s %s",
			strings.ToLower(at.kind()), flag, b.Name),
	}
}

// heldUp is the error for a binding of ours that was deleted and stays; err is why, if it is known. It wraps
// [jit.ErrRemains] if the binding gives nobody access.
func (at place) heldUp(b *rbacv1.RoleBinding, err error) error {
	why := "the cluster keeps it"
	switch {
	case err != nil:
		why = "the cluster refuses to delete it: " + jit.Said(err.Error())
	case len(b.Finalizers) > 0:
		why = fmt.Sprintf("the finalizers %q hold up its deletion", b.Finalizers)
	}
	outcome := "stays and still gives access"
	if len(b.Subjects) == 0 {
		outcome, err = "stays and gives no access any more", errors.Join(jit.ErrRemains, err)
	}
	return &jit.Error{Problem: fmt.Sprintf("the %s %q %s: %s", at.kind(), b.Name, outcome, why),
		Hint: "find the controller, admission policy or webhook that keeps bindings, and let it release this one", Err: err}
}

// altered is the error for a binding that the cluster changes as it is written; found says how.
func (at place) altered(found []string) *jit.Error {
	return &jit.Error{Problem: fmt.Sprintf("the cluster at %s changes each %s as it is written, so a repair does not stay: %s",
		at.host, at.kind(), strings.Join(found, "; ")),
		Hint: "let the admission policy or webhook that changes them leave out bindings with the label " + idLabel}
}

// hostOf returns the address of a cluster without user info.
func hostOf(host string) string {
	if u, err := url.Parse(host); err == nil && u.Host != "" {
		return u.Host
	}
	return "the configured address"
}
