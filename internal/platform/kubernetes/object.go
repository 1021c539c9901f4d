package kubernetes

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The annotation holds the whole marker, and the labels hold its parts: labels can be selected, and a binding that
// loses one of the two is still marked.
const (
	markerAnnotation = "jit.access/marker"
	ownerLabel       = "jit.access/owner"
	idLabel          = "jit.access/id"
	startLabel       = "jit.access/start"
	endLabel         = "jit.access/end"
	managedByLabel   = "app.kubernetes.io/managed-by"
	// accountAnnotation holds the UID of the service account that a binding was made for: another one may be made under
	// its name (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#uids).
	accountAnnotation = "jit.access/service-account-uid"
)

// namePrefix begins the name of each binding of ours.
const namePrefix = "jit-"

// objectName names the binding of a grant. Two owners may have grants of the same id.
func objectName(m jit.Marker) string { return namePrefix + string(m.ID) + "-" + m.Owner }

// namedGrant returns the marker, without a window, of the grant that the name of a binding names; zero if it names none.
func namedGrant(b *rbacv1.RoleBinding) jit.Marker {
	const length = len("00000000-0000-8000-8000-000000000000")
	rest, ours := strings.CutPrefix(b.Name, namePrefix)
	if !ours || len(rest) < length+2 {
		return jit.Marker{}
	}
	m := jit.Marker{ID: jit.ID(rest[:length]), Owner: rest[length+1:]}
	if m.Check() != nil || objectName(m) != b.Name {
		return jit.Marker{}
	}
	return m
}

// labelsOf returns the labels that hold a marker, in the order in which they are reported.
func labelsOf(m jit.Marker) [][2]string {
	parts := strings.Split(m.String(), ":")
	return [][2]string{
		{ownerLabel, parts[1]},
		{idLabel, parts[2]},
		{startLabel, parts[3]},
		{endLabel, parts[4]},
	}
}

// newBinding returns the binding of a grant as it must be.
func newBinding(m jit.Marker, subject rbacv1.Subject, ref rbacv1.RoleRef, namespace string) *rbacv1.RoleBinding {
	b := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: objectName(m), Namespace: namespace},
		Subjects:   []rbacv1.Subject{subject},
		RoleRef:    ref,
	}
	mark(b, m)
	return b
}

// mark writes the marker; other labels and annotations stay.
func mark(b *rbacv1.RoleBinding, m jit.Marker) {
	if b.Labels == nil {
		b.Labels = map[string]string{}
	}
	b.Labels[managedByLabel] = fieldManager // it belongs to no one program, so it may change
	for _, l := range labelsOf(m) {
		b.Labels[l[0]] = l[1]
	}
	if b.Annotations == nil {
		b.Annotations = map[string]string{}
	}
	b.Annotations[markerAnnotation] = m.String()
}

// markerOf returns the marker of a binding that is ours: it has our name for that grant, or it is a copy with complete
// annotation and labels. Part of a marker under another name proves nothing: anyone who may write bindings, or a policy
// that changes them all, can have put it there.
func markerOf(b *rbacv1.RoleBinding) (m jit.Marker, ok bool) {
	m, whole, ok := claimOf(b)
	return m, ok && (whole || b.Name == objectName(m))
}

// claimOf returns the marker that a binding bears, and whether it is complete. The annotation counts, or the labels
// where there is none. If the two name different grants, the name of the object decides, so an edit of one of the three
// does not take the binding away from its grant.
func claimOf(b *rbacv1.RoleBinding) (m jit.Marker, whole, ok bool) {
	annotated, a := jit.ParseMarker(b.Annotations[markerAnnotation])
	labelled, l := jit.ParseMarker(strings.Join([]string{"jit", b.Labels[ownerLabel], b.Labels[idLabel],
		b.Labels[startLabel], b.Labels[endLabel]}, ":"))
	if l && (!a || objectName(annotated) != b.Name && objectName(labelled) == b.Name) {
		return labelled, false, true
	}
	return annotated, a && l && annotated.String() == labelled.String(), a
}

// damageOf lists how a binding of ours differs from what we wrote.
func damageOf(b *rbacv1.RoleBinding, m jit.Marker, kind string) []string {
	var found []string
	if b.Name != objectName(m) {
		found = append(found, fmt.Sprintf("copy: %s/%s", kind, b.Name))
	}
	if len(b.Subjects) == 0 {
		found = append(found, "it has no subject")
	}
	for i, s := range b.Subjects {
		if i > 0 {
			found = append(found, fmt.Sprintf("%q has the access too", principalOf(s)))
		}
	}
	found = appendAltered(found, "annotation", markerAnnotation, b.Annotations, m.String())
	for _, l := range labelsOf(m) {
		found = appendAltered(found, "label", l[0], b.Labels, l[1])
	}
	if len(b.OwnerReferences) > 0 {
		found = append(found, "it would be removed together with another object, its owner reference")
	}
	if b.DeletionTimestamp != nil {
		found = append(found, "it is being deleted")
	}
	return found
}

func appendAltered(found []string, what, key string, from map[string]string, want string) []string {
	got, there := from[key]
	switch {
	case !there:
		return append(found, fmt.Sprintf("the %s %s is gone", what, key))
	case got != want:
		return append(found, fmt.Sprintf("the %s %s was changed to %q", what, key, got))
	}
	return found
}

// right reports whether a binding is as wanted.
func right(b, want *rbacv1.RoleBinding, m jit.Marker) bool {
	return b.RoleRef == want.RoleRef && slices.Equal(b.Subjects, want.Subjects) && len(damageOf(b, m, "")) == 0
}

// correct returns a copy of b, with b's version, that is as wanted. The role of a binding cannot change.
func correct(b, want *rbacv1.RoleBinding, m jit.Marker) *rbacv1.RoleBinding {
	corrected := b.DeepCopy()
	corrected.Subjects = want.Subjects
	corrected.OwnerReferences = nil
	mark(corrected, m)
	return corrected
}
