package gcptest

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// Kind is a kind of resource as its API serves it. A test compares it with the discovery document of the API.
type Kind struct {
	// API is the discovery document in google.golang.org/api, and Method begins the ids of the two methods.
	API, Method string
	// Name is the name of a resource, with {} for each part. Full begins the scope of a grant if that is not the name.
	Name, Full string
	// Path is that of the two methods: {name}, {verb}, or the parts of the name by number.
	Path string
	// Get and Set are their HTTP methods.
	Get, Set string
	// Version is the parameter of a read that names the policy's version; empty if the body names it.
	Version string
	// Permission begins the permissions that the methods need.
	Permission string
	// Conditions: the service accepts them in policies of this kind
	// (https://cloud.google.com/iam/help/conditions/resource-policies; for service accounts,
	// https://cloud.google.com/config-connector/docs/reference/resource-docs/iam/iampolicymember).
	Conditions bool
	// Precondition: a write with an old etag fails with 412 conditionNotMet in place of 409 ABORTED
	// (https://cloud.google.com/compute/docs/reference/rest/v1/instances/setIamPolicy and
	// https://cloud.google.com/storage/docs/json_api/v1/status-codes#412_Precondition_failed).
	Precondition bool
}

const (
	get, post, put = http.MethodGet, http.MethodPost, http.MethodPut
	inOptions      = "options.requestedPolicyVersion"
	inVersion      = "optionsRequestedPolicyVersion"
)

// Kinds are all kinds of resources that the server knows.
var Kinds = []*Kind{
	manager("projects"), manager("folders"), manager("organizations"),
	{"storage/v1", "storage.buckets", "projects/_/buckets/{}", "//storage.googleapis.com/", "/storage/v1/b/{1}/iam",
		get, put, inVersion, "storage.buckets", true, true},
	{"storage/v1", "storage.managedFolders", "projects/_/buckets/{}/managedFolders/{}", "//storage.googleapis.com/",
		"/storage/v1/b/{1}/managedFolders/{2}/iam", get, put, inVersion, "storage.managedFolders", true, true},
	{"bigquery/v2", "bigquery.datasets", "projects/{}/datasets/{}", "", "/bigquery/v2/{name}",
		get, http.MethodPatch, "accessPolicyVersion", "bigquery.datasets", true, true},
	{"secretmanager/v1", "secretmanager.projects.secrets", "projects/{}/secrets/{}", "", "/v1/{name}:{verb}",
		get, post, inOptions, "secretmanager.secrets", true, false},
	{"secretmanager/v1", "secretmanager.projects.locations.secrets", "projects/{}/locations/{}/secrets/{}", "",
		"/v1/{name}:{verb}", get, post, inOptions, "secretmanager.secrets", true, false},
	{"iam/v1", "iam.projects.serviceAccounts", "projects/{}/serviceAccounts/{}", "", "/v1/{name}:{verb}",
		post, post, inOptions, "iam.serviceAccounts", true, false},
	{"pubsub/v1", "pubsub.projects.topics", "projects/{}/topics/{}", "", "/v1/{name}:{verb}",
		get, post, inOptions, "pubsub.topics", false, false},
	{"pubsub/v1", "pubsub.projects.subscriptions", "projects/{}/subscriptions/{}", "", "/v1/{name}:{verb}",
		get, post, inOptions, "pubsub.subscriptions", false, false},
	{"artifactregistry/v1", "artifactregistry.projects.locations.repositories",
		"projects/{}/locations/{}/repositories/{}", "", "/v1/{name}:{verb}",
		get, post, inOptions, "artifactregistry.repositories", false, false},
	{"cloudkms/v1", "cloudkms.projects.locations.keyRings", "projects/{}/locations/{}/keyRings/{}", "",
		"/v1/{name}:{verb}", get, post, inOptions, "cloudkms.keyRings", true, false},
	{"cloudkms/v1", "cloudkms.projects.locations.keyRings.cryptoKeys",
		"projects/{}/locations/{}/keyRings/{}/cryptoKeys/{}", "", "/v1/{name}:{verb}",
		get, post, inOptions, "cloudkms.cryptoKeys", true, false},
	{"run/v2", "run.projects.locations.services", "projects/{}/locations/{}/services/{}", "", "/v2/{name}:{verb}",
		get, post, inOptions, "run.services", true, false},
	{"spanner/v1", "spanner.projects.instances", "projects/{}/instances/{}", "//spanner.googleapis.com/",
		"/v1/{name}:{verb}", post, post, "", "spanner.instances", true, false},
	{"spanner/v1", "spanner.projects.instances.databases", "projects/{}/instances/{}/databases/{}", "",
		"/v1/{name}:{verb}", post, post, "", "spanner.databases", true, false},
	{"bigtableadmin/v2", "bigtableadmin.projects.instances", "projects/{}/instances/{}", "//bigtable.googleapis.com/",
		"/v2/{name}:{verb}", post, post, "", "bigtable.instances", true, false},
	{"bigtableadmin/v2", "bigtableadmin.projects.instances.tables", "projects/{}/instances/{}/tables/{}", "",
		"/v2/{name}:{verb}", post, post, "", "bigtable.tables", true, false},
	machine("instances", "projects/{}/zones/{}/instances/{}", "compute.instances"),
	machine("disks", "projects/{}/zones/{}/disks/{}", "compute.disks"),
	machine("regionDisks", "projects/{}/regions/{}/disks/{}", "compute.disks"),
	machine("images", "projects/{}/global/images/{}", "compute.images"),
	machine("snapshots", "projects/{}/global/snapshots/{}", "compute.snapshots"),
	proxy("projects/{}/iap_tunnel", "iap.tunnel"),
	proxy("projects/{}/iap_tunnel/zones/{}", "iap.tunnelZones"),
	proxy("projects/{}/iap_tunnel/zones/{}/instances/{}", "iap.tunnelInstances"),
}

// manager is a kind of the Resource Manager.
func manager(kind string) *Kind {
	return &Kind{"cloudresourcemanager/v3", "cloudresourcemanager." + kind, kind + "/{}", "", "/v3/{name}:{verb}",
		post, post, "", "resourcemanager." + kind, true, false}
}

// machine is a kind of Compute Engine.
func machine(method, name, permission string) *Kind {
	return &Kind{"compute/v1", "compute." + method, name, "", "/compute/v1/{name}/{verb}",
		get, post, inVersion, permission, true, true}
}

// proxy is a kind of the Identity-Aware Proxy, whose methods take any name
// (https://cloud.google.com/iap/docs/managing-access).
func proxy(name, permission string) *Kind {
	return &Kind{"iap/v1", "iap", name, "", "/v1/{name}:{verb}", post, post, "", permission, true, false}
}

// storage: the kind is of Cloud Storage, whose policies have other fields.
func (k *Kind) storage() bool { return k.API == "storage/v1" }

// forms are the forms of a kind's names and of its paths.
type forms struct{ name, path *regexp.Regexp }

var formsOf = sync.OnceValue(func() map[*Kind]forms {
	all := map[*Kind]forms{}
	for _, k := range Kinds {
		name := strings.ReplaceAll(regexp.QuoteMeta(k.Name), `\{\}`, `[^/]+`)
		path := strings.NewReplacer(`\{name\}`, `(?P<name>`+name+`)`, `\{verb\}`, `(?P<verb>[gs]etIamPolicy)`,
			`\{1\}`, `(?P<bucket>[^/]+)`, `\{2\}`, `(?P<folder>[^/]+)`).Replace(regexp.QuoteMeta(k.Path))
		if strings.HasSuffix(k.Name, "/managedFolders/{}") {
			name = strings.TrimSuffix(name, `[^/]+`) + ".+/"
		}
		all[k] = forms{regexp.MustCompile(`^` + name + `$`), regexp.MustCompile(`^` + path + `$`)}
	}
	return all
})

// kindOf returns the kind of a scope; nil if there is none.
func kindOf(scope string) *Kind {
	for _, k := range Kinds {
		name, ok := strings.CutPrefix(scope, k.Full)
		if ok && formsOf()[k].name.MatchString(name) {
			return k
		}
	}
	return nil
}

// request reads the request of one of the two methods; ok is false if it is another one.
func (k *Kind) request(r *http.Request) (read Request, ok bool) {
	form := formsOf()[k].path
	m := form.FindStringSubmatch(r.URL.EscapedPath())
	if m == nil {
		return read, false
	}
	part := func(name string) string {
		i := form.SubexpIndex(name)
		if i < 0 {
			return ""
		}
		text, err := url.PathUnescape(m[i])
		if err != nil {
			return ""
		}
		return text
	}
	read.kind, read.Verb = k, part("verb")
	switch whole := part("name"); {
	case whole != "":
		read.Scope = k.Full + whole
	case part("folder") != "":
		read.Scope = Bucket + part("bucket") + "/managedFolders/" + part("folder")
	default:
		read.Scope = Bucket + part("bucket")
	}
	if read.Verb == "" {
		read.Verb = map[string]string{k.Get: getIamPolicy, k.Set: setIamPolicy}[r.Method]
	}
	want := map[string]string{getIamPolicy: k.Get, setIamPolicy: k.Set}[read.Verb]
	return read, want != "" && r.Method == want
}
