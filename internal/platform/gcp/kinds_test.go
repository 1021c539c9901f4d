package gcp

import (
	"os"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

// examples are one resource of each kind besides projects, folders, organizations and buckets, and one that is gone.
var examples = []struct{ scope, gone string }{
	{project + "/secrets/Api_key", project + "/secrets/gone"},
	{project + "/locations/europe-west6/secrets/Api_key", project + "/locations/europe-west6/secrets/gone"},
	{project + "/serviceAccounts/deploy@payments-prod.iam.gserviceaccount.com",
		project + "/serviceAccounts/gone@payments-prod.iam.gserviceaccount.com"},
	{project + "/topics/orders%2F", project + "/topics/gone"},
	{project + "/subscriptions/orders", project + "/subscriptions/gone"},
	{project + "/locations/europe-west6/repositories/images", project + "/locations/europe-west6/repositories/gone"},
	{project + "/locations/global/keyRings/Main", project + "/locations/global/keyRings/gone"},
	{project + "/locations/global/keyRings/Main/cryptoKeys/disk_1",
		project + "/locations/global/keyRings/Main/cryptoKeys/gone"},
	{project + "/locations/europe-west6/services/api", project + "/locations/europe-west6/services/gone"},
	{"//spanner.googleapis.com/" + project + "/instances/main", "//spanner.googleapis.com/" + project + "/instances/gone"},
	{project + "/instances/main/databases/orders", project + "/instances/main/databases/gone"},
	{"//bigtable.googleapis.com/" + project + "/instances/main", "//bigtable.googleapis.com/" + project + "/instances/gone"},
	{project + "/instances/main/tables/_Orders.1", project + "/instances/main/tables/gone"},
	{project + "/zones/europe-west6-a/instances/web", project + "/zones/europe-west6-a/instances/gone"},
	{project + "/zones/europe-west6-a/disks/data", project + "/zones/europe-west6-a/disks/gone"},
	{project + "/regions/europe-west6/disks/data", project + "/regions/europe-west6/disks/gone"},
	{project + "/global/images/golden", project + "/global/images/gone"},
	{project + "/global/snapshots/weekly", project + "/global/snapshots/gone"},
	{project + "/iap_tunnel", ""},
	{project + "/iap_tunnel/zones/europe-west6-a", project + "/iap_tunnel/zones/gone"},
	{project + "/iap_tunnel/zones/europe-west6-a/instances/web",
		project + "/iap_tunnel/zones/europe-west6-a/instances/gone"},
	{project + "/datasets/Orders_2026", project + "/datasets/gone"},
	{bucket + "/managedFolders/2026/november/", bucket + "/managedFolders/2026/gone/"},
}

// The conformance suite on each kind of resource. Where the service refuses conditions, the ledger keeps the claims.
func TestConformanceOfResources(t *testing.T) {
	for _, c := range examples {
		t.Run(c.scope, func(t *testing.T) {
			t.Parallel()
			at, err := parseScope(c.scope)
			if err != nil {
				t.Fatal(err)
			}
			principals, roles, cfg := []string{alice, deploy}, []string{sqlRole, viewer}, Config{Scopes: []string{c.scope}}
			platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target {
				if !at.kind.conditional {
					return rememberingTarget(t, c.scope, c.gone, principals, roles, cfg.Scopes)
				}
				s := newWorld(t)
				s.Add(c.scope, project)
				target := target(s, c.scope, cfg)
				target.Principals, target.Roles, target.Gone = principals, roles, c.gone
				return target
			}})
		})
	}
}

// Every kind is run, and is as the server has it, which is as the discovery documents have it.
func TestEveryKindIsServed(t *testing.T) {
	run := map[*resourceKind]bool{projectKind: true, folderKind: true, organizationKind: true, bucketKind: true}
	for _, c := range examples {
		at, err := parseScope(c.scope)
		if err != nil || at.String() != c.scope {
			t.Fatalf("%s is %v, %v", c.scope, at, err)
		}
		run[at.kind] = true
	}
	served := map[string]*gcptest.Kind{}
	for _, k := range gcptest.Kinds {
		served[k.Permission+" "+k.Name] = k
	}
	operator, err := os.ReadFile("operator.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kinds {
		for _, verb := range []string{"getIamPolicy", "setIamPolicy"} {
			if need := (resource{kind: k}).permission(verb); !strings.Contains(string(operator), need+",") {
				t.Errorf("the role of the operator lacks %s", need)
			}
		}
		if !run[k] {
			t.Errorf("no conformance suite is run on a %s", k.noun)
		}
		var form []string
		for _, part := range strings.Split(k.form, "/") {
			if strings.HasPrefix(part, "{") {
				part = "{}"
			}
			form = append(form, part)
		}
		is := served[strings.TrimSuffix(k.permission, ".")+" "+strings.Join(form, "/")]
		if is == nil {
			t.Errorf("the server does not know a %s", k.noun)
			continue
		}
		full := ""
		if k.full {
			full = "//" + k.host + "/"
		}
		path := strings.NewReplacer("https://", "", "{bucket}", "{1}", "{folder}", "{2}", ofRegion, ".").Replace(k.url)
		if api, _, _ := strings.Cut(is.API, "/"); path != api+".googleapis.com"+is.Path || k.get != is.Get ||
			k.set != is.Set || k.ask != is.Version || k.conditional != is.Conditions || full != is.Full {
			t.Errorf("a %s is %+v, the server has %+v", k.noun, *k, *is)
		}
	}
}

// The server of its region serves a regional secret
// (https://docs.cloud.google.com/secret-manager/regional-secrets/config-sm-rs). The credentials go to no other host.
func TestARegionalSecretIsServedInItsRegion(t *testing.T) {
	const secret = project + "/locations/europe-west6/secrets/Api_key"
	at, err := parseScope("//secretmanager.googleapis.com/" + secret)
	if err != nil || at.String() != secret {
		t.Fatalf("the scope is %v, %v", at, err)
	}
	if got, want := at.policyURL("getIamPolicy"),
		"https://secretmanager.europe-west6.rep.googleapis.com/v1/"+secret+":getIamPolicy"; got != want {
		t.Errorf("the policy is at %s, want %s", got, want)
	}
	if got := at.api(); got != "secretmanager.googleapis.com" {
		t.Errorf("the API is %s", got)
	}
	for _, location := range []string{"example.com", "example.com%2f", "x.rep", "EUROPE-WEST6", "-", "a:b"} {
		if at, err := parseScope(project + "/locations/" + location + "/secrets/Api_key"); err == nil {
			t.Errorf("the location %q is accepted: %s", location, at.policyURL("getIamPolicy"))
		}
	}
}

// Other spellings of a name are the same resource, or are refused with an error that says what to write.
func TestNamesOfResources(t *testing.T) {
	secret, account := project+"/secrets/Api_key", project+"/serviceAccounts/deploy@payments-prod.iam.gserviceaccount.com"
	folder := bucket + "/managedFolders/2026/november/"
	gcr, appspot := project+"/locations/us/repositories/", "/serviceAccounts/payments-prod@appspot.gserviceaccount.com"
	for written, want := range map[string]string{
		"//secretmanager.googleapis.com/" + secret:      secret,
		"//cloudresourcemanager.googleapis.com/" + org:  org,
		"//iam.googleapis.com/" + account:               account,
		strings.Replace(account, "deploy", "Deploy", 1): account,
		"projects/example.com:payments/serviceAccounts/a@payments.example.com.iam.gserviceaccount.com": "" +
			"projects/example.com:payments/serviceAccounts/a@payments.example.com.iam.gserviceaccount.com",
		project + "/serviceAccounts/123-compute@developer.gserviceaccount.com": "" +
			project + "/serviceAccounts/123-compute@developer.gserviceaccount.com",
		"projects/_/buckets/reports": bucket,
		"//bigtable.googleapis.com/" + project + "/instances/main/tables/orders": project + "/instances/main/tables/orders",
		gcr + "gcr.io":    gcr + "gcr.io",
		gcr + "us.gcr.io": gcr + "us.gcr.io",
		project + appspot: project + appspot,
		"projects/example.com:payments/serviceAccounts/payments.example.com@appspot.gserviceaccount.com": "" +
			"projects/example.com:payments/serviceAccounts/payments.example.com@appspot.gserviceaccount.com",
		"gs://reports/2026/november/":   folder,
		strings.TrimSuffix(folder, "/"): folder,
	} {
		at, err := parseScope(written)
		if err != nil || at.String() != want {
			t.Errorf("%s is %v, %v; want %s", written, at, err, want)
			continue
		}
		if again, err := parseScope(at.String()); again != at || err != nil {
			t.Errorf("%s is %v, %v", at, again, err)
		}
	}
	for written, says := range map[string]string{
		"projects/123/secrets/api-key":                                  "`gcloud projects describe 123`",
		"projects/-" + strings.TrimPrefix(account, project):             "is not the id of a project",
		project + "/serviceAccounts/103456789012345678901":              "is not the address of a service account",
		"projects/other-project" + strings.TrimPrefix(account, project): `is of the project "payments-prod"`,
		"projects/payments-dev" + appspot:                               `is of the project "payments-prod"`,
		gcr + "example.io":                                              "is not a name",
		"projects/Payments-prod/secrets/api-key":                        "lower-case letters",
		secret + "/":                                                    `write scope = "projects/payments-prod/secrets/Api_key"`,
		project + "/Secrets/api-key":                                    `write scope = "projects/payments-prod/secrets/api-key"`,
		project + "/dataset/sales":                                      `write scope = "projects/payments-prod/datasets/sales"`,
		project + "/dataset/sales/tables/t":                             `write scope = "projects/payments-prod/datasets/sales", and narrow`,
		project + "/instance/main":                                      "if resource.name ==",
		project + "/functions/f":                                        "if the service knows resource.name",
		project + "/topics/t":                                           `"t" is not a name for {topic} in projects/{project}/topics/{topic}, which takes 3 to 255 characters`,
		"payments-prod.sales":                                           `write scope = "projects/payments-prod/datasets/sales"`,
		"payments-prod:sales":                                           `write scope = "projects/payments-prod/datasets/sales"`,
		project + "//secrets/api-key":                                   "if resource.name",
		"//pubsub.googleapis.com/" + secret:                             `write scope = "projects/payments-prod/secrets/Api_key"`,
		"//secretmanager.googleapis.com/projects/123/secrets/api-key":   "names a project by its number",
		secret + "%2F..":                                                "is not a name",
		secret + "/versions/1":                                          `if resource.name == \"projects/<number of the project>/secrets/Api_key/versions/1\""`,
		dataset + "/tables/t":                                           `if resource.name == \"projects/payments-prod/datasets/Orders_2026/tables/t\""`,
		project + "/topics/orders/x":                                    `write scope = "projects/payments-prod/topics/orders"`,
		project + "/":                                                   `write scope = "projects/payments-prod"`,
		"projects/123/clusters/x":                                       "is not a scope",
		"gs://reports/2026/11":                                          `scope = "//storage.googleapis.com/projects/_/buckets/reports", and narrow`,
		bucket + "/objects/x":                                           `if resource.name == \"projects/_/buckets/reports/objects/x\""`,
		"gs://reports/2026":                                             `startsWith(\"projects/_/buckets/reports/objects/2026/\")`,
		"gs://reports/a/../b/":                                          "is not the name of a managed folder",
		"gs://reports//":                                                "is not",
		"https://example.com/x":                                         "is not a scope",
		project + "/instances/main": `write scope = "//spanner.googleapis.com/projects/payments-prod/instances/main" or ` +
			`scope = "//bigtable.googleapis.com/projects/payments-prod/instances/main"`,
		project + "/zones/europe-west6-a/instances/123456789":           "is not a name",
		project + "/zones/europe-west6-a/instances/Web":                 "is not a name",
		project + "/locations/Europe/keyRings/main":                     "is not a name",
		"//bigtableadmin.googleapis.com/" + project + "/instances/main": "if resource.name",
		project + "/locations/europe-west6/clusters/prod":               "if resource.name",
	} {
		at, err := parseScope(written)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s is %v, %v; want an error that says %q", written, at, err, says)
		}
	}
}

// A resource that takes no condition says so at plan, and a role on it cannot be narrowed.
func TestResourcesWithoutConditions(t *testing.T) {
	p := open(t, newWorld(t), Config{})
	_, traits, err := p.Check(jit.Binding{Principal: alice, Role: sqlRole, Scope: project + "/topics/orders"})
	if err != nil || traits.Enforcement != jit.Sweeper || !traits.Remembered || traits.NativeStart {
		t.Errorf("traits %+v, %v", traits, err)
	}
	_, traits, err = p.Check(jit.Binding{Principal: alice, Role: sqlRole, Scope: project + "/secrets/api-key"})
	if err != nil || traits.Enforcement != jit.Native || traits.Remembered {
		t.Errorf("traits %+v, %v", traits, err)
	}
	_, _, err = p.Check(jit.Binding{Principal: alice, Role: narrowed, Scope: project + "/topics/orders"})
	wantTold(t, err, "role", "can carry no condition")
}
