package kubernetes

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// The bindings that an API server makes at its start, and makes again after somebody deletes them, are the cluster's
// own and no finding. Their label proves nothing, because anyone who may write bindings can write it: place, name, role
// and subjects must be those of plugin/pkg/auth/authorizer/rbac/bootstrappolicy in k8s.io/kubernetes 1.37.
// https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
const (
	bootstrapLabel   = "kubernetes.io/bootstrapping"
	bootstrapValue   = "rbac-defaults"
	controllerPrefix = "system:controller:"
	systemNamespace  = "kube-system"
	publicNamespace  = "kube-public"
)

// defaultBinding is a binding that the server makes.
type defaultBinding struct {
	// namespace is empty for a ClusterRoleBinding.
	namespace, name string
	// role is its name; a ClusterRole in a ClusterRoleBinding, else a Role.
	role     string
	subjects []string
}

// defaultBindings are those of the server itself.
var defaultBindings = []defaultBinding{
	{"", "cluster-admin", "cluster-admin", []string{"group:system:masters"}},
	{"", "system:basic-user", "system:basic-user", []string{"group:system:authenticated"}},
	{"", "system:cluster-trust-bundle-discovery", "system:cluster-trust-bundle-discovery",
		[]string{"group:system:serviceaccounts"}},
	{"", "system:discovery", "system:discovery", []string{"group:system:authenticated"}},
	{"", "system:kube-controller-manager", "system:kube-controller-manager",
		[]string{"user:system:kube-controller-manager"}},
	{"", "system:kube-dns", "system:kube-dns", []string{"serviceaccount:kube-system/kube-dns"}},
	{"", "system:kube-scheduler", "system:kube-scheduler", []string{"user:system:kube-scheduler"}},
	{"", "system:monitoring", "system:monitoring", []string{"group:system:monitoring"}},
	{"", "system:node-proxier", "system:node-proxier", []string{"user:system:kube-proxy"}},
	{"", "system:public-info-viewer", "system:public-info-viewer",
		[]string{"group:system:authenticated", "group:system:unauthenticated"}},
	{"", "system:service-account-issuer-discovery", "system:service-account-issuer-discovery",
		[]string{"group:system:serviceaccounts"}},
	{"", "system:volume-scheduler", "system:volume-scheduler", []string{"user:system:kube-scheduler"}},
	{systemNamespace, "system::extension-apiserver-authentication-reader", "extension-apiserver-authentication-reader",
		[]string{"user:system:kube-controller-manager", "user:system:kube-scheduler"}},
	{systemNamespace, "system::leader-locking-kube-controller-manager",
		"system::leader-locking-kube-controller-manager",
		[]string{"user:system:kube-controller-manager", "serviceaccount:kube-system/kube-controller-manager",
			"serviceaccount:kube-system/leader-election-controller"}},
	{systemNamespace, "system::leader-locking-kube-scheduler", "system::leader-locking-kube-scheduler",
		[]string{"user:system:kube-scheduler", "serviceaccount:kube-system/kube-scheduler"}},
	controllerBinding(systemNamespace, "bootstrap-signer"),
	controllerBinding(systemNamespace, "cloud-provider"),
	controllerBinding(systemNamespace, "token-cleaner"),
	controllerBinding(publicNamespace, "bootstrap-signer"),
}

// controllers of the controller manager each have a ClusterRole and a ClusterRoleBinding of their name.
var controllers = strings.Fields("attachdetach-controller certificate-controller clusterrole-aggregation-controller " +
	"cronjob-controller daemon-set-controller " +
	"deployment-controller device-taint-eviction-controller disruption-controller endpoint-controller " +
	"endpointslice-controller " +
	"endpointslicemirroring-controller ephemeral-volume-controller expand-controller generic-garbage-collector " +
	"horizontal-pod-autoscaler job-controller kube-apiserver-serving-clustertrustbundle-publisher " +
	"legacy-service-account-token-cleaner " +
	"namespace-controller node-controller persistent-volume-binder pod-garbage-collector " +
	"podcertificaterequestcleaner " +
	"podgroup-protection-controller pv-protection-controller pvc-protection-controller replicaset-controller " +
	"replication-controller " +
	"resource-claim-controller resourcepoolstatusrequest-controller resourcequota-controller root-ca-cert-publisher " +
	"route-controller " +
	"selinux-warning-controller service-account-controller service-cidrs-controller service-controller " +
	"statefulset-controller " +
	"storage-version-garbage-collector storage-version-migrator-controller ttl-after-finished-controller " +
	"ttl-controller " +
	"validatingadmissionpolicy-status-controller volumeattributesclass-protection-controller")

// controllerBinding gives a controller's service account the role of its name.
func controllerBinding(namespace, name string) defaultBinding {
	return defaultBinding{namespace, controllerPrefix + name, controllerPrefix + name,
		[]string{accountPrefix + systemNamespace + "/" + name}}
}

// bootstrapped reports whether a binding is one of those, and gives nobody else anything.
func bootstrapped(b *rbacv1.RoleBinding) bool {
	if b.Labels[bootstrapLabel] != bootstrapValue {
		return false
	}
	is := func(d defaultBinding) bool { return d.namespace == b.Namespace && d.name == b.Name }
	want := controllerBinding("", strings.TrimPrefix(b.Name, controllerPrefix))
	if i := slices.IndexFunc(defaultBindings, is); i >= 0 {
		want = defaultBindings[i]
	} else if !is(want) || !slices.Contains(controllers, strings.TrimPrefix(b.Name, controllerPrefix)) {
		return false
	}
	kind := role
	if want.namespace == "" {
		kind = clusterRole
	}
	return b.RoleRef.Kind == kind && b.RoleRef.Name == want.role &&
		!slices.ContainsFunc(b.Subjects, func(s rbacv1.Subject) bool {
			return !slices.Contains(want.subjects, principalOf(s))
		})
}
