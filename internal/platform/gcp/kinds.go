package gcp

import (
	"net/http"
	"net/url"
	"strings"
)

// resourceKind is a kind of resource that has an allow policy of its own. One more kind is one more row of [kinds].
type resourceKind struct {
	// noun names it in a sentence.
	noun string
	// form is its name. {x} stands for one segment, which [segments] describes; {folder} for all that follow.
	form string
	// host begins its full resource name: //host/form (https://cloud.google.com/iam/docs/full-resource-names).
	host string
	// full: a scope is the full resource name. Otherwise it is the form alone.
	full bool
	// url is the address of the policy. {name} is the name, {verb} getIamPolicy or setIamPolicy, and any other field
	// one of the form.
	url string
	// get and set are the HTTP methods. ask is the parameter of a read that names the version of policies; if it is
	// empty, the body names it.
	get, set, ask string
	// permission begins the permissions to read and write the policy.
	permission string
	// conditional: bindings can have a condition. The page "Resource types that accept conditional role bindings" lists
	// such kinds (https://cloud.google.com/iam/help/conditions/resource-policies).
	conditional bool
}

const (
	managerHost = "cloudresourcemanager.googleapis.com"
	storageHost = "storage.googleapis.com"
	// resourceManager and storageAPI are the addresses of the two APIs unless an endpoint is configured.
	resourceManager = "https://" + managerHost + "/v3/{name}:{verb}"
	storageAPI      = "https://" + storageHost + "/storage/v1/b/{bucket}/"
	spannerAPI      = "https://spanner.googleapis.com/v1/{name}:{verb}"
	bigtableAPI     = "https://bigtableadmin.googleapis.com/v2/{name}:{verb}"
	kmsAPI          = "https://cloudkms.googleapis.com/v1/{name}:{verb}"
	computeAPI      = "https://compute.googleapis.com/compute/v1/{name}/{verb}"
	iapAPI          = "https://iap.googleapis.com/v1/{name}:{verb}"
	pubsubAPI       = "https://pubsub.googleapis.com/v1/{name}:{verb}"

	// ofRegion is in the host of an API that has a server for each region
	// (https://cloud.google.com/vpc/docs/regional-service-endpoints).
	ofRegion = ".{location}.rep."

	get, put, post = http.MethodGet, http.MethodPut, http.MethodPost
	// inOptions and inVersion are the two parameters that name the version of policies.
	inOptions = "options.requestedPolicyVersion"
	inVersion = "optionsRequestedPolicyVersion"
)

// The kinds that the code names.
var (
	projectKind = &resourceKind{"project", "projects/{project}", managerHost, false,
		resourceManager, post, post, "", "resourcemanager.projects.", true}
	folderKind = &resourceKind{"folder", "folders/{number}", managerHost, false,
		resourceManager, post, post, "", "resourcemanager.folders.", true}
	organizationKind = &resourceKind{"organization", "organizations/{number}", managerHost, false,
		resourceManager, post, post, "", "resourcemanager.organizations.", true}
	bucketKind = &resourceKind{"bucket", "projects/_/buckets/{bucket}", storageHost, true,
		storageAPI + "iam", get, put, inVersion, "storage.buckets.", true}
	managedFolderKind = &resourceKind{"managed folder", "projects/_/buckets/{bucket}/managedFolders/{folder}",
		storageHost, true, storageAPI + "managedFolders/{folder}/iam", get, put, inVersion, "storage.managedFolders.", true}
)

// datasetKind has access entries in place of bindings; they take conditions, as the discovery document of BigQuery says.
var datasetKind = &resourceKind{"dataset", "projects/{project}/datasets/{dataset}", "bigquery.googleapis.com", false,
	"https://bigquery.googleapis.com/bigquery/v2/{name}", get, http.MethodPatch, "accessPolicyVersion",
	"bigquery.datasets.", true}

// kinds are all kinds of resources. Where the kinds differ, the discovery documents of the APIs say how.
var kinds = []*resourceKind{projectKind, folderKind, organizationKind, bucketKind, managedFolderKind,
	datasetKind,
	{"secret", "projects/{project}/secrets/{id}", "secretmanager.googleapis.com", false,
		"https://secretmanager.googleapis.com/v1/{name}:{verb}", get, post, inOptions, "secretmanager.secrets.", true},
	// https://cloud.google.com/secret-manager/regional-secrets/config-sm-rs: each region has a server of its own
	{"regional secret", "projects/{project}/locations/{location}/secrets/{id}", "secretmanager.googleapis.com", false,
		"https://secretmanager.{location}.rep.googleapis.com/v1/{name}:{verb}", get, post, inOptions,
		"secretmanager.secrets.", true},
	// The page does not list service accounts; that of Config Connector says that they take conditions:
	// https://cloud.google.com/config-connector/docs/reference/resource-docs/iam/iampolicymember
	{"service account", "projects/{project}/serviceAccounts/{account}", "iam.googleapis.com", false,
		"https://iam.googleapis.com/v1/{name}:{verb}", post, post, inOptions, "iam.serviceAccounts.", true},
	// The page does not list Pub/Sub and Artifact Registry.
	{"topic", "projects/{project}/topics/{topic}", "pubsub.googleapis.com", false,
		pubsubAPI, get, post, inOptions, "pubsub.topics.", false},
	{"subscription", "projects/{project}/subscriptions/{topic}", "pubsub.googleapis.com", false,
		pubsubAPI, get, post, inOptions, "pubsub.subscriptions.", false},
	{"repository", "projects/{project}/locations/{location}/repositories/{repository}",
		"artifactregistry.googleapis.com", false, "https://artifactregistry.googleapis.com/v1/{name}:{verb}",
		get, post, inOptions, "artifactregistry.repositories.", false},
	{"key ring", "projects/{project}/locations/{location}/keyRings/{key}", "cloudkms.googleapis.com", false,
		kmsAPI, get, post, inOptions, "cloudkms.keyRings.", true},
	{"key", "projects/{project}/locations/{location}/keyRings/{key}/cryptoKeys/{key}", "cloudkms.googleapis.com", false,
		kmsAPI, get, post, inOptions, "cloudkms.cryptoKeys.", true},
	{"Cloud Run service", "projects/{project}/locations/{location}/services/{label}", "run.googleapis.com", false,
		"https://run.googleapis.com/v2/{name}:{verb}", get, post, inOptions, "run.services.", true},
	{"Spanner instance", "projects/{project}/instances/{label}", "spanner.googleapis.com", true,
		spannerAPI, post, post, "", "spanner.instances.", true},
	{"Spanner database", "projects/{project}/instances/{label}/databases/{database}", "spanner.googleapis.com", false,
		spannerAPI, post, post, "", "spanner.databases.", true},
	{"Bigtable instance", "projects/{project}/instances/{label}", "bigtable.googleapis.com", true,
		bigtableAPI, post, post, "", "bigtable.instances.", true},
	{"Bigtable table", "projects/{project}/instances/{label}/tables/{table}", "bigtable.googleapis.com", false,
		bigtableAPI, post, post, "", "bigtable.tables.", true},
	{"Compute instance", "projects/{project}/zones/{location}/instances/{label}", "compute.googleapis.com", false,
		computeAPI, get, post, inVersion, "compute.instances.", true},
	{"disk", "projects/{project}/zones/{location}/disks/{label}", "compute.googleapis.com", false,
		computeAPI, get, post, inVersion, "compute.disks.", true},
	{"regional disk", "projects/{project}/regions/{location}/disks/{label}", "compute.googleapis.com", false,
		computeAPI, get, post, inVersion, "compute.disks.", true},
	{"disk image", "projects/{project}/global/images/{label}", "compute.googleapis.com", false,
		computeAPI, get, post, inVersion, "compute.images.", true},
	{"snapshot", "projects/{project}/global/snapshots/{label}", "compute.googleapis.com", false,
		computeAPI, get, post, inVersion, "compute.snapshots.", true},
	{"tunnel", "projects/{project}/iap_tunnel", "iap.googleapis.com", false,
		iapAPI, post, post, "", "iap.tunnel.", true},
	{"tunnel to a zone", "projects/{project}/iap_tunnel/zones/{location}", "iap.googleapis.com", false,
		iapAPI, post, post, "", "iap.tunnelZones.", true},
	{"tunnel to an instance", "projects/{project}/iap_tunnel/zones/{location}/instances/{label}",
		"iap.googleapis.com", false, iapAPI, post, post, "", "iap.tunnelInstances.", true},
}

// match splits a name into the segments of the form; ok is false if it has another form.
func (k *resourceKind) match(name string) (values []string, ok bool) {
	form := strings.Split(k.form, "/")
	values = strings.SplitN(name, "/", len(form))
	if len(values) != len(form) || k != managedFolderKind && strings.Contains(values[len(values)-1], "/") {
		return nil, false
	}
	for i, is := range form {
		if !strings.HasPrefix(is, "{") && is != values[i] {
			return nil, false
		}
	}
	return values, true
}

// apart are the segments that begin a name below a project and none below a resource of this kind. Objects in a bucket
// have any name.
func (k *resourceKind) apart() (segments []string) {
	begins := func(form string) string {
		segment, _, _ := strings.Cut(form, "/")
		return segment
	}
	if k.host == storageHost || !strings.HasPrefix(k.form, projectKind.form+"/") {
		return nil
	}
	below := map[string]bool{}
	for _, other := range kinds {
		if form, ok := strings.CutPrefix(other.form, k.form+"/"); ok {
			below[begins(form)] = true
		}
	}
	for _, other := range kinds {
		form, ok := strings.CutPrefix(other.form, projectKind.form+"/")
		if segment := begins(form); ok && !below[segment] {
			segments = append(segments, segment)
		}
	}
	return segments
}

// resource is the owner of a policy. Its name has the form of its kind, without the host.
type resource struct {
	kind *resourceKind
	name string
}

// String writes the resource as a scope.
func (r resource) String() string {
	if r.kind.full {
		return r.fullName()
	}
	return r.name
}

// fullName is the full resource name.
func (r resource) fullName() string { return "//" + r.kind.host + "/" + r.name }

// project is the id of the project that the resource is, or lies in; empty if its name does not say.
func (r resource) project() string {
	if !strings.HasPrefix(r.kind.form, projectKind.form) {
		return ""
	}
	return strings.Split(r.name, "/")[1]
}

// unconditional reports whether a binding of the resource can carry no condition: those of some kinds, of basic roles,
// and of everybody (https://cloud.google.com/iam/docs/conditions-overview).
func (r resource) unconditional(principal string, of role) bool {
	return !r.kind.conditional || basicRoles[of.name] || everybody[principal]
}

// permission names what the target's identity needs to read or write the policy ("getIamPolicy", "setIamPolicy").
func (r resource) permission(verb string) string { return r.kind.permission + verb }

// api is the name of the API that serves the policy, as `gcloud services enable` takes it.
func (r resource) api() string {
	host, _, _ := strings.Cut(strings.TrimPrefix(r.kind.url, "https://"), "/")
	return strings.Replace(host, ofRegion, ".", 1)
}

// policyURL is the address of the resource's policy for one verb.
func (r resource) policyURL(verb string) string {
	values, _ := r.kind.match(r.name)
	escaped := make([]string, len(values))
	fields := []string{"{verb}", verb}
	for i, field := range strings.Split(r.kind.form, "/") {
		escaped[i] = url.PathEscape(values[i])
		fields = append(fields, field, escaped[i])
	}
	return strings.NewReplacer(append(fields, "{name}", strings.Join(escaped, "/"))...).Replace(r.kind.url)
}
