package gcp

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	projects      = "projects/"
	folders       = "folders/"
	organizations = "organizations/"
	// buckets begins the full resource name of a bucket, which is its scope.
	buckets = "//" + storageHost + "/" + ofBuckets
	// ofBuckets begins the name of a bucket without the host.
	ofBuckets = "projects/_/buckets/"
	// bucketURL begins another name of a bucket or, with a slash at the end, of a managed folder.
	bucketURL = "gs://"
)

var (
	// The id of a project, which may be domain-scoped ("example.com:payments"):
	// https://cloud.google.com/resource-manager/docs/creating-managing-projects
	projectForm = regexp.MustCompile(`^([a-z0-9][a-z0-9.-]*:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$`)
	numberForm  = regexp.MustCompile(`^[0-9]{1,19}$`)
	// The name of a dataset in SQL, or in the command bq.
	datasetForm = regexp.MustCompile(`^([a-z][a-z0-9-]{4,28}[a-z0-9])[.:]([A-Za-z0-9_]+)$`)
)

// segments are the names within a form, and what each has, in words. Numbers are no names: some APIs accept a number in
// place of a name, and a policy would not recognize it.
var segments = map[string]struct {
	form *regexp.Regexp
	rule string
}{
	// https://cloud.google.com/storage/docs/buckets#naming
	"{bucket}": {regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$`),
		"3 to 222 lower-case letters, digits, dots, hyphens and underscores"},
	// https://cloud.google.com/storage/docs/managed-folders
	"{folder}": {form: regexp.MustCompile(`^([^/*?#\[\]\\]+/)+$`)},
	// https://cloud.google.com/compute/docs/naming-resources; instances of databases may have one character more
	"{label}": {regexp.MustCompile(`^[a-z]([a-z0-9-]{0,62}[a-z0-9])?$`),
		"a lower-case letter, then up to 63 lower-case letters, digits and hyphens"},
	// https://cloud.google.com/artifact-registry/docs/transition/gcr-repositories
	"{repository}": {regexp.MustCompile(`^([a-z]([a-z0-9-]{0,62}[a-z0-9])?|((asia|eu|us)\.)?gcr\.io)$`),
		"a lower-case letter, then up to 63 lower-case letters, digits and hyphens, or gcr.io, us.gcr.io and the like"},
	// a region, a zone, or a place with several regions
	"{location}": {regexp.MustCompile(`^[a-z][a-z0-9-]{1,62}$`),
		"lower-case letters, digits and hyphens, such as europe-west6"},
	// https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets/create
	"{id}": {regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`), "1 to 255 letters, digits, hyphens and underscores"},
	// https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings/create
	"{key}": {regexp.MustCompile(`^[A-Za-z0-9_-]{1,63}$`), "1 to 63 letters, digits, hyphens and underscores"},
	// https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names
	"{topic}": {regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$`),
		"3 to 255 characters, a letter first, then letters, digits, and any of -._~+%"},
	// https://cloud.google.com/spanner/docs/reference/rest/v1/projects.instances.databases
	"{database}": {regexp.MustCompile(`^[a-z][a-z0-9_-]{0,28}[a-z0-9]$`),
		"2 to 30 lower-case letters, digits, hyphens and underscores, a letter first"},
	// https://cloud.google.com/bigquery/docs/datasets#dataset-naming
	"{dataset}": {regexp.MustCompile(`^[A-Za-z0-9_]+$`), "letters, digits and underscores"},
	// https://cloud.google.com/bigtable/docs/reference/admin/rest/v2/projects.instances.tables/create
	"{table}": {regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,49}$`),
		"1 to 50 letters, digits, hyphens, dots and underscores"},
}

// parseScope returns the resource that a scope names: by its name, or by its full resource name.
func parseScope(s string) (resource, error) {
	if s == "" {
		return wrongScope("the scope is missing; a grant is on one project, folder, organization or resource")
	}
	if err := jit.CheckText("scope", s); err != nil {
		return resource{}, err
	}
	host, name := split(s)
	switch found, wrong := find(host, name); {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return resource{}, jit.Invalid("scope",
			fmt.Sprintf("write scope = %q or scope = %q", found[0].fullName(), found[1].fullName()),
			"%q may be a %s or a %s", s, found[0].kind.noun, found[1].kind.noun)
	case wrong != nil:
		return resource{}, wrong
	}
	return unsupported(s, name)
}

// find returns the resources that have a name, without a host perhaps, or else what is wrong with it.
func find(host, name string) (found []resource, wrong error) {
	for _, k := range kinds {
		values, ok := k.match(name)
		if !ok || host != "" && host != k.host {
			continue
		}
		if at, err := k.named(values); err != nil {
			wrong = err
		} else {
			found = append(found, at)
		}
	}
	return found, wrong
}

// split separates the host of a full resource name from the rest; empty if there is none.
func split(s string) (host, name string) {
	if rest, ok := strings.CutPrefix(s, bucketURL); ok {
		bucket, folder, deep := strings.Cut(rest, "/")
		if deep && strings.HasSuffix(folder, "/") {
			return storageHost, ofBuckets + bucket + "/managedFolders/" + folder
		}
		return storageHost, ofBuckets + rest
	}
	if rest, ok := strings.CutPrefix(s, "//"); ok {
		host, name, _ = strings.Cut(rest, "/")
		return host, name
	}
	return "", s
}

// named returns the resource with the canonical name that the segments have.
func (k *resourceKind) named(values []string) (resource, error) {
	for i, field := range strings.Split(k.form, "/") {
		var err error
		switch is := values[i]; {
		case field == "{project}":
			err = checkProject(is)
		case field == "{number}":
			values[i] = strings.TrimLeft(is, "0") // the same number
			if !numberForm.MatchString(values[i]) {
				_, err = wrongScope("%q is not a number; %s/ takes a number", is, values[0])
			}
		case field == "{account}":
			values[i], err = accountOf(values[1], is)
		case field == "{folder}":
			values[i] = strings.TrimSuffix(is, "/") + "/"
			if !segments[field].form.MatchString(values[i]) || strings.Contains("/"+values[i], "/./") ||
				strings.Contains("/"+values[i], "/../") {
				_, err = wrongScope("%q is not the name of a managed folder", is)
			}
		case segments[field].form != nil && !segments[field].form.MatchString(is):
			_, err = wrongScope("%q is not a name for %s in %s, which takes %s", is, field, k.form,
				segments[field].rule)
		}
		if err != nil {
			return resource{}, err
		}
	}
	return resource{k, strings.Join(values, "/")}, nil
}

func checkProject(name string) (err error) {
	switch {
	case numberForm.MatchString(name):
		_, err = wrongScope(
			"%q names a project by its number; a grant names it by its id (`gcloud projects describe %s`)",
			projects+name, name)
	case !projectForm.MatchString(name):
		_, err = wrongScope("%q is not the id of a project; it has 6 to 30 lower-case letters, digits and hyphens and "+
			"begins with a letter", name)
	}
	return err
}

// accountOf returns the canonical address of a service account of a project. The API also knows accounts by number, and
// their project as "-". The address of most accounts names the project, which must be the same.
func accountOf(project, address string) (string, error) {
	member, err := parsePrincipal("serviceAccount:" + address)
	address = strings.TrimPrefix(member, "serviceAccount:")
	if err != nil || strings.Contains(address, "[") {
		_, err := wrongScope("%q is not the address of a service account", address)
		return "", err
	}
	name, domain, _ := strings.Cut(address, "@")
	of, ok := strings.CutSuffix(domain, ".iam.gserviceaccount.com")
	if domain == "appspot.gserviceaccount.com" { // https://cloud.google.com/iam/docs/service-account-types#default
		of, ok = name, true
	}
	if ok {
		id, org, scoped := strings.Cut(of, ".") // a@payments.example.com.iam… is of example.com:payments
		if scoped {
			id = org + ":" + id
		}
		if id != project {
			_, err := wrongScope("the service account %q is of the project %q", address, id)
			return "", err
		}
	}
	return address, nil
}

// unsupported explains that no kind of resource has a name of that form. It names the resource whose name is nearly the
// same, or else the nearest resource above that can be a scope.
func unsupported(scope, name string) (resource, error) {
	if at, ok := near(name); ok {
		return resource{}, jit.Invalid("scope", fmt.Sprintf("write scope = %q", at),
			"%q is not a resource on which jit can grant", scope)
	}
	for end := len(name) - 1; end > 0; end-- {
		if name[end] != '/' {
			continue
		}
		at, ok := near(name[:end])
		if above, _ := find("", name[:end]); len(above) > 0 {
			at, ok = above[0], true
		}
		if !ok {
			continue
		}
		hint := fmt.Sprintf("write scope = %q", at)
		if within := strings.Trim(name[end:], "/"); within != "" && at.kind.conditional {
			hint += narrowing(at, within)
		}
		return resource{}, jit.Invalid("scope", hint, "%q is not a resource on which jit can grant", scope)
	}
	if m := datasetForm.FindStringSubmatch(name); m != nil {
		return resource{}, jit.Invalid("scope", fmt.Sprintf("write scope = \"projects/%s/datasets/%s\"", m[1], m[2]),
			"%q is not a scope; a dataset has another form", scope)
	}
	return wrongScope("%q is not a scope; it is projects/<id>, folders/<number>, organizations/<number>, %s<name> or "+
		"the name of another resource with a policy", scope, buckets)
}

// narrowing proposes the condition for what lies within a resource.
func narrowing(at resource, within string) string {
	const role = `role = "<role> if resource.name`
	name := at.name
	switch at.kind.noun {
	case bucketKind.noun:
		name += "/objects/" + strings.TrimPrefix(within, "objects/")
		return fmt.Sprintf(`, and narrow the role to one object: %s == \"%s\"", or to all in a folder: `+
			`%[1]s.startsWith(\"%[2]s/\")"`, role, strings.TrimSuffix(name, "/"))
	case "secret", "regional secret": // https://cloud.google.com/iam/docs/conditions-resource-attributes
		name = "projects/<number of the project>" + strings.TrimPrefix(name, projects+at.project())
	}
	return fmt.Sprintf(`, and narrow the role: %s == \"%s/%s\"", if the service knows resource.name `+
		`(https://cloud.google.com/iam/docs/conditions-resource-attributes); some services have the number of the `+
		`project in it`, role, name, within)
}

// near returns the only resource whose name differs by at most two letters in the words between the names.
func near(name string) (at resource, ok bool) {
	for _, k := range kinds {
		form, is := strings.Split(k.form, "/"), strings.Split(name, "/")
		if len(form) != len(is) {
			continue
		}
		fits := true
		for i, word := range form {
			if !strings.HasPrefix(word, "{") {
				fits = fits && levenshtein.Distance(word, strings.ToLower(is[i]), nil) <= 2
				is[i] = word
			}
		}
		if found, err := k.named(is); fits && err == nil {
			if ok {
				return resource{}, false
			}
			at, ok = found, true
		}
	}
	return at, ok
}

func wrongScope(format string, args ...any) (resource, error) {
	return resource{}, jit.Invalid("scope", `write for example scope = "projects/payments-prod", "folders/123456789", `+
		`"organizations/123456789", "projects/payments-prod/secrets/api-key" or "`+buckets+`reports"`, format, args...)
}
