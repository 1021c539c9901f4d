package gcp

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Given separates the condition of a role from the role, and returns who is in a collective principal and what lies
// below a resource. The name of a folder or organization does not show which projects and buckets lie below, so any may.
// It makes no call.
func (p *Platform) Given(_ context.Context, b jit.Binding, _ bool) (jit.Given, error) {
	g := jit.AsWritten(b)
	r, err := parseRole(b.Role)
	if err != nil {
		return g, err
	}
	at, err := parseScope(b.Scope)
	if err != nil {
		return g, err
	}
	g.Principal.Guard, g.Principal.Covers = many(b.Principal)
	g.Principal.IDs = otherKinds(b.Principal)
	g.Role.Name, g.Narrowing.Word = r.name, jit.If
	if r.when != "" {
		g.Narrowing.Parts = []string{r.when}
	}
	g.Scope.IDs = at.otherNames()
	at.include(&g.Scope)
	return g, nil
}

// otherNames are the names of a resource besides its scope.
func (r resource) otherNames() []string {
	switch r.kind {
	case bucketKind, managedFolderKind:
		return []string{bucketURL + strings.Replace(strings.TrimPrefix(r.name, ofBuckets), "/managedFolders/", "/", 1)}
	}
	if r.kind.full {
		return nil // a resource of another kind may have the short name
	}
	return []string{r.fullName()}
}

// include adds what lies below a resource.
func (r resource) include(n *jit.Named) {
	switch r.kind {
	case folderKind, organizationKind:
		n.Covers = []string{projects + "*", folders + "*", "//*", bucketURL + "*"}
		return
	case projectKind:
		for _, k := range kinds {
			if k.host != storageHost { // the name of a bucket does not tell its project
				n.Below = append(n.Below, "//"+k.host+"/"+r.name)
			}
		}
	}
	if r.kind.full && r.kind.host != storageHost {
		n.Covers = []string{r.name} // for a policy that forbids, the short name will do
	}
	n.Apart = r.kind.apart()
	for _, name := range append(r.otherNames(), r.name, r.fullName()) {
		n.Below = append(n.Below, strings.TrimSuffix(name, "/")) // of a managed folder
	}
	slices.Sort(n.Below)
	n.Below = slices.Compact(n.Below)
}

// clusterSubject is a Kubernetes service account as the identity of a pool.
var clusterSubject = regexp.MustCompile(`^principal://iam\.googleapis\.com/projects/[0-9]+/locations/global/` +
	`workloadIdentityPools/([^/]+\.svc\.id\.goog)/subject/ns/([^/]+)/sa/([^/]+)$`)

// otherKinds writes an address as the other kinds of accounts, since no two accounts share an address, and a Kubernetes
// service account under its older name.
func otherKinds(principal string) []string {
	if m := clusterSubject.FindStringSubmatch(principal); m != nil {
		return []string{"serviceAccount:" + m[1] + "[" + m[2] + "/" + m[3] + "]"}
	}
	kind, address, _ := strings.Cut(principal, ":")
	kinds := []string{"user", "group", "serviceAccount"}
	if !slices.Contains(kinds, kind) {
		return nil
	}
	var all []string
	for _, other := range kinds {
		if other != kind {
			all = append(all, other+":"+address)
		}
	}
	return all
}

// many explains why a collective principal must be named, and returns patterns for its members:
// https://cloud.google.com/iam/docs/principals-overview
func many(principal string) (guard string, covers []string) {
	kind, name, _ := strings.Cut(principal, ":")
	switch {
	case everybody[principal]:
		return "it stands for everybody", []string{"*"}
	case kind == "domain":
		return "it stands for everybody of a domain", []string{"user:*@" + name, "group:*@" + name}
	case kind == "serviceAccount" && clusterForm.MatchString(name): // its newer name has the number of its project
		pool, account, _ := strings.Cut(strings.TrimSuffix(name, "]"), "[")
		namespace, account, _ := strings.Cut(account, "/")
		return "", []string{"principal://iam.googleapis.com/projects/*/locations/global/workloadIdentityPools/" + pool +
			"/subject/ns/" + namespace + "/sa/" + account}
	case kind != "principalSet":
		return "", nil
	}
	if pool, all := strings.CutSuffix(name, "*"); all {
		return "it stands for everybody of a pool", []string{"principal:" + pool + "*", principal}
	}
	if owner, kind, ok := strings.Cut(name, "/type/"); ok {
		return "it stands for every account of " + kind + " of " + owner, []string{"serviceAccount:*", "principal:*"}
	}
	return "", nil
}
