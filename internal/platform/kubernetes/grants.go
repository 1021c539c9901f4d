package kubernetes

import (
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// grant holds the jobs and the objects of one owner and id.
type grant struct {
	marker jit.Marker // of the first job
	jobs   []int      // in order
	// objects bear the marker; the first is not always the one with our name.
	objects []*rbacv1.RoleBinding
	// squatter has our name but not our marker.
	squatter *rbacv1.RoleBinding
	// mislabelled: the labels do not select exactly the objects.
	mislabelled bool
	// failed is the error of a removal together with others: that it got no answer, or [errUnseen].
	failed error
}

// own returns the object with our name, nil if there is none, and the copies of it.
func (g *grant) own(name string) (own *rbacv1.RoleBinding, copies []*rbacv1.RoleBinding) {
	for _, b := range g.objects {
		if b.Name == name {
			own = b
		} else {
			copies = append(copies, b)
		}
	}
	return own, copies
}

// grants groups the jobs todo, and the bindings that are there, by owner and id.
func (a *application) grants(todo []int, there []rbacv1.RoleBinding) []*grant {
	var all []*grant
	byName := map[string]*grant{}
	for _, i := range todo {
		m := a.jobs[i].marker
		g := byName[objectName(m)]
		if g == nil {
			g = &grant{marker: m}
			byName[objectName(m)], all = g, append(all, g)
		}
		g.jobs = append(g.jobs, i)
	}
	for i := range there {
		a.sort(byName, &there[i])
	}
	return all
}

// sort adds a binding to the grant that it is of, among those by the names of their bindings.
func (a *application) sort(byName map[string]*grant, b *rbacv1.RoleBinding) {
	name := ""
	m, ours := markerOf(b)
	if ours {
		name = objectName(m)
	}
	named := byName[b.Name]
	if named != nil && !ours && a.jobs[named.jobs[0]].records(b) {
		name = b.Name
	}
	labelled := jit.Marker{Owner: b.Labels[ownerLabel], ID: jit.ID(b.Labels[idLabel])}
	wrong := !ours || m.Key() != labelled.Key() || len(b.Finalizers) > 0
	if g := byName[name]; g != nil {
		g.objects = append(g.objects, b)
		g.mislabelled = g.mislabelled || wrong
	}
	if named != nil && b.Name != name {
		named.squatter = b
	}
	if g := byName[objectName(labelled)]; g != nil {
		g.mislabelled = g.mislabelled || wrong
	}
}
