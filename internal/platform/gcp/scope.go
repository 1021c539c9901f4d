package gcp

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	projects      = "projects/"
	folders       = "folders/"
	organizations = "organizations/"
	// buckets begins the full resource name of a bucket, which is its scope.
	buckets = "//storage.googleapis.com/projects/_/buckets/"
	// bucketURL begins the other name of a bucket.
	bucketURL = "gs://"
)

// resource is the owner of a policy. Its kind is projects, folders, organizations or buckets.
type resource struct {
	kind string
	name string // the id, or the bucket's name
}

var (
	// The id of a project, which may be domain-scoped ("example.com:payments"):
	// https://cloud.google.com/resource-manager/docs/creating-managing-projects
	projectForm = regexp.MustCompile(`^([a-z0-9][a-z0-9.-]*:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$`)
	numberForm  = regexp.MustCompile(`^[0-9]{1,19}$`)
	// https://cloud.google.com/storage/docs/buckets#naming
	bucketForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$`)
)

// parseScope returns the resource that a scope names.
func parseScope(s string) (resource, error) {
	if s == "" {
		return wrongScope("the scope is missing; a grant is on one project, folder, organization or bucket")
	}
	if err := jit.CheckText("scope", s); err != nil {
		return resource{}, err
	}
	for _, prefix := range []string{buckets, bucketURL} {
		if name, ok := strings.CutPrefix(s, prefix); ok {
			if !bucketForm.MatchString(name) {
				return wrongScope("%q is not the name of a bucket", name)
			}
			return resource{buckets, name}, nil
		}
	}
	kind, name, _ := strings.Cut(s, "/")
	switch kind += "/"; kind {
	case projects:
		return parseProject(name)
	case folders, organizations:
		name = strings.TrimLeft(name, "0") // the same number
		if !numberForm.MatchString(name) {
			return wrongScope("%q is not a number; %s takes a number", name, kind)
		}
		return resource{kind, name}, nil
	}
	return wrongScope("%q is not a scope; it is projects/<id>, folders/<number>, organizations/<number> or %s<name>",
		s, buckets)
}

func parseProject(name string) (resource, error) {
	switch {
	case numberForm.MatchString(name):
		return wrongScope(
			"%q names a project by its number; a grant names it by its id (`gcloud projects describe %s`)",
			projects+name, name)
	case !projectForm.MatchString(name):
		return wrongScope("%q is not the id of a project; it has 6 to 30 lower-case letters, digits and hyphens and "+
			"begins with a letter", name)
	}
	return resource{projects, name}, nil
}

func wrongScope(format string, args ...any) (resource, error) {
	return resource{}, jit.Invalid("scope", `write for example scope = "projects/payments-prod", "folders/123456789", `+
		`"organizations/123456789" or "`+buckets+`reports"`, format, args...)
}

// String writes the resource as a scope.
func (r resource) String() string { return r.kind + r.name }

// noun names the kind in a sentence.
func (r resource) noun() string {
	switch r.kind {
	case projects:
		return "project"
	case folders:
		return "folder"
	case organizations:
		return "organization"
	}
	return "bucket"
}

// permission names what the target's identity needs to read or write the policy ("getIamPolicy", "setIamPolicy").
func (r resource) permission(verb string) string {
	if r.kind == buckets {
		return "storage.buckets." + verb
	}
	return "resourcemanager." + r.kind[:len(r.kind)-1] + "." + verb
}

// resourceManagerURL and storageURL are the addresses of the two APIs unless an endpoint is configured.
const (
	resourceManagerURL = "https://cloudresourcemanager.googleapis.com/"
	storageURL         = "https://storage.googleapis.com/"
)

// policyURL is the address of the resource's policy for one verb.
func (r resource) policyURL(verb string) string {
	if r.kind == buckets {
		u := storageURL + "storage/v1/b/" + url.PathEscape(r.name) + "/iam"
		if verb == "getIamPolicy" {
			u += fmt.Sprintf("?optionsRequestedPolicyVersion=%d", policyVersion)
		}
		return u
	}
	return resourceManagerURL + "v3/" + r.kind + url.PathEscape(r.name) + ":" + verb
}
