package gcp

import (
	"context"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Given separates the condition of a role from the role, and returns who is in a collective principal and what lies
// below a folder or organization. A name does not show which projects and buckets lie below, so any may. It makes no
// call.
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
	switch at.kind {
	case buckets:
		g.Scope.IDs = []string{bucketURL + at.name}
	case folders, organizations:
		g.Scope.Covers = []string{projects + "*", folders + "*", buckets + "*", bucketURL + "*"}
	}
	return g, nil
}

// otherKinds writes an address as the other kinds of accounts. No two accounts share an address.
func otherKinds(principal string) []string {
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
	case kind != "principalSet":
		return "", nil
	}
	if pool, all := strings.CutSuffix(name, "*"); all {
		return "it stands for everybody of a pool", []string{"principal:" + pool + "*", principal}
	}
	if owner, kind, ok := strings.Cut(name, "/type/"); ok {
		return "it stands for every account of " + kind + " of " + owner, []string{"serviceAccount:*", "principal:*"}
	}
	if strings.HasPrefix(name, "//goog/") {
		return "it stands for everybody", []string{"*"}
	}
	return "", nil
}
