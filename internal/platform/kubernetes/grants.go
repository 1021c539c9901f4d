package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// together is how many grants one request may select: their ids make a URL of about 4 KiB, half of what common proxies
// accept.
const together = 100

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
	// failed is the error of a removal together with others that got no answer.
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
		b := &there[i]
		name := ""
		m, ours := markerOf(b)
		if ours {
			name = objectName(m)
		}
		labelled := jit.Marker{Owner: b.Labels[ownerLabel], ID: jit.ID(b.Labels[idLabel])}
		wrong := !ours || m.Owner != labelled.Owner || m.ID != labelled.ID || len(b.Finalizers) > 0
		if g := byName[name]; g != nil {
			g.objects = append(g.objects, b)
			g.mislabelled = g.mislabelled || wrong
		}
		if g := byName[b.Name]; g != nil && b.Name != name {
			g.squatter = b
		}
		if g := byName[objectName(labelled)]; g != nil {
			g.mislabelled = g.mislabelled || wrong
		}
	}
	return all
}

// removeTogether deletes the objects of several Removes with one request for each owner and [together] grants. It
// leaves to be removed one by one the grants whose labels do not select exactly what must go, and all grants if the
// operator may not delete collections.
func (a *application) removeTogether(ctx context.Context, grants []*grant) {
	byOwner := map[string][]*grant{}
	for _, g := range grants {
		if len(g.jobs) == 1 && a.jobs[g.jobs[0]].want == nil && len(g.objects) > 0 && !g.mislabelled {
			byOwner[g.marker.Owner] = append(byOwner[g.marker.Owner], g)
		}
	}
	for owner, all := range byOwner {
		for some := range slices.Chunk(all, together) {
			if len(some) > 1 && !a.removeChunk(ctx, owner, some) {
				return
			}
		}
	}
}

// removeChunk makes one request and reports whether another one of its kind may succeed.
func (a *application) removeChunk(ctx context.Context, owner string, grants []*grant) bool {
	ids := make([]string, len(grants))
	for i, g := range grants {
		ids[i] = string(g.marker.ID)
	}
	err := a.at.deleteAll(ctx, fmt.Sprintf("%s=%s,%s in (%s)", ownerLabel, owner, idLabel, strings.Join(ids, ",")))
	var answered apierrors.APIStatus
	isAnswer := errors.As(err, &answered)
	for _, g := range grants {
		if err == nil {
			g.objects = nil
		} else if !isAnswer {
			g.failed = err // a server that does not answer is not asked again for each of them
		}
	}
	return !apierrors.IsForbidden(err)
}
