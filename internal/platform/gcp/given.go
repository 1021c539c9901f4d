package gcp

import (
	"context"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Given tells the condition of a role apart from the role, who is in a principal that stands for many, and what lies below
// a folder or an organization. Which projects and buckets do cannot be told from a name, so it may be any. It makes no call.
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

// otherKinds are an address as that of the other kinds of accounts: no two accounts share one.
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

// many says of a principal that stands for many why it needs to be named, and gives patterns over who is in it.
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
