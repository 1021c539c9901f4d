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

// together is how many grants one request removes: their ids make a URL of about 4 KiB, half of
// what common proxies let through.
const together = 100

// removeTogether deletes what several Removes ask for with one request per owner and
// [together] grants. It takes the grants of which the labels select exactly what has
// to go; the others, and all where the operator may not delete collections, are left to be removed one by one.
func (a *application) removeTogether(ctx context.Context, grants []*grant, there []rbacv1.RoleBinding) {
	mislabelled := map[string]bool{}
	for i := range there {
		b := &there[i]
		labelled := jit.Marker{Owner: b.Labels[ownerLabel], ID: jit.ID(b.Labels[idLabel])}
		if m, ours := markerOf(b); !ours || m.Owner != labelled.Owner || m.ID != labelled.ID || len(b.Finalizers) > 0 {
			mislabelled[objectName(labelled)] = true
			mislabelled[objectName(m)] = true
		}
	}
	byOwner := map[string][]*grant{}
	for _, g := range grants {
		plain := len(g.jobs) == 1 && a.jobs[g.jobs[0]].want == nil && len(g.objects) > 0
		if plain && !mislabelled[objectName(jit.Marker{Owner: g.owner, ID: g.id})] {
			byOwner[g.owner] = append(byOwner[g.owner], g)
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

// removeChunk makes one request; it returns false when there is no use in another one of its kind.
func (a *application) removeChunk(ctx context.Context, owner string, grants []*grant) bool {
	ids := make([]string, len(grants))
	for i, g := range grants {
		ids[i] = string(g.id)
	}
	err := a.at.deleteAll(ctx, fmt.Sprintf("%s=%s,%s in (%s)", ownerLabel, owner, idLabel, strings.Join(ids, ",")))
	if err == nil {
		for _, g := range grants {
			g.objects = nil
		}
		return true
	}
	var answered apierrors.APIStatus
	if errors.As(err, &answered) {
		return !apierrors.IsForbidden(err)
	}
	for _, g := range grants {
		g.failed = err // a server that does not answer is not asked again for each of them
	}
	return true
}
